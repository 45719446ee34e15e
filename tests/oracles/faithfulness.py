"""Metrics of what the score depends on, computed again slowly, from their papers."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import stats
from scipy.integrate import trapezoid as trapezium

from oracles.family import Found, MetricFamily
from oracles.metrics import (
    Array,
    Explain,
    Mask,
    Value,
    at,
    by_rank,
    cells,
    correlation,
    rank_correlation,
    ranks,
    trapezoid,
)

if TYPE_CHECKING:
    from helpers.metric_scenes import Scene


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


def saco(
    value: Value, image: Array, heatmap: Array, count: int = 10, baseline: float = 0.0
) -> float:
    """Return the salience-guided faithfulness coefficient; Wu et al. 2024, algorithm 1.

    Group i holds the pixels whose rank is at least `i N / K` and below `(i + 1) N / K`.
    """
    groups = [
        [cell for rank, cell in enumerate(by_rank(heatmap)) if rank * count // heatmap.size == i]
        for i in range(count)
    ]
    salience, lost = [], []
    for group in groups:
        changed = image.copy()
        for cell in group:
            changed[at(cell)] = baseline
        salience.append(statistics.fmean(heatmap[cell] for cell in group))
        lost.append(value(image) - value(changed))
    agreed = total = 0.0
    for i, j in itertools.combinations(range(count), 2):
        weight = salience[i] - salience[j]
        agreed += weight if lost[i] >= lost[j] else -weight
        total += weight
    return agreed / total if total else 0.0  # a map that is the same everywhere


# How the tests call these metrics, and the mistakes that they have to see


def with_curve(found: tuple[float, list[float]]) -> Found:
    return {"value": found[0], "curve": found[1]}


def boxed(s: Scene, b: int, metric: str, *, scaled: bool = True) -> float:
    holes = s.holes(b, metric)
    return infidelity(s.score(b), s.image(b), s.phi(b), holes, scaled=scaled)


def area(
    s: Scene,
    b: int,
    *,
    value: Value | None = None,
    order: Array | None = None,
    sharp: Array | None = None,
    bare: Array | None = None,
    rule: Callable[[list[float]], float] | None = None,
    steps: int = 100,
) -> float:
    """Return a deletion as it could be written, `order` being the rank of each pixel."""
    value = value or s.likely(b)
    order = ranks(s.heatmap(b)) if order is None else order
    sharp = s.image(b) if sharp is None else sharp
    bare = np.zeros_like(sharp) if bare is None else bare
    curve = []
    for step in range(steps + 1):
        removed = order < round(step / steps * order.size)
        curve.append(value(np.where(removed, bare, sharp)))
    if rule is not None:
        return rule(curve)
    counts = np.round(np.arange(steps + 1) / steps * order.size)
    return float(trapezium(curve, counts / order.size))


def shown_sharp(s: Scene, b: int, bare: Array, **other: Any) -> float:
    return area(s, b, sharp=bare, bare=s.image(b), **other)


def soft(image: Array, width: int, deviation: float, mode: Any = "edge") -> Array:
    """Blur along each axis."""
    away = np.arange(width) - width // 2
    kernel = np.exp(-(away**2) / (2 * deviation**2))
    kernel /= kernel.sum()
    for axis in range(1, image.ndim):
        image = np.apply_along_axis(
            lambda row: np.convolve(np.pad(row, width // 2, mode=mode), kernel, "valid"),
            axis,
            image,
        )
    return image


def filled(
    s: Scene,
    b: int,
    *,
    first: bool = True,
    fill: Callable[[Array, Mask], Array] = imputed,
    noise: Array | None = None,
    everywhere: bool = False,
    value: Value | None = None,
    count: Callable[[float], int] = round,
    steps: int = 9,
) -> float:
    """Return the mean of f over shares removed and filled in, the highest (lowest) first."""
    order = ranks(s.heatmap(b), lowest=not first)
    noise = s.noise() if noise is None else noise
    found = []
    for step in range(1, steps + 1):
        removed = order < count(order.size * step / (steps + 1))
        image = fill(s.image(b), removed) + (noise if everywhere else np.where(removed, noise, 0))
        found.append((value or s.likely(b))(image))
    return statistics.fmean(found)


def road_as(s: Scene, b: int, **how: Any) -> float:
    return (filled(s, b, first=False, **how) - filled(s, b, **how)) / 2


def unweighted(image: Array, removed: Mask) -> Array:
    """Fill in with every neighbour weighing the same, over and over."""
    return relaxed(image, removed, lambda offset: 1.0)


def direct_only(image: Array, removed: Mask) -> Array:
    return relaxed(image, removed, lambda offset: float(sum(map(abs, offset)) == 1))


def relaxed(image: Array, removed: Mask, weigh: Callable[[tuple[int, ...]], float]) -> Array:
    total = np.where(removed, image[:, ~removed].mean(1).reshape(-1, *[1] * removed.ndim), image)
    for _ in range(200):
        summed, mass = np.zeros_like(total), np.zeros(removed.shape)
        padded, there = (
            np.pad(total, [(0, 0)] + [(1, 1)] * removed.ndim),
            np.pad(removed * 0 + 1, 1),
        )
        for offset in np.ndindex(*[3] * removed.ndim):
            weight = weigh(tuple(o - 1 for o in offset)) if any(o != 1 for o in offset) else 0.0
            place = tuple(slice(o, o + n) for o, n in zip(offset, removed.shape, strict=True))
            summed += weight * padded[(slice(None), *place)]
            mass += weight * there[place]
        total = np.where(removed, summed / mass, image)
    return total


def filled_with_mean(image: Array, removed: Mask) -> Array:
    mean = image[:, ~removed].mean(1).reshape(-1, *[1] * removed.ndim)
    return np.where(removed, mean, image)


def before_after(s: Scene, b: int, value: Value | None = None) -> tuple[float, float]:
    value = value or s.likely(b)
    return value(s.image(b)), value(s.image(b) * s.heatmap(b))


def three(s: Scene, b: int) -> list[float]:
    parts = cast("dict[str, float]", METRICS.oracles["adcc"](s, b))
    return [parts["coherency"], 1 - parts["complexity"], 1 - parts["average drop"]]


def adcc_with(s: Scene, b: int, **other: float) -> float:
    parts = cast("dict[str, float]", METRICS.oracles["adcc"](s, b)) | other
    return statistics.harmonic_mean(
        [parts["coherency"], 1 - parts["complexity"], 1 - parts["average drop"]]
    )


def said_and_lost(s: Scene, b: int, phi: Array, score: Value | None = None) -> tuple[Array, Array]:
    boxes = s.holes(b, "infidelity")
    score = score or s.score(b)
    whole = score(s.image(b))
    said = [phi[box].sum() for box in boxes]
    return np.array(said), np.array([whole - score(np.where(box, 0, s.image(b))) for box in boxes])


def error(said: Array, lost: Array, *, scaled: bool = True) -> float:
    factor = (said * lost).sum() / (said**2).sum() if scaled else 1.0
    return float(((factor * said - lost) ** 2).mean())


def patchwise(
    s: Scene,
    b: int,
    compare: Callable[[Array, Array], float] = lambda a, b: float(stats.spearmanr(a, b)[0]),
    heat: Array | None = None,
    score: Value | None = None,
    cells: int = 14,
) -> float:
    heat, score = s.heatmap(b) if heat is None else heat, score or s.score(b)
    covered = patches(heat.shape, cells)
    whole = score(s.image(b))
    lost = [whole - score(np.where(patch, 0, s.image(b))) for patch in covered]
    return compare(np.array([heat[patch].mean() for patch in covered]), np.array(lost))


def grouped(
    s: Scene,
    b: int,
    *,
    heat: Array | None = None,
    value: Value | None = None,
    bare: float = 0.0,
    count: int = 10,
    reduce: Callable[[Array], float] = np.mean,
    together: bool = False,
    agree: Callable[[Array, Array], float] = lambda ds, dl: float(
        np.where(dl >= 0, ds, -ds).sum() / abs(ds).sum()
    ),
) -> float:
    """Return a SaCo as it could be written, from what each pair of groups differs by."""
    heat, value = s.heatmap(b) if heat is None else heat, value or s.likely(b)
    which = (ranks(heat) * count // heat.size).astype(int)
    gone = [which <= i if together else which == i for i in range(count)]
    salience = np.array([reduce(heat[which == i]) for i in range(count)])
    lost = np.array([value(s.image(b)) - value(np.where(g, bare, s.image(b))) for g in gone])
    i, j = np.triu_indices(count, 1)
    return agree(salience[i] - salience[j], lost[i] - lost[j])


def others(b: int) -> int:
    return (b + 1) % 3


def squared(s: Scene) -> dict[str, Any]:
    return {"scale": s.largest_score**2}


def solved_for(s: Scene) -> dict[str, Any]:
    """ROAD's pixels are solved for, to eps^(3/4)."""
    images = s.images.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(s.model(images).max(1).values.sum(), images)
    moved = float((slopes * images).detach().abs().flatten(1).sum(1).max())
    truncation = torch.finfo(torch.float64).eps ** 0.75 * moved
    return {"scale": s.largest_score, "truncation": truncation}


METRICS: MetricFamily[Scene] = MetricFamily(
    oracles={
        "deletion": lambda s, b: with_curve(deletion(s.likely(b), s.image(b), s.heatmap(b))),
        "deletion:steps=7,baseline=0.5": lambda s, b: with_curve(
            deletion(s.likely(b), s.image(b), s.heatmap(b), 7, 0.5)
        ),
        "deletion:steps=1": lambda s, b: with_curve(
            deletion(s.likely(b), s.image(b), s.heatmap(b), 1)
        ),
        "insertion": lambda s, b: with_curve(insertion(s.likely(b), s.image(b), s.heatmap(b))),
        "insertion:steps=13": lambda s, b: with_curve(
            insertion(s.likely(b), s.image(b), s.heatmap(b), 13)
        ),
        "road": lambda s, b: road(s.likely(b), s.image(b), s.heatmap(b), s.noise()),
        "road:steps=3,noise=0.2,seed=5": lambda s, b: road(
            s.likely(b), s.image(b), s.heatmap(b), s.noise(0.2, 5), 3
        ),
        "road:steps=1,noise=0": lambda s, b: road(
            s.likely(b), s.image(b), s.heatmap(b), s.noise(0.0), 1
        ),
        "average-drop": lambda s, b: average_drop(s.likely(b), s.image(b), s.heatmap(b)),
        "increase": lambda s, b: increase(s.likely(b), s.image(b), s.heatmap(b)),
        "average-gain": lambda s, b: average_gain(s.likely(b), s.image(b), s.heatmap(b)),
        "adcc": lambda s, b: adcc(s.likely(b), s.image(b), s.heatmap(b), s.explain(b)),
        "infidelity": lambda s, b: boxed(s, b, "infidelity"),
        "infidelity:scaled=false": lambda s, b: boxed(s, b, "infidelity", scaled=False),
        "infidelity:samples=9,patch=0.8,seed=4": lambda s, b: boxed(
            s, b, "infidelity:samples=9,patch=0.8,seed=4"
        ),
        "occlusion-correlation": lambda s, b: occlusion_correlation(
            s.score(b), s.image(b), s.heatmap(b)
        ),
        "occlusion-correlation:cells=4,baseline=-1": lambda s, b: occlusion_correlation(
            s.score(b), s.image(b), s.heatmap(b), 4, -1
        ),
        "saco": lambda s, b: saco(s.likely(b), s.image(b), s.heatmap(b)),
        "saco:groups=4,baseline=0.5": lambda s, b: saco(
            s.likely(b), s.image(b), s.heatmap(b), 4, 0.5
        ),
    },
    doctored={
        "deletion": {
            "the lowest first": lambda s, b: area(s, b, order=ranks(s.heatmap(b), lowest=True)),
            "of equal ones the last first": lambda s, b: area(
                s, b, order=ranks(s.heatmap(b), stable=False)
            ),
            "a plain mean": lambda s, b: area(s, b, rule=statistics.fmean),
            "without the last step": lambda s, b: area(
                s, b, rule=lambda y: statistics.fmean(y[:-1])
            ),
            "without the first step": lambda s, b: area(
                s, b, rule=lambda y: statistics.fmean(y[1:])
            ),
            "not divided by the steps": lambda s, b: area(s, b, rule=lambda y: float(trapezium(y))),
            "the logit": lambda s, b: area(s, b, value=s.score(b)),
            "another class": lambda s, b: area(s, b, value=s.likely(others(b))),
            "the raw map's order": lambda s, b: area(s, b, order=ranks(s.phi(b))),
            "a tenth of the steps": lambda s, b: area(s, b, steps=10),
            "the image's mean in the holes": lambda s, b: area(
                s, b, bare=np.full_like(s.image(b), s.image(b).mean())
            ),
            "divided by the score": lambda s, b: area(s, b) / s.likely(b)(s.image(b)),
        },
        "insertion": {
            "the lowest first": lambda s, b: shown_sharp(
                s, b, blurred(s.image(b)), order=ranks(s.heatmap(b), lowest=True)
            ),
            "from nothing": lambda s, b: shown_sharp(s, b, np.zeros_like(s.image(b))),
            "a sharper blur": lambda s, b: shown_sharp(s, b, soft(s.image(b), 11, 2.0)),
            "a narrower blur": lambda s, b: shown_sharp(s, b, soft(s.image(b), 9, 5.0)),
            "zeros beyond the edge": lambda s, b: shown_sharp(
                s, b, soft(s.image(b), 11, 5.0, "constant")
            ),
            "a mirror at the edge": lambda s, b: shown_sharp(
                s, b, soft(s.image(b), 11, 5.0, "symmetric")
            ),
            "sharp pixels made blurred": lambda s, b: area(s, b, bare=blurred(s.image(b))),
            "a plain mean": lambda s, b: shown_sharp(
                s, b, blurred(s.image(b)), rule=statistics.fmean
            ),
        },
        "road": {
            "the other sign": lambda s, b: -road_as(s, b),
            "not halved": lambda s, b: 2 * road_as(s, b),
            "the most relevant alone": filled,
            "neighbours all the same": lambda s, b: road_as(s, b, fill=unweighted),
            "direct neighbours alone": lambda s, b: road_as(s, b, fill=direct_only),
            "zeros in the holes": lambda s, b: road_as(
                s, b, fill=lambda x, gone: np.where(gone, 0, x)
            ),
            "the mean in the holes": lambda s, b: road_as(s, b, fill=filled_with_mean),
            "no noise": lambda s, b: road_as(s, b, noise=s.noise(0.0)),
            "other noise": lambda s, b: road_as(s, b, noise=s.noise(seed=1)),
            "noise on all pixels": lambda s, b: road_as(s, b, everywhere=True),
            "rounded down": lambda s, b: road_as(s, b, count=math.floor),
            "the logit": lambda s, b: road_as(s, b, value=s.score(b)),
            "a share more": lambda s, b: road_as(s, b, steps=10),
        },
        "average-drop": {
            "not divided": lambda s, b: max(0, before_after(s, b)[0] - before_after(s, b)[1]),
            "gains count": lambda s, b: 1 - before_after(s, b)[1] / before_after(s, b)[0],
            "of the logit": lambda s, b: max(
                0, 1 - before_after(s, b, s.score(b))[1] / before_after(s, b, s.score(b))[0]
            ),
            "in per cent": lambda s, b: 100 * average_drop(s.likely(b), s.image(b), s.heatmap(b)),
            "what M hides": lambda s, b: average_drop(s.likely(b), s.image(b), 1 - s.heatmap(b)),
            "another class": lambda s, b: average_drop(
                s.likely(others(b)), s.image(b), s.heatmap(b)
            ),
        },
        "increase": {
            "the other way": lambda s, b: float(before_after(s, b)[1] < before_after(s, b)[0]),
            "how much": lambda s, b: max(0, before_after(s, b)[1] - before_after(s, b)[0]),
            "what M hides": lambda s, b: increase(s.likely(b), s.image(b), 1 - s.heatmap(b)),
        },
        "average-gain": {
            "not divided": lambda s, b: max(0, before_after(s, b)[1] - before_after(s, b)[0]),
            "divided by what was there": lambda s, b: max(
                0, before_after(s, b)[1] / before_after(s, b)[0] - 1
            ),
            "losses count": lambda s, b: (
                1 - (1 - before_after(s, b)[1]) / (1 - before_after(s, b)[0])
            ),
        },
        "adcc": {
            "the geometric mean": lambda s, b: math.prod(three(s, b)) ** (1 / 3),
            "the arithmetic mean": lambda s, b: statistics.fmean(three(s, b)),
            "one, not three": lambda s, b: statistics.harmonic_mean(three(s, b)) / 3,
            "complexity not turned": lambda s, b: adcc_with(
                s, b, complexity=1 - s.heatmap(b).mean()
            ),
            "coherency not moved to [0, 1]": lambda s, b: adcc_with(
                s, b, coherency=abs(2 * three(s, b)[0] - 1)
            ),
            "the map of the image itself": lambda s, b: adcc_with(s, b, coherency=1.0),
            "drop not divided": lambda s, b: adcc_with(
                s, b, **{"average drop": max(0, before_after(s, b)[0] - before_after(s, b)[1])}
            ),
        },
        "infidelity": {
            "not squared": lambda s, b: float(
                np.abs(np.subtract(*said_and_lost(s, b, s.phi(b)))).mean()
            ),
            "not scaled": lambda s, b: error(*said_and_lost(s, b, s.phi(b)), scaled=False),
            "the heatmap": lambda s, b: error(*said_and_lost(s, b, s.heatmap(b))),
            "the positive part": lambda s, b: error(*said_and_lost(s, b, s.relevance(b))),
            "the probability": lambda s, b: error(*said_and_lost(s, b, s.phi(b), s.likely(b))),
            "the sum of squares": lambda s, b: 100 * error(*said_and_lost(s, b, s.phi(b))),
            "times the image": lambda s, b: error(
                *said_and_lost(s, b, s.phi(b) * s.image(b).sum(0))
            ),
            "scaled the other way round": lambda s, b: error(*said_and_lost(s, b, s.phi(b))[::-1]),
        },
        "infidelity:scaled=false": {
            "scaled": lambda s, b: error(*said_and_lost(s, b, s.phi(b))),
            "what is left": lambda s, b: error(
                -np.array(said_and_lost(s, b, s.phi(b))[0]),
                said_and_lost(s, b, s.phi(b))[1],
                scaled=False,
            ),
        },
        "occlusion-correlation": {
            "the other sign": lambda s, b: -patchwise(s, b),
            "not of ranks": lambda s, b: patchwise(
                s, b, lambda a, b: float(np.corrcoef(a, b)[0, 1])
            ),
            "without sign": lambda s, b: patchwise(
                s, b, lambda a, b: float(stats.spearmanr(a, abs(b))[0])
            ),
            "Kendall's": lambda s, b: patchwise(
                s, b, lambda a, b: float(stats.kendalltau(a, b)[0])
            ),
            "ties in the order they come": lambda s, b: patchwise(
                s,
                b,
                lambda a, b: float(
                    np.corrcoef(stats.rankdata(a, "ordinal"), stats.rankdata(b, "ordinal"))[0, 1]
                ),
            ),
            "the raw map": lambda s, b: patchwise(s, b, heat=s.phi(b)),
            "fewer patches": lambda s, b: patchwise(s, b, cells=5),
        },
        "saco": {
            "the other sign": lambda s, b: -grouped(s, b),
            "pairs all the same": lambda s, b: grouped(
                s, b, agree=lambda ds, dl: float(np.where(dl >= 0, 1, -1).mean())
            ),
            "sums of groups": lambda s, b: grouped(s, b, reduce=np.sum),
            "a group with those before it": lambda s, b: grouped(s, b, together=True),
            "the other colour": lambda s, b: grouped(s, b, bare=1.0),
            "another class": lambda s, b: grouped(s, b, value=s.likely(others(b))),
            "the raw map": lambda s, b: grouped(s, b, heat=s.phi(b)),
            "fewer groups": lambda s, b: grouped(s, b, count=5),
            "not divided": lambda s, b: grouped(
                s, b, agree=lambda ds, dl: float(np.where(dl >= 0, ds, -ds).sum())
            ),
            "agreement alone": lambda s, b: grouped(
                s, b, agree=lambda ds, dl: float(ds[dl >= 0].sum() / ds.sum())
            ),
        },
    },
    undoctored={
        "deletion": area,
        "insertion": lambda s, b: shown_sharp(s, b, soft(s.image(b), 11, 5.0)),
        "road": road_as,
        "infidelity": lambda s, b: error(*said_and_lost(s, b, s.phi(b))),
        "occlusion-correlation": patchwise,
        "saco": grouped,
    },
    allowed={"road": solved_for, "infidelity": squared},
)
