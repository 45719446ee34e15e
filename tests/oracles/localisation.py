"""Metrics of where the object is, computed again slowly, from their papers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from oracles.family import MetricFamily
from oracles.metrics import Array, Mask, by_rank, cells, ranks

if TYPE_CHECKING:
    from helpers.metric_scenes import Scene


def near(mask: Mask, tolerance: float) -> Mask:
    """Return the pixels within a distance of some pixel of the mask."""
    members = [cell for cell in cells(mask.shape) if mask[cell]]
    found = np.zeros_like(mask)
    for cell in cells(mask.shape):
        found[cell] = any(math.dist(cell, other) <= tolerance for other in members)
    return found


def pointing_game(heatmap: Array, mask: Mask, tolerance: float = 15.0) -> float:
    """Return whether the maximum hits; of several maxima the share; Zhang et al. 2018, 4.1."""
    if not mask.any():
        return math.nan
    hits = near(mask, tolerance)
    highest = [cell for cell in cells(mask.shape) if heatmap[cell] == heatmap.max()]
    return sum(bool(hits[cell]) for cell in highest) / len(highest)


def energy(values: Array, mask: Mask, most: float = 1.0) -> float:
    """`sum(M in B) / sum(M)`; Wang et al. 2020, section 4.3. Of nothing, as of a uniform map.

    Where B covers more than `most` of the image, it is not defined.
    """
    if not mask.any() or mask.sum() / mask.size > most:
        return math.nan
    values = values if values.any() else np.ones_like(values)
    inside = math.fsum(values[cell] for cell in cells(mask.shape) if mask[cell])
    return inside / math.fsum(values.ravel())


def rank_accuracy(heatmap: Array, mask: Mask) -> float:
    """`|P_topK and GT| / |GT|`, K = |GT|; Arras et al. 2022, eq. 2.

    Where the place of the last few is shared, the mean over all choices of them.
    """
    if not mask.any():
        return math.nan
    count, order = int(mask.sum()), by_rank(heatmap)
    border = heatmap[order[count - 1]]
    sure = [cell for cell in order if heatmap[cell] > border]
    level = [cell for cell in order if heatmap[cell] == border]
    share = sum(bool(mask[cell]) for cell in level) / len(level)
    return (sum(bool(mask[cell]) for cell in sure) + (count - len(sure)) * share) / count


def largest_box(inside: Mask) -> list[float]:
    """Return the box of the largest part, cells touching along an edge, the first of equals."""
    left, parts = {cell for cell in cells(inside.shape) if inside[cell]}, []
    for start in cells(inside.shape):
        if start not in left:
            continue
        left.discard(start)
        part, edge = [start], [start]
        while edge:
            cell = edge.pop()
            for axis, step in itertools.product(range(len(cell)), (-1, 1)):
                other = (*cell[:axis], cell[axis] + step, *cell[axis + 1 :])
                if other in left:
                    left.discard(other)
                    part.append(other)
                    edge.append(other)
        parts.append(part)
    largest = max(parts, key=len)  # the first of equals
    axes = range(inside.ndim)[::-1]  # x first
    low = [float(min(cell[axis] for cell in largest)) for axis in axes]
    return low + [max(cell[axis] for cell in largest) + 1.0 for axis in axes]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of boxes, x first."""
    half = len(one) // 2

    def volume(box: Sequence[float]) -> float:
        return math.prod(max(0.0, high - low) for low, high in zip(box, box[half:], strict=False))

    low = [max(pair) for pair in zip(one[:half], other[:half], strict=True)]
    high = [min(pair) for pair in zip(one[half:], other[half:], strict=True)]
    both = volume(low + high)
    return both / (volume(one) + volume(other) - both)


def localisation_error(
    heatmap: Array, boxes: Sequence[Sequence[float]], threshold: float = 0.15, iou: float = 0.5
) -> float:
    """Return whether the map's box misses all boxes; Selvaraju et al. 2017, section 4.1."""
    if not len(boxes):
        return math.nan
    box = largest_box(heatmap >= threshold * heatmap.max())
    return 0.0 if any(overlap(box, other) >= iou for other in boxes) else 1.0


# How the tests call these metrics, and the mistakes that they have to see


METRICS: MetricFamily[Scene] = MetricFamily(
    oracles={
        "pointing-game": lambda s, b: pointing_game(s.heatmap(b), s.mask(b)),
        "pointing-game:tolerance=0": lambda s, b: pointing_game(s.heatmap(b), s.mask(b), 0),
        "pointing-game:tolerance=2.5": lambda s, b: pointing_game(s.heatmap(b), s.mask(b), 2.5),
        "energy-pointing": lambda s, b: energy(s.heatmap(b), s.mask(b)),
        "energy-pointing:most=0.25": lambda s, b: energy(s.heatmap(b), s.mask(b), 0.25),
        "mass-accuracy": lambda s, b: energy(s.relevance(b), s.mask(b)),
        "rank-accuracy": lambda s, b: rank_accuracy(s.heatmap(b), s.mask(b)),
        "localisation-error": lambda s, b: localisation_error(s.heatmap(b), s.boxes[b]),
        "localisation-error:threshold=0.6,iou=0.2": lambda s, b: localisation_error(
            s.heatmap(b), s.boxes[b], 0.6, 0.2
        ),
    },
    doctored={
        "pointing-game:tolerance=2.5": {
            "no tolerance": lambda s, b: pointing_game(s.heatmap(b), s.mask(b), 0),
            "the lowest": lambda s, b: pointing_game(-s.heatmap(b), s.mask(b), 2.5),
            "always a hit": lambda s, b: 1.0,
        },
        "energy-pointing": {
            "the raw map": lambda s, b: float(s.phi(b)[s.mask(b)].sum() / s.phi(b).sum()),
            "over the object's area": lambda s, b: float(s.heatmap(b)[s.mask(b)].mean()),
            "squared": lambda s, b: energy(s.heatmap(b) ** 2, s.mask(b)),
            "chance": lambda s, b: float(s.mask(b).mean()),
            "outside": lambda s, b: energy(s.heatmap(b), ~s.mask(b)),
        },
        "energy-pointing:most=0.25": {
            "large objects too": lambda s, b: energy(s.heatmap(b), s.mask(b)),
            "large objects as nothing": lambda s, b: float(
                np.nan_to_num(energy(s.heatmap(b), s.mask(b), 0.25))
            ),
        },
        "mass-accuracy": {
            "without sign": lambda s, b: energy(abs(s.phi(b)), s.mask(b)),
            "negative ones too": lambda s, b: float(s.phi(b)[s.mask(b)].sum() / s.phi(b).sum()),
            "resized, then cut off": lambda s, b: energy(s.phi(b).clip(0), s.mask(b)),
        },
        "rank-accuracy": {
            "of a fixed share": lambda s, b: float(
                s.mask(b)[ranks(s.heatmap(b)) < s.mask(b).size // 10].mean()
            ),
            "the lowest": lambda s, b: rank_accuracy(-s.heatmap(b), s.mask(b)),
            "over the image": lambda s, b: (
                rank_accuracy(s.heatmap(b), s.mask(b)) * float(s.mask(b).mean())
            ),
        },
        "localisation-error": {
            "accuracy": lambda s, b: 1 - localisation_error(s.heatmap(b), s.boxes[b]),
            "no threshold": lambda s, b: localisation_error(s.heatmap(b), s.boxes[b], 1e-9),
        },
        "localisation-error:threshold=0.6,iou=0.2": {
            "accuracy": lambda s, b: 1 - localisation_error(s.heatmap(b), s.boxes[b], 0.6, 0.2),
            "half overlap": lambda s, b: localisation_error(s.heatmap(b), s.boxes[b], 0.6),
        },
    },
)
