"""The metrics equal their oracles, and doctored ones do not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid
from torch import Tensor

import limelight
from helpers.metric_scenes import ORACLES, SCENES, Scene, expected, ranks
from helpers.networks import CHOSEN
from helpers.tolerances import assert_agrees
from limelight.metrics import METRICS
from oracles import metrics as oracles
from oracles.metrics import Array, Mask, Value

# Mistakes that the oracles have to see


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
    return float(trapezoid(curve, counts / order.size))


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
    fill: Callable[[Array, Mask], Array] = oracles.imputed,
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
    parts = cast("dict[str, float]", ORACLES["adcc"](s, b))
    return [parts["coherency"], 1 - parts["complexity"], 1 - parts["average drop"]]


def adcc_with(s: Scene, b: int, **other: float) -> float:
    parts = cast("dict[str, float]", ORACLES["adcc"](s, b)) | other
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
    patches = oracles.patches(heat.shape, cells)
    whole = score(s.image(b))
    lost = [whole - score(np.where(patch, 0, s.image(b))) for patch in patches]
    return compare(np.array([heat[patch].mean() for patch in patches]), np.array(lost))


def others(b: int) -> int:
    return (b + 1) % 3


def changes(s: Scene, b: int, order: Any = 2, **drawn: Any) -> Array:
    explain, image = s.explain_raw(b), s.image(b)
    phi = explain(image)
    return np.array(
        [np.linalg.norm((explain(image + d) - phi).ravel(), order) for d in s.nearby(**drawn)]
    )


def length(s: Scene, b: int) -> float:
    return float(np.linalg.norm(s.raw(b)))


def each_stage(s: Scene, b: int, alike: Callable[[Array, Array], float]) -> list[float]:
    return [alike(s.raw(b), s.explain_raw(b, model)(s.image(b))) for model in s.randomised()]


def ranked_alike(a: Array, b: Array) -> float:
    return float(stats.spearmanr(a.ravel(), b.ravel())[0])


#: What passes for each metric at first sight, and is not it.
DOCTORED: dict[str, dict[str, Callable[[Scene, int], float]]] = {
    "deletion": {
        "the lowest first": lambda s, b: area(s, b, order=ranks(s.heatmap(b), lowest=True)),
        "of equal ones the last first": lambda s, b: area(
            s, b, order=ranks(s.heatmap(b), stable=False)
        ),
        "a plain mean": lambda s, b: area(s, b, rule=statistics.fmean),
        "without the last step": lambda s, b: area(s, b, rule=lambda y: statistics.fmean(y[:-1])),
        "without the first step": lambda s, b: area(s, b, rule=lambda y: statistics.fmean(y[1:])),
        "not divided by the steps": lambda s, b: area(s, b, rule=lambda y: float(trapezoid(y))),
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
            s, b, oracles.blurred(s.image(b)), order=ranks(s.heatmap(b), lowest=True)
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
        "sharp pixels made blurred": lambda s, b: area(s, b, bare=oracles.blurred(s.image(b))),
        "a plain mean": lambda s, b: shown_sharp(
            s, b, oracles.blurred(s.image(b)), rule=statistics.fmean
        ),
    },
    "road": {
        "the other sign": lambda s, b: -road_as(s, b),
        "not halved": lambda s, b: 2 * road_as(s, b),
        "the most relevant alone": filled,
        "neighbours all the same": lambda s, b: road_as(s, b, fill=unweighted),
        "direct neighbours alone": lambda s, b: road_as(s, b, fill=direct_only),
        "zeros in the holes": lambda s, b: road_as(s, b, fill=lambda x, gone: np.where(gone, 0, x)),
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
        "in per cent": lambda s, b: (
            100 * oracles.average_drop(s.likely(b), s.image(b), s.heatmap(b))
        ),
        "what M hides": lambda s, b: oracles.average_drop(
            s.likely(b), s.image(b), 1 - s.heatmap(b)
        ),
        "another class": lambda s, b: oracles.average_drop(
            s.likely(others(b)), s.image(b), s.heatmap(b)
        ),
    },
    "increase": {
        "the other way": lambda s, b: float(before_after(s, b)[1] < before_after(s, b)[0]),
        "how much": lambda s, b: max(0, before_after(s, b)[1] - before_after(s, b)[0]),
        "what M hides": lambda s, b: oracles.increase(s.likely(b), s.image(b), 1 - s.heatmap(b)),
    },
    "average-gain": {
        "not divided": lambda s, b: max(0, before_after(s, b)[1] - before_after(s, b)[0]),
        "divided by what was there": lambda s, b: max(
            0, before_after(s, b)[1] / before_after(s, b)[0] - 1
        ),
        "losses count": lambda s, b: 1 - (1 - before_after(s, b)[1]) / (1 - before_after(s, b)[0]),
    },
    "adcc": {
        "the geometric mean": lambda s, b: math.prod(three(s, b)) ** (1 / 3),
        "the arithmetic mean": lambda s, b: statistics.fmean(three(s, b)),
        "one, not three": lambda s, b: statistics.harmonic_mean(three(s, b)) / 3,
        "complexity not turned": lambda s, b: adcc_with(s, b, complexity=1 - s.heatmap(b).mean()),
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
        "times the image": lambda s, b: error(*said_and_lost(s, b, s.phi(b) * s.image(b).sum(0))),
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
        "not of ranks": lambda s, b: patchwise(s, b, lambda a, b: float(np.corrcoef(a, b)[0, 1])),
        "without sign": lambda s, b: patchwise(
            s, b, lambda a, b: float(stats.spearmanr(a, abs(b))[0])
        ),
        "Kendall's": lambda s, b: patchwise(s, b, lambda a, b: float(stats.kendalltau(a, b)[0])),
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
    "pointing-game:tolerance=2.5": {
        "no tolerance": lambda s, b: oracles.pointing_game(s.heatmap(b), s.mask(b), 0),
        "the lowest": lambda s, b: oracles.pointing_game(-s.heatmap(b), s.mask(b), 2.5),
        "always a hit": lambda s, b: 1.0,
    },
    "energy-pointing": {
        "the raw map": lambda s, b: float(s.phi(b)[s.mask(b)].sum() / s.phi(b).sum()),
        "over the object's area": lambda s, b: float(s.heatmap(b)[s.mask(b)].mean()),
        "squared": lambda s, b: oracles.energy(s.heatmap(b) ** 2, s.mask(b)),
        "chance": lambda s, b: float(s.mask(b).mean()),
        "outside": lambda s, b: oracles.energy(s.heatmap(b), ~s.mask(b)),
    },
    "energy-pointing:most=0.25": {
        "large objects too": lambda s, b: oracles.energy(s.heatmap(b), s.mask(b)),
        "large objects as nothing": lambda s, b: float(
            np.nan_to_num(oracles.energy(s.heatmap(b), s.mask(b), 0.25))
        ),
    },
    "mass-accuracy": {
        "without sign": lambda s, b: oracles.energy(abs(s.phi(b)), s.mask(b)),
        "negative ones too": lambda s, b: float(s.phi(b)[s.mask(b)].sum() / s.phi(b).sum()),
        "resized, then cut off": lambda s, b: oracles.energy(s.phi(b).clip(0), s.mask(b)),
    },
    "rank-accuracy": {
        "of a fixed share": lambda s, b: float(
            s.mask(b)[ranks(s.heatmap(b)) < s.mask(b).size // 10].mean()
        ),
        "the lowest": lambda s, b: oracles.rank_accuracy(-s.heatmap(b), s.mask(b)),
        "over the image": lambda s, b: (
            oracles.rank_accuracy(s.heatmap(b), s.mask(b)) * float(s.mask(b).mean())
        ),
    },
    "localisation-error": {
        "accuracy": lambda s, b: 1 - oracles.localisation_error(s.heatmap(b), s.boxes[b]),
        "no threshold": lambda s, b: oracles.localisation_error(s.heatmap(b), s.boxes[b], 1e-9),
    },
    "localisation-error:threshold=0.6,iou=0.2": {
        "accuracy": lambda s, b: 1 - oracles.localisation_error(s.heatmap(b), s.boxes[b], 0.6, 0.2),
        "half overlap": lambda s, b: oracles.localisation_error(s.heatmap(b), s.boxes[b], 0.6),
    },
    "max-sensitivity": {
        "the mean": lambda s, b: float(changes(s, b).mean() / length(s, b)),
        "not divided": lambda s, b: float(changes(s, b).max()),
        "the largest cell": lambda s, b: float(changes(s, b, math.inf).max() / length(s, b)),
        "squared": lambda s, b: float((changes(s, b) ** 2).max() / length(s, b) ** 2),
        "one step fewer": lambda s, b: float(changes(s, b)[:-1].max() / length(s, b) * 0.999),
        "twice as far": lambda s, b: float(changes(s, b, radius=0.04).max() / length(s, b)),
        "other steps": lambda s, b: float(changes(s, b, seed=1).max() / length(s, b)),
    },
    "parameter-randomisation": {
        "without sign": lambda s, b: statistics.fmean(
            each_stage(s, b, lambda x, y: ranked_alike(abs(x), abs(y)))
        ),
        "the size of the correlation": lambda s, b: statistics.fmean(
            map(abs, each_stage(s, b, ranked_alike))
        ),
        "not of ranks": lambda s, b: statistics.fmean(
            each_stage(s, b, lambda x, y: float(np.corrcoef(x.ravel(), y.ravel())[0, 1]))
        ),
        "the last stage alone": lambda s, b: each_stage(s, b, ranked_alike)[-1],
        "the first stage alone": lambda s, b: each_stage(s, b, ranked_alike)[0],
        "the trained network too": lambda s, b: statistics.fmean(
            [1.0, *each_stage(s, b, ranked_alike)]
        ),
        "the most alike": lambda s, b: max(each_stage(s, b, ranked_alike)),
    },
}
every_scene = pytest.mark.parametrize("name", SCENES)
every_metric = pytest.mark.parametrize("metric", ORACLES)


def test_every_metric_has_an_oracle_with_every_option() -> None:
    known = {metric.partition(":")[0] for metric in ORACLES}
    assert known == set(METRICS)
    for name, row in METRICS.items():
        own = [metric for metric in ORACLES if metric.partition(":")[0] == name]
        for option in row.known_options:
            assert any(f"{option}=" in metric for metric in own), f"{option} of {name}"


def test_every_oracle_has_seen_a_mistake() -> None:
    assert {metric.partition(":")[0] for metric in DOCTORED} == set(METRICS)
    assert set(DOCTORED) <= set(ORACLES)


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_row_says_what_it_is(metric: str) -> None:
    row = METRICS[metric]
    assert row.name == metric
    assert row.family in ("faithfulness", "localisation", "robustness", "sanity")
    assert row.better in ("higher", "lower")
    assert row.needs <= {"objects", "probability", "recipe"}
    assert row.formula
    assert row.paper
    assert row.use.endswith((".", "?"))
    assert row.function.__doc__


#: What keeps readings within ten of their limit.
NEAR = {
    "parameter-randomisation": "variances, each a difference of squares, in a quotient",
    "max-sensitivity": "maps of nearly the same images, whose difference is small beside them",
}


def room(scene: Scene, metric: str) -> dict[str, Any]:
    """What a reading is a difference of; and that ROAD's pixels are solved for, to eps^(3/4)."""
    if not metric.startswith(("road", "infidelity")):
        return {"limit": NEAR.get(metric.partition(":")[0])}
    images = scene.images.clone().requires_grad_()
    scores = scene.model(images)
    (slopes,) = torch.autograd.grad(scores.max(1).values.sum(), images)
    size = float(scores.detach().abs().max())
    if metric.startswith("infidelity"):
        return {"scale": size**2}
    moved = float((slopes * images).detach().abs().flatten(1).sum(1).max())
    return {"scale": size, "truncation": torch.finfo(torch.float64).eps ** 0.75 * moved}


@every_scene
@every_metric
def test_readings_equal_the_oracle(name: str, metric: str) -> None:
    scene, wanted = SCENES[name], expected(name, metric)
    assert not scene.measured(metric).unmeasured
    found, curves = scene.readings(metric), scene.curves(metric)
    assert found.keys() | curves.keys() == wanted.keys()
    for part, values in found.items():
        assert torch.equal(values.isnan(), wanted[part].isnan())
        if wanted[part].nan_to_num().any():
            assert_agrees(values, wanted[part], **room(scene, metric))
        else:
            assert not values.any(), part
    for part, summed in curves.items():
        assert_agrees(summed, wanted[part].sum(0), **room(scene, metric))


@every_metric
def test_what_the_oracles_are_shown_is_not_zero_everywhere(metric: str) -> None:
    assert any(expected(name, metric)["value"].nan_to_num().any() for name in SCENES)


def agrees(found: Tensor, wanted: Tensor) -> bool:
    try:
        assert torch.equal(found.isnan(), wanted.isnan())
        assert_agrees(found.nan_to_num(), wanted.nan_to_num())
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("metric", "how"), [(metric, how) for metric, hows in DOCTORED.items() for how in hows]
)
def test_a_doctored_metric_fails_its_oracle(metric: str, how: str) -> None:
    """In some scene at least: not every mistake shows in every map."""
    for name, scene in SCENES.items():
        found = [float(DOCTORED[metric][how](scene, b)) for b in range(3)]
        wanted = expected(name, metric)["value"]
        if wanted.nan_to_num().any() and not agrees(
            torch.tensor(found, dtype=torch.float64), wanted
        ):
            return
    pytest.fail("the mistake does not show in any scene")


def test_what_is_doctored_would_be_right_without() -> None:
    right: dict[str, Callable[[Scene, int], float]] = {
        "deletion": area,
        "insertion": lambda s, b: shown_sharp(s, b, soft(s.image(b), 11, 5.0)),
        "road": road_as,
        "infidelity": lambda s, b: error(*said_and_lost(s, b, s.phi(b))),
        "occlusion-correlation": patchwise,
        "max-sensitivity": lambda s, b: float(changes(s, b).max() / length(s, b)),
        "parameter-randomisation": lambda s, b: statistics.fmean(each_stage(s, b, ranked_alike)),
    }
    for metric, plain in right.items():
        found = torch.tensor([plain(SCENES["picture"], b) for b in range(3)], dtype=torch.float64)
        assert_agrees(found, expected("picture", metric)["value"])


# Controls


@every_scene
@pytest.mark.parametrize("control", ["random", "centre"])
def test_controls_are_those_methods_on_the_same_grid(name: str, control: str) -> None:
    scene = SCENES[name]
    maps = limelight.explain(
        scene.model, scene.images, target=list(CHOSEN), layer=scene.layer, method=control
    )
    assert maps.raw.shape == scene.explanation.raw.shape
    rows = ["deletion:steps=10", "energy-pointing", "infidelity:samples=9", "occlusion-correlation"]
    whole = limelight.measure(
        scene.model, scene.images, [scene.explanation, maps], metrics=rows, objects=scene.masks
    )
    for metric in rows:
        own = whole.estimate(control, metric)
        other = whole.estimate("gradcam", metric)
        assert own.own == getattr(other, control)
        assert other.own != other.random
        assert other.random != other.centre
