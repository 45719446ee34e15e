"""Readings of maps, which can be put behind each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch

from limelight.metrics.metric import Metric, Readings

#: Whose readings: the maps' own, and those of maps that know nothing, on the same grid.
Whose = Literal["own", "random", "centre"]


WHOSE: tuple[Whose, ...] = ("own", "random", "centre")


class Key(NamedTuple):
    """What readings are of: a method at a layer, by a metric, with their options."""

    method: str
    layer: str
    metric: str


class Unmeasured(NamedTuple):
    """What could not be measured.

    Attributes:
        method: The method.
        metric: The metric; "" when the method gave no map.
        reason: Why not, and what to do.
    """

    method: str
    metric: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Readings of N maps.

    Attributes:
        row: The metric.
        readings: The maps' own, and those of the controls, each `[N]`.
        curves: The sums of the curves that are finite, `[P]`.
        counted: How many they are.
        groups: The class of each map, `[N]`.
        images: What tells the images apart that the maps are of, `[N]`.
    """

    row: Metric
    readings: Mapping[Whose, Readings]
    curves: Mapping[Whose, Readings]
    counted: Mapping[Whose, Mapping[str, int]]
    groups: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(
        cls,
        row: Metric,
        found: Mapping[Whose, Readings],
        groups: Sequence[str],
        images: Sequence[str],
    ) -> Sample:
        """Keep what a metric read: a number of each map, and of curves the sum."""
        readings, curves = dict[Whose, Readings](), dict[Whose, Readings]()
        counted = dict[Whose, Mapping[str, int]]()
        for whose, parts in found.items():
            readings[whose] = {name: one for name, one in parts.items() if one.ndim == 1}
            kept = {
                name: one[one.isfinite().all(1)] for name, one in parts.items() if one.ndim == 2
            }
            curves[whose] = {name: one.sum(0) for name, one in kept.items()}
            counted[whose] = {name: len(one) for name, one in kept.items()}
        return cls(row, readings, curves, counted, tuple(groups), tuple(images))

    @classmethod
    def joined(cls, samples: Sequence[Sample]) -> Sample:
        """Put readings of the same metric behind each other.

        Raises:
            ValueError: They are not of the same kind.
        """
        first = samples[0]
        if len(samples) == 1:
            return first
        readings, curves = dict[Whose, Readings](), dict[Whose, Readings]()
        counted = dict[Whose, Mapping[str, int]]()
        for whose in WHOSE:
            kinds = {(*one.readings[whose], *_shapes(one.curves[whose])) for one in samples}
            if len(kinds) > 1:
                raise ValueError
            readings[whose] = {
                name: torch.cat([one.readings[whose][name] for one in samples])
                for name in first.readings[whose]
            }
            curves[whose] = {
                name: torch.stack([one.curves[whose][name] for one in samples]).sum(0)
                for name in first.curves[whose]
            }
            counted[whose] = {
                name: sum(one.counted[whose][name] for one in samples)
                for name in first.counted[whose]
            }
        groups = tuple(chain.from_iterable(one.groups for one in samples))
        images = tuple(chain.from_iterable(one.images for one in samples))
        return cls(first.row, readings, curves, counted, groups, images)


def _shapes(curves: Readings) -> list[tuple[str, torch.Size]]:
    return [(name, values.shape) for name, values in curves.items()]
