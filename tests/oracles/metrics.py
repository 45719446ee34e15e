"""The metrics derived again, slowly, from their papers.

Nothing of limelight is used here: numpy, plain loops, dense matrices. Every function is about one
image `[C, *image]` in float64. What is drawn at random (noise, boxes, nearby images) is told.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
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


def trapezoid(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the area under straight lines between points."""
    pairs = zip(itertools.pairwise(x), itertools.pairwise(y), strict=True)
    return math.fsum((b - a) * (low + high) / 2 for (a, b), (low, high) in pairs)


# Faithfulness


def replaced(
    value: Value, before: Array, after: Array, heatmap: Array, steps: int
) -> tuple[float, list[float]]:
    """Replace pixels of an image by those of another, the highest first; area and curve.

    Petsiuk et al. 2018, algorithm 1.
    """
    order = by_rank(heatmap)
    x, y = [], []
    for step in range(steps + 1):
        count = round(step / steps * len(order))
        image = before.copy()
        for cell in order[:count]:
            image[at(cell)] = after[at(cell)]
        x.append(count / len(order))
        y.append(value(image))
    return trapezoid(x, y), y


def deletion(
    value: Value, image: Array, heatmap: Array, steps: int = 100, baseline: float = 0.0
) -> tuple[float, list[float]]:
    return replaced(value, image, np.full_like(image, baseline), heatmap, steps)


def insertion(
    value: Value, image: Array, heatmap: Array, steps: int = 100
) -> tuple[float, list[float]]:
    return replaced(value, blurred(image), image, heatmap, steps)


def blurred(image: Array, width: int = 11, deviation: float = 5.0) -> Array:
    """Return the Gaussian blur, `sum_d exp(-|d|^2 / 2 s^2) x(i + d)`, the edge continued."""
    half, size = width // 2, image.shape[1:]
    total, mass = np.zeros_like(image), 0.0
    for offset in itertools.product(range(-half, half + 1), repeat=len(size)):
        weight = math.exp(-sum(o**2 for o in offset) / (2 * deviation**2))
        shifted = image
        for axis, (o, length) in enumerate(zip(offset, size, strict=True), start=1):
            places = [min(max(i + o, 0), length - 1) for i in range(length)]
            shifted = shifted.take(places, axis)
        total, mass = total + weight * shifted, mass + weight
    return total / mass


def imputed(image: Array, removed: Mask) -> Array:
    """Return the image with removed pixels as the weighted means of their neighbours.

    Rong et al. 2022, section 5.1: `x_i = sum_j w_ij x_j`, direct neighbours weigh 1/6, diagonal
    ones 1/12; here of any number of axes, one along k axes weighing half of one along k - 1. One
    dense system, all its equations at once.
    """
    unknown = [cell for cell in cells(removed.shape) if removed[cell]]
    found = image.copy()
    for cell, values in zip(unknown, np.linalg.solve(*equations(image, removed)), strict=True):
        found[at(cell)] = values
    return found


def equations(image: Array, removed: Mask) -> tuple[Array, Array]:
    """Return matrix and right side of the system, `[N, N]` and `[N, C]`, of N removed pixels."""
    size = removed.shape
    unknown = [cell for cell in cells(size) if removed[cell]]
    place = {cell: number for number, cell in enumerate(unknown)}
    matrix, right = np.eye(len(unknown)), np.zeros((len(unknown), len(image)))
    for cell, row in place.items():
        weights = {}
        for offset in itertools.product((-1, 0, 1), repeat=len(size)):
            other = tuple(c + o for c, o in zip(cell, offset, strict=True))
            if any(offset) and all(0 <= c < n for c, n in zip(other, size, strict=True)):
                weights[other] = 0.5 ** sum(map(abs, offset))
        for other, weight in weights.items():
            share = weight / sum(weights.values())
            if removed[other]:
                matrix[row, place[other]] -= share
            else:
                right[row] += share * image[at(other)]
    return matrix, right


def road(
    value: Value, image: Array, heatmap: Array, noise: Array, steps: int = 9
) -> dict[str, float | list[float]]:
    """Return `(LeRF - MoRF) / 2` with its parts and curves; Rong et al. 2022.

    Noise `[C, *image]` is added where a pixel was imputed.
    """
    curves = {}
    for name, lowest_first in (("morf", False), ("lerf", True)):
        order, curve = by_rank(heatmap, lowest_first=lowest_first), []
        for step in range(1, steps + 1):
            count = min(len(order) - 1, round(len(order) * step / (steps + 1)))
            removed = np.zeros(heatmap.shape, dtype=bool)
            for cell in order[:count]:
                removed[cell] = True
            curve.append(value(imputed(image, removed) + np.where(removed, noise, 0)))
        curves[name] = curve
    morf, lerf = (statistics.fmean(curves[name]) for name in ("morf", "lerf"))
    return {
        "value": (lerf - morf) / 2,
        "morf": morf,
        "lerf": lerf,
        "morf curve": curves["morf"],
        "lerf curve": curves["lerf"],
    }


def average_drop(value: Value, image: Array, heatmap: Array) -> float:
    """`max(0, Y - O) / Y`; Chattopadhay et al. 2018, section 4.1."""
    before, after = value(image), value(image * heatmap)
    return max(0.0, before - after) / before


def increase(value: Value, image: Array, heatmap: Array) -> float:
    """`[Y < O]`; Chattopadhay et al. 2018, section 4.1."""
    return 1.0 if value(image) < value(image * heatmap) else 0.0


def average_gain(value: Value, image: Array, heatmap: Array) -> float:
    """`max(0, O - Y) / (1 - Y)`; Zhang et al. 2024, eq. 17."""
    before, after = value(image), value(image * heatmap)
    return max(0.0, after - before) / (1 - before)


def adcc(value: Value, image: Array, heatmap: Array, explain: Explain) -> dict[str, float]:
    """Return the harmonic mean of three, with its parts; Poppi et al. 2021, eq. 3 to 5."""
    again = explain(image * heatmap)
    coherency = (correlation(again.ravel(), heatmap.ravel()) + 1) / 2
    if np.ptp(again) == 0 or np.ptp(heatmap) == 0:  # there is nothing to be coherent
        coherency = 0.0
    complexity = float(np.abs(heatmap).sum()) / heatmap.size
    drop = average_drop(value, image, heatmap)
    three = [coherency, 1 - complexity, 1 - drop]
    return {
        "value": statistics.harmonic_mean(three),
        "coherency": coherency,
        "complexity": complexity,
        "average drop": drop,
    }


def infidelity(
    score: Value, image: Array, phi: Array, boxes: Iterable[Mask], *, scaled: bool = True
) -> float:
    """`E[(I . phi - (f(x) - f(x - I)))^2]` over boxes; Yeh et al. 2019, definition 2.1.

    Scaled: the least over all multiples of phi, found by least squares.
    """
    said, lost = [], []
    for box in boxes:
        said.append(math.fsum(phi[box]))
        lost.append(score(image) - score(np.where(box, 0, image)))
    factor = 1.0
    if scaled:
        factor = float(np.linalg.lstsq(np.array(said)[:, None], np.array(lost), rcond=None)[0][0])
    return statistics.fmean((factor * s - d) ** 2 for s, d in zip(said, lost, strict=True))


def patches(size: Sequence[int], count: int) -> list[Mask]:
    """Cut a picture into patches, `count` along each axis, or as many as there are pixels."""
    along = []
    for length in size:
        number = min(count, length)
        # Patch k begins at the first pixel i with i number / length >= k.
        edges = [math.ceil(k * length / number) for k in range(number + 1)]
        along.append([slice(*edge) for edge in itertools.pairwise(edges)])
    found = []
    for place in itertools.product(*along):
        mask = np.zeros(size, dtype=bool)
        mask[place] = True
        found.append(mask)
    return found


def occlusion_correlation(
    score: Value, image: Array, heatmap: Array, cells: int = 14, baseline: float = 0.0
) -> float:
    """Spearman's correlation of M with what each patch is worth; Selvaraju et al. 2017, 4.2."""
    heat, lost = [], []
    for patch in patches(heatmap.shape, cells):
        heat.append(statistics.fmean(heatmap[patch]))
        lost.append(score(image) - score(np.where(patch, baseline, image)))
    return rank_correlation(np.array(heat), np.array(lost))


# Localisation


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


# Robustness


def max_sensitivity(explain: Explain, image: Array, nearby: Iterable[Array]) -> float:
    """`max_d |phi(x + d) - phi(x)| / |phi(x)|`; Yeh et al. 2019, definition 3.1."""
    phi = explain(image)
    length = math.sqrt(math.fsum(phi.ravel() ** 2))
    worst = 0.0
    for step in nearby:
        change = explain(image + step) - phi
        worst = max(worst, math.sqrt(math.fsum(change.ravel() ** 2)))
    return worst / length if length else math.nan


def randomised(
    raw: Array, heatmap: Array, after: Sequence[tuple[Array, Array]]
) -> dict[str, float | list[float]]:
    """Return how alike maps stay over a cascade of raw maps and heatmaps; Adebayo et al. 2018."""
    signed = [rank_correlation(raw.ravel(), other.ravel()) for other, _ in after]
    absolute = [rank_correlation(abs(raw).ravel(), abs(other).ravel()) for other, _ in after]
    ssim = [structural_similarity(heatmap, other) for _, other in after]
    return {
        "value": statistics.fmean(signed),
        "absolute": statistics.fmean(absolute),
        "ssim": statistics.fmean(ssim),
        "curve": signed,
        "absolute curve": absolute,
        "ssim curve": ssim,
    }


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


def bootstrap(
    values: Sequence[float], draws: int, seed: int, groups: Sequence[str] | None = None
) -> tuple[float, float]:
    """Return the middle 95 % of means of samples drawn with replacement; Efron 1979.

    With groups, the mean over those that occur in the sample of their means.
    """
    random, found = np.random.default_rng(seed), []
    names = ["all"] * len(values) if groups is None else groups
    for _ in range(draws):
        chosen = random.integers(0, len(values), len(values)).tolist()
        by_group: dict[str, list[float]] = {}
        for i in chosen:
            by_group.setdefault(names[i], []).append(values[i])
        found.append(statistics.fmean(statistics.fmean(one) for one in by_group.values()))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
