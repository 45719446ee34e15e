"""What metrics read off maps: a number for each map, so that batches can be joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

import torch

from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.metric import Metric, Readings

#: Which maps were read: the method's own, or those of a control on the same grid.
MapSource = Literal["own", "random", "centre"]


MAP_SOURCES: tuple[MapSource, ...] = ("own", "random", "centre")


#: Stands before the name of a control, because a method may be called random too.
CHANCE = "chance: "


class ReadingsKey(NamedTuple):
    """A method, a layer and a metric, which have readings.

    Attributes:
        method: The method's name, with its options.
        layer: The layer's dotted path.
        metric: The metric's name, with its options.
    """

    method: str
    layer: str
    metric: str


class Unmeasured(NamedTuple):
    """A metric that could not be measured for a method.

    Attributes:
        method: The method.
        metric: The metric; "" when the method gave no map.
        reason: Why not, and what to do.
    """

    method: str
    metric: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class MapReadings:
    """What one metric read off N maps of one method.

    Attributes:
        metric: The metric.
        values: The numbers `[N]` of each part, for the method's own maps and for the controls.
        curve_sums: For each part with curves `[N, P]`, the sum `[P]` of the finite ones.
        curve_counts: How many curves each sum holds.
        groups: The class of each map, `[N]`.
        images: A digest of the image of each map, `[N]`.
    """

    metric: Metric
    values: Mapping[MapSource, Readings]
    curve_sums: Mapping[MapSource, Readings]
    curve_counts: Mapping[MapSource, Mapping[str, int]]
    groups: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(
        cls,
        metric: Metric,
        readings: Mapping[MapSource, Readings],
        groups: Sequence[str],
        images: Sequence[str],
    ) -> MapReadings:
        """Keep the numbers of each map, and the sums of the curves."""
        values, sums = dict[MapSource, Readings](), dict[MapSource, Readings]()
        counts = dict[MapSource, Mapping[str, int]]()
        for source, parts in readings.items():
            values[source] = {name: part for name, part in parts.items() if part.ndim == 1}
            curves = {
                name: part[part.isfinite().all(1)] for name, part in parts.items() if part.ndim == 2
            }
            sums[source] = {name: rows.sum(0) for name, rows in curves.items()}
            counts[source] = {name: len(rows) for name, rows in curves.items()}
        return cls(metric, values, sums, counts, tuple(groups), tuple(images))

    @classmethod
    def joined(cls, batches: Sequence[MapReadings]) -> MapReadings:
        """Join the readings of several batches by the same metric.

        Raises:
            ValueError: The batches have different parts, or curves of different lengths.
        """
        first = batches[0]
        if len(batches) == 1:
            return first
        values, sums = dict[MapSource, Readings](), dict[MapSource, Readings]()
        counts = dict[MapSource, Mapping[str, int]]()
        for source in MAP_SOURCES:
            kinds = {
                (*batch.values[source], *_shapes(batch.curve_sums[source])) for batch in batches
            }
            if len(kinds) > 1:
                raise ValueError
            values[source] = {
                name: torch.cat([batch.values[source][name] for batch in batches])
                for name in first.values[source]
            }
            sums[source] = {
                name: torch.stack([batch.curve_sums[source][name] for batch in batches]).sum(0)
                for name in first.curve_sums[source]
            }
            counts[source] = {
                name: sum(batch.curve_counts[source][name] for batch in batches)
                for name in first.curve_counts[source]
            }
        groups = tuple(chain.from_iterable(batch.groups for batch in batches))
        images = tuple(chain.from_iterable(batch.images for batch in batches))
        return cls(first.metric, values, sums, counts, groups, images)

    def estimates(self, key: ReadingsKey) -> list[MetricEstimate]:
        """Return the estimate of the metric, and of each of its parts."""
        metric, found = self.metric, list[MetricEstimate]()
        for part, values in self.values["own"].items():
            random, centre = self.values["random"][part], self.values["centre"][part]
            mean = partial(metric.mean, groups=self.groups, images=self.images, part=part)
            lead = partial(metric.lead, values, groups=self.groups, images=self.images, part=part)
            found.append(
                MetricEstimate(
                    *key,
                    part=part,
                    better=metric.better_of(part),
                    own=mean(values),
                    random=mean(random),
                    centre=mean(centre),
                    over_random=lead(random),
                    over_centre=lead(centre),
                    judged=metric.judged and part == "value",
                )
            )
        return found


def _shapes(curves: Readings) -> list[tuple[str, torch.Size]]:
    return [(name, values.shape) for name, values in curves.items()]
