"""Method against method, and layer against layer: which differences are real on these images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from limelight.metrics.holm import adjusted, alike
from limelight.metrics.intervals import CONFIDENCE, FEWEST_IMAGES_OF_A_PAIR, PairedDifference
from limelight.metrics.readings import MapReadings


@dataclass(frozen=True, slots=True)
class MapsDifference:
    """By how much the maps of one method, or layer, are better than those of another.

    Attributes:
        first: The method, with its layer where it was measured at several.
        second: The one that it is compared with.
        metric: The metric, with its options.
        lead: By how much the first is better, image by image; negative where it is worse, also if
            lower values are better.
        p: The p-value of "they differ", after Holm's correction for all pairs in the same table;
            NaN where no claim is made.
    """

    first: str
    second: str
    metric: str
    lead: PairedDifference
    p: float = math.nan

    @property
    def is_real(self) -> bool | None:
        """Whether the two differ in more than chance; None on too few images for any claim."""
        return None if math.isnan(self.p) else self.p < 1 - CONFIDENCE

    @property
    def sentence(self) -> str:
        """What the difference says, in plain words."""
        if not self.lead.n:
            return f"{self.first} and {self.second} have no map of the same image in {self.metric}."
        found = {
            True: "the difference is real",
            False: "these images cannot tell them apart",
            None: f"too few images for a claim, which takes {FEWEST_IMAGES_OF_A_PAIR}",
        }[self.is_real]
        return (
            f"In {self.metric} {self.first} leads {self.second} by {self.lead} on {self.lead.n} "
            f"maps: {found}."
        )


def pairwise(
    metric: str, rows: Sequence[tuple[str, MapReadings]], part: str = "value"
) -> list[MapsDifference]:
    """Return the difference of every two methods, the first before the second in `rows`.

    Args:
        metric: The metric.
        rows: The name of each method, and its readings by this metric.
        part: Which part of the metric.
    """
    found = [
        MapsDifference(first, second, metric, _lead(maps, others, part))
        for (first, maps), (second, others) in combinations(rows, 2)
    ]
    p_values = adjusted(
        [pair.lead.p if pair.lead.images >= FEWEST_IMAGES_OF_A_PAIR else math.nan for pair in found]
    )
    return [replace(pair, p=p) for pair, p in zip(found, p_values, strict=True)]


def groups_alike(names: Sequence[str], pairs: Iterable[MapsDifference]) -> list[tuple[str, ...]]:
    """Return the largest groups of names of which these images cannot tell any two apart."""
    real = {frozenset((pair.first, pair.second)) for pair in pairs if pair.is_real}
    groups = alike(len(names), lambda i, j: frozenset((names[i], names[j])) in real)
    return [tuple(names[number] for number in group) for group in groups]


def _lead(maps: MapReadings, others: MapReadings, part: str) -> PairedDifference:
    """Return by how much some maps are better than others, over the maps that both have."""
    if (maps.images, maps.groups) == (others.images, others.groups):
        images, groups = maps.images, maps.groups
        first, second = maps.values["own"][part], others.values["own"][part]
    else:
        at = dict(zip(_keys(others), range(len(others.images)), strict=True))
        pairs = [(i, at[key]) for i, key in enumerate(_keys(maps)) if key in at]
        images = tuple(maps.images[i] for i, _ in pairs)
        groups = tuple(maps.groups[i] for i, _ in pairs)
        first = _chosen(maps.values["own"][part], [i for i, _ in pairs])
        second = _chosen(others.values["own"][part], [j for _, j in pairs])
    return maps.metric.lead(first, second, groups, images, part)


def _keys(maps: MapReadings) -> list[tuple[str, str, int]]:
    """Return image, class and occurrence of each map: what maps of two methods are paired by."""
    seen = Counter[tuple[str, str]]()
    keys = []
    for pair in zip(maps.images, maps.groups, strict=True):
        keys.append((*pair, seen[pair]))
        seen[pair] += 1
    return keys


def _chosen(values: Tensor, numbers: Sequence[int]) -> Tensor:
    return values[torch.tensor(numbers, dtype=torch.long, device="cpu")]
