"""What the oracles of metrics share: the order of pixels, integrals, correlations.

Nothing of limelight is used here or there: numpy, plain loops, dense matrices. Every function of an
image is about one, `[C, *image]` in float64. What is drawn at random (noise, boxes, nearby images)
is told.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Cell: TypeAlias = tuple[int, ...]
#: A number of an image: its score, or the probability of the explained class.
Value: TypeAlias = Callable[[Array], float]
#: The map of an image: raw, or the heatmap.
Explain: TypeAlias = Callable[[Array], Array]


def cells(size: Sequence[int]) -> list[Cell]:
    """Return all cells of a grid, the first axis slowest."""
    return list(itertools.product(*(range(length) for length in size)))


def at(cell: Cell) -> Any:
    """Return where a pixel is in an image `[C, *image]`."""
    return (slice(None), *cell)


def by_rank(heatmap: Array, *, lowest_first: bool = False) -> list[Cell]:
    """Return the pixels by their value, the highest first; of equal ones the first first."""
    sign = 1 if lowest_first else -1
    return sorted(cells(heatmap.shape), key=lambda cell: sign * heatmap[cell])  # sorted is stable


def ranks(heatmap: Array, *, stable: bool = True, lowest: bool = False) -> Array:
    """Return the place of each pixel in the order, 0 for the highest."""
    flat = heatmap.ravel() if lowest else -heatmap.ravel()
    if not stable:  # of equal ones the last first
        order = len(flat) - 1 - np.argsort(flat[::-1], kind="stable")
    else:
        order = np.argsort(flat, kind="stable")
    place = np.empty(len(flat))
    place[order] = np.arange(len(flat))
    return place.reshape(heatmap.shape)


def trapezoid(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the area under straight lines between points."""
    pairs = zip(itertools.pairwise(x), itertools.pairwise(y), strict=True)
    return math.fsum((b - a) * (low + high) / 2 for (a, b), (low, high) in pairs)


# Statistics


def correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation; 0 where one is constant."""
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        return 0.0
    return statistics.correlation(a.tolist(), b.tolist())


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation; 0 where one is constant."""
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def structural_similarity(a: Array, b: Array, window: int = 7) -> float:
    """Return the mean over all windows that fit; Wang et al. 2004, eq. 13, of range 1.

    Means weigh all pixels of a window the same; variances are those of a sample.
    """
    window = min(window, *(n if n % 2 else n - 1 for n in a.shape))
    c1, c2, found = 0.01**2, 0.03**2, []
    for corner in itertools.product(*(range(n - window + 1) for n in a.shape)):
        place = tuple(slice(start, start + window) for start in corner)
        x, y = a[place].ravel(), b[place].ravel()
        mean_x, mean_y = x.mean(), y.mean()
        covariance = np.cov(x, y)
        found.append(
            (2 * mean_x * mean_y + c1)
            * (2 * covariance[0, 1] + c2)
            / ((mean_x**2 + mean_y**2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2))
        )
    return statistics.fmean(found)
