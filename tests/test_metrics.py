"""Every metric equals its oracle, and what is worked by hand; the mistakes of others do not."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid
from torch import Tensor, nn

import limelight
import networks
from limelight.inputs import ModelInputs
from limelight.metrics import METRICS
from limelight.metrics.faithfulness import blur, ranked
from limelight.metrics.imputation import impute
from limelight.metrics.measurement import Measurement
from limelight.metrics.statistics import pearson, spearman, structural_similarity
from limelight.runtime.randomise import cascade
from networks import ready
from oracles import metrics as oracles
from oracles.methods import channels_first, classes, gradcam, probe, upsampled
from oracles.metrics import Array, Mask, Value
from tolerances import assert_agrees, rounding

CHOSEN = [1, 0, 2]  # one class per image


class Seen:
    """Keeps every batch that a network is shown."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []


class Recorder(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self, network: nn.Module, seen: Seen) -> None:
        super().__init__()
        self.network, self.seen = network, seen

    def forward(self, x: Tensor) -> Any:
        self.seen.batches.append(x.detach().clone())
        return self.network(x)


@dataclass(frozen=True, eq=False)
class Scene:
    """A network, a layer, images, and boxes of objects in them that do not touch."""

    network: Callable[[], nn.Module]
    layer: str
    last: str
    size: tuple[int, ...]
    boxes: tuple[tuple[tuple[int, ...], ...], ...]
    sharp: float
    seed: int

    @cached_property
    def model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = ready(self.network())
            with torch.no_grad():  # so that probabilities differ
                cast("nn.Linear", model.get_submodule(self.last)).weight.mul_(self.sharp)
            return model

    @cached_property
    def images(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(3, *self.size, generator=generator, dtype=torch.float64)

    @cached_property
    def masks(self) -> Tensor:
        masks = torch.zeros(3, *self.size[1:], dtype=torch.bool)
        axes = len(self.size) - 1
        for mask, boxes in zip(masks, self.boxes, strict=True):
            for box in boxes:
                ends = zip(box[axes - 1 :: -1], box[: axes - 1 : -1], strict=True)
                mask[tuple(slice(*pair) for pair in ends)] = True
        return masks

    @cached_property
    def explanation(self) -> limelight.Explanation:
        return limelight.explain(self.model, self.images, target=list(CHOSEN), layer=self.layer)

    @functools.cache  # noqa: B019 (scenes live as long as the tests)
    def measured(self, metric: str) -> Measurement:
        return limelight.measure(
            self.model, self.images, self.explanation, metrics=[metric], objects=self.masks
        )

    def readings(self, metric: str) -> dict[str, Tensor]:
        (sample,) = self.measured(metric).samples.values()
        return dict(sample.readings["own"])

    def curves(self, metric: str) -> dict[str, Tensor]:
        (sample,) = self.measured(metric).samples.values()
        return dict(sample.curves["own"])

    # One image, in numpy

    def image(self, b: int) -> Array:
        return self.images[b].numpy()

    def mask(self, b: int) -> Mask:
        return self.masks[b].numpy()

    def raw(self, b: int) -> Array:
        return self.explanation.raw[b].numpy()

    def heatmap(self, b: int) -> Array:
        return self.explanation.heatmap[b].numpy()

    def phi(self, b: int) -> Array:
        return upsampled(self.explanation.raw[b], self.size[1:]).numpy()

    def relevance(self, b: int) -> Array:
        return upsampled(self.explanation.raw[b].relu(), self.size[1:]).numpy()

    def score(self, b: int) -> Value:
        return self._read(b, lambda logits: logits[0, CHOSEN[b]])

    def likely(self, b: int) -> Value:
        return self._read(b, lambda logits: logits.softmax(1)[0, CHOSEN[b]])

    def _read(self, b: int, read: Callable[[Tensor], Tensor]) -> Value:
        @torch.no_grad()
        def value(image: Array) -> float:
            return read(self.model(torch.tensor(image)[None])).item()

        return value

    def explain_raw(self, b: int, model: nn.Module | None = None) -> Callable[[Array], Array]:
        def raw(image: Array) -> Array:
            x = torch.tensor(image)[None]
            found = probe(model or self.model, self.layer, x, classes([CHOSEN[b]]), channels_first)
            return gradcam(found.activations, found.gradients)[0].numpy()

        return raw

    def explain(self, b: int, model: nn.Module | None = None) -> Callable[[Array], Array]:
        return lambda image: finished(self.explain_raw(b, model)(image), self.size[1:])

    def noise(self, deviation: float = 0.01, seed: int = 0) -> Array:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.size, generator=generator, dtype=torch.float64)
        return (drawn * deviation).numpy()

    def nearby(self, samples: int = 10, radius: float = 0.02, seed: int = 0) -> Iterator[Array]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(samples):
            drawn = torch.rand(self.size, generator=generator, dtype=torch.float64)
            yield ((2 * drawn - 1) * radius).numpy()

    @functools.cache  # noqa: B019
    def shown(self, b: int, metric: str) -> Tensor:
        """Return the changed images that the network is shown for a metric, controls aside."""
        seen = Seen()
        one = self.images[b : b + 1]
        heatmap = self.explanation.heatmap[b : b + 1]
        limelight.measure(
            Recorder(self.model, seen), one, heatmap, target=CHOSEN[b], metrics=[metric]
        )
        rows = torch.cat(seen.batches)
        return rows[(rows != one).flatten(1).any(1)]

    def holes(self, b: int, metric: str) -> list[Mask]:
        """Return where the changed images are zero, in all channels."""
        return [(row == 0).all(0).numpy() for row in self.shown(b, metric)]

    @functools.cache  # noqa: B019
    def randomised(self, steps: int = 8, seed: int = 0) -> list[nn.Module]:
        """Return the networks of a cascade, each an ordinary one with those weights."""
        found = []
        for _name, _share, shadow in cascade(self.model, ModelInputs.of(self.images), steps, seed):
            with torch.random.fork_rng():
                twin = ready(self.network())
            twin.load_state_dict(shadow.state_dict())
            found.append(twin)
        return found


def finished(raw: Array, size: tuple[int, ...]) -> Array:
    """Return relu, resize, normalise."""
    large = upsampled(torch.tensor(raw).relu(), size).numpy()
    large = large - large.min()
    return cast("Array", large / large.max()) if large.max() > 0 else large


SCENES = {
    "picture": Scene(
        networks.ResidualCNN,
        "block1",
        "classifier.2",
        (3, 12, 16),
        (((1, 2, 7, 8),), ((9, 0, 16, 6), (0, 8, 3, 12)), ((4, 4, 12, 11),)),
        sharp=25,
        seed=27,
    ),
    "signal": Scene(
        networks.Signal,
        "conv",
        "fc",
        (2, 37),
        (((0, 9),), ((20, 37), (2, 4)), ((12, 25),)),
        sharp=25,
        seed=18,
    ),
    "volume": Scene(
        networks.Volume,
        "conv",
        "fc",
        (1, 5, 9, 7),
        (((0, 0, 0, 4, 5, 3),), ((3, 2, 1, 7, 9, 5),), ((0, 6, 3, 2, 9, 5), (4, 0, 0, 7, 4, 2))),
        sharp=25,
        seed=17,
    ),
}

#: What an oracle finds of one image: the metric, or its parts and curves by name.
Found = float | Mapping[str, float | list[float]]
Oracle = Callable[[Scene, int], Found]


def with_curve(found: tuple[float, list[float]]) -> Found:
    return {"value": found[0], "curve": found[1]}


def cascaded(s: Scene, b: int, steps: int = 8, seed: int = 0) -> Found:
    after = [
        (s.explain_raw(b, model)(s.image(b)), s.explain(b, model)(s.image(b)))
        for model in s.randomised(steps, seed)
    ]
    return oracles.randomised(s.raw(b), s.heatmap(b), after)


def boxed(s: Scene, b: int, metric: str, *, scaled: bool = True) -> float:
    holes = s.holes(b, metric)
    return oracles.infidelity(s.score(b), s.image(b), s.phi(b), holes, scaled=scaled)


#: What each metric should find, by how it is called.
ORACLES: dict[str, Oracle] = {
    "deletion": lambda s, b: with_curve(oracles.deletion(s.likely(b), s.image(b), s.heatmap(b))),
    "deletion:steps=7,baseline=0.5": lambda s, b: with_curve(
        oracles.deletion(s.likely(b), s.image(b), s.heatmap(b), 7, 0.5)
    ),
    "deletion:steps=1": lambda s, b: with_curve(
        oracles.deletion(s.likely(b), s.image(b), s.heatmap(b), 1)
    ),
    "insertion": lambda s, b: with_curve(oracles.insertion(s.likely(b), s.image(b), s.heatmap(b))),
    "insertion:steps=13": lambda s, b: with_curve(
        oracles.insertion(s.likely(b), s.image(b), s.heatmap(b), 13)
    ),
    "road": lambda s, b: oracles.road(s.likely(b), s.image(b), s.heatmap(b), s.noise()),
    "road:steps=3,noise=0.2,seed=5": lambda s, b: oracles.road(
        s.likely(b), s.image(b), s.heatmap(b), s.noise(0.2, 5), 3
    ),
    "road:steps=1,noise=0": lambda s, b: oracles.road(
        s.likely(b), s.image(b), s.heatmap(b), s.noise(0.0), 1
    ),
    "average-drop": lambda s, b: oracles.average_drop(s.likely(b), s.image(b), s.heatmap(b)),
    "increase": lambda s, b: oracles.increase(s.likely(b), s.image(b), s.heatmap(b)),
    "average-gain": lambda s, b: oracles.average_gain(s.likely(b), s.image(b), s.heatmap(b)),
    "adcc": lambda s, b: oracles.adcc(s.likely(b), s.image(b), s.heatmap(b), s.explain(b)),
    "infidelity": lambda s, b: boxed(s, b, "infidelity"),
    "infidelity:scaled=false": lambda s, b: boxed(s, b, "infidelity", scaled=False),
    "infidelity:samples=9,patch=0.8,seed=4": lambda s, b: boxed(
        s, b, "infidelity:samples=9,patch=0.8,seed=4"
    ),
    "occlusion-correlation": lambda s, b: oracles.occlusion_correlation(
        s.score(b), s.image(b), s.heatmap(b)
    ),
    "occlusion-correlation:cells=4,baseline=-1": lambda s, b: oracles.occlusion_correlation(
        s.score(b), s.image(b), s.heatmap(b), 4, -1
    ),
    "pointing-game": lambda s, b: oracles.pointing_game(s.heatmap(b), s.mask(b)),
    "pointing-game:tolerance=0": lambda s, b: oracles.pointing_game(s.heatmap(b), s.mask(b), 0),
    "pointing-game:tolerance=2.5": lambda s, b: oracles.pointing_game(s.heatmap(b), s.mask(b), 2.5),
    "energy-pointing": lambda s, b: oracles.energy(s.heatmap(b), s.mask(b)),
    "energy-pointing:most=0.25": lambda s, b: oracles.energy(s.heatmap(b), s.mask(b), 0.25),
    "mass-accuracy": lambda s, b: oracles.energy(s.relevance(b), s.mask(b)),
    "rank-accuracy": lambda s, b: oracles.rank_accuracy(s.heatmap(b), s.mask(b)),
    "localisation-error": lambda s, b: oracles.localisation_error(s.heatmap(b), s.boxes[b]),
    "localisation-error:threshold=0.6,iou=0.2": lambda s, b: oracles.localisation_error(
        s.heatmap(b), s.boxes[b], 0.6, 0.2
    ),
    "max-sensitivity": lambda s, b: oracles.max_sensitivity(
        s.explain_raw(b), s.image(b), s.nearby()
    ),
    "max-sensitivity:samples=3,radius=0.5,seed=2": lambda s, b: oracles.max_sensitivity(
        s.explain_raw(b), s.image(b), s.nearby(3, 0.5, 2)
    ),
    "parameter-randomisation": cascaded,
    "parameter-randomisation:steps=3,seed=7": lambda s, b: cascaded(s, b, 3, 7),
}


@functools.cache
def expected(name: str, metric: str) -> dict[str, Tensor]:
    """Return what an oracle finds of all images of a scene: numbers `[B]`, curves `[B, P]`."""
    scene = SCENES[name]
    found = [ORACLES[metric](scene, b) for b in range(3)]
    each = [one if isinstance(one, Mapping) else {"value": one} for one in found]
    return {
        part: torch.tensor([one[part] for one in each], dtype=torch.float64) for part in each[0]
    }


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


# By hand, on a linear network


class Plain(nn.Module):
    """Scores `w x + b`, and `-w x`."""

    def __init__(self, weight: list[float], bias: float = 0.0) -> None:
        super().__init__()
        self.fc = nn.Linear(len(weight), 2, dtype=torch.float64)
        rows = [weight, [-w for w in weight]]
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(rows, dtype=torch.float64))
            self.fc.bias.copy_(torch.tensor([bias, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(x.flatten(1)))


def first(output: Tensor) -> Tensor:
    return output[:, 0]


def plain(weight: list[float], bias: float = 0.0) -> nn.Module:
    return ready(Plain(weight, bias))


def by_hand(
    model: nn.Module,
    pixels: list[float],
    metric: str,
    heatmap: list[float] | None = None,
    *,
    size: tuple[int, ...] = (2, 2),
    target: Any = first,
    method: str = "input-x-gradient",
) -> dict[str, Tensor]:
    image = torch.tensor(pixels, dtype=torch.float64).reshape(1, 1, *size)
    maps: Any
    if heatmap is None:
        maps = limelight.explain(model, image, target=target, method=method)
    else:
        maps = torch.tensor(heatmap, dtype=torch.float64).reshape(1, *size)
    measured = limelight.measure(model, image, maps, metrics=[metric], target=target)
    (sample,) = measured.samples.values()
    return dict(sample.readings["own"]) | dict(sample.curves["own"])


def value(found: dict[str, Tensor]) -> float:
    return found["value"].item()


def test_deletion_by_hand() -> None:
    found = by_hand(plain([1.0, 1, 1, 1], 0.5), [4, 3, 2, 1], "deletion:steps=4")
    assert found["curve"].tolist() == [10.5, 6.5, 3.5, 1.5, 0.5]
    assert_agrees(value(found), (10.5 / 2 + 6.5 + 3.5 + 1.5 + 0.5 / 2) / 4)


def test_deletion_to_another_baseline_by_hand() -> None:
    found = by_hand(plain([1.0, 1, 1, 1]), [4, 3, 2, 1], "deletion:steps=4,baseline=-1")
    assert found["curve"].tolist() == [10, 5, 1, -2, -4]


def test_more_steps_than_pixels_change_nothing_but_the_curve() -> None:
    few = by_hand(plain([1.0, 2, 0.5, 1]), [4, 3, 2, 1], "deletion:steps=4")
    many = by_hand(plain([1.0, 2, 0.5, 1]), [4, 3, 2, 1], "deletion:steps=400")
    assert_agrees(value(many), value(few))
    assert many["curve"].shape == (401,)


def test_steps_that_do_not_divide_the_pixels_weigh_by_what_they_removed() -> None:
    # 3 steps of 4 pixels: 0, 1, 3, 4 are gone.
    found = by_hand(plain([1.0, 1, 1, 1]), [4, 3, 2, 1], "deletion:steps=3")
    assert found["curve"].tolist() == [10, 6, 1, 0]
    assert_agrees(value(found), 8 / 4 + 3.5 / 2 + 0.5 / 4)


def test_insertion_by_hand() -> None:
    kernel = [math.exp(-(d**2) / 50) for d in range(-5, 6)]
    own = sum(kernel[:6]) / sum(kernel)  # of a pixel in a row of two, beyond the edge again itself
    rows = [[4.0, 3.0], [2.0, 1.0]]
    across = [[own * a + (1 - own) * b, own * b + (1 - own) * a] for a, b in rows]
    soft_pixels = [
        own * across[i][j] + (1 - own) * across[1 - i][j] for i in range(2) for j in range(2)
    ]
    weight, pixels = [1.0, 2, 0.5, 3], [4.0, 3, 2, 1]
    found = by_hand(plain(weight), pixels, "insertion:steps=4", [0.3, 0.4, 0.1, 0.2])
    curve = [sum(w * x for w, x in zip(weight, soft_pixels, strict=True))]
    for pixel in (1, 0, 3, 2):
        curve.append(curve[-1] + weight[pixel] * (pixels[pixel] - soft_pixels[pixel]))
    assert_agrees(found["curve"].tolist(), curve)


def test_a_constant_image_is_its_own_blur() -> None:
    found = by_hand(plain([1.0, 2, 3, 4], 1.0), [0.7] * 4, "insertion")
    assert_agrees(found["curve"].tolist(), [8.0] * 101)
    assert_agrees(value(found), 8.0)


def test_average_drop_increase_and_gain_by_hand() -> None:
    model = plain([0.1] * 4)
    # M is (1, 2/3, 1/3, 0), f falls from 0.8 to 0.4 + 0.2 = 0.6
    pixels, heatmap = [4.0, 3, 0, 1], [3.0, 2, 1, 0]
    assert_agrees(value(by_hand(model, pixels, "average-drop", heatmap)), 0.25)
    assert value(by_hand(model, pixels, "increase", heatmap)) == 0
    assert value(by_hand(model, pixels, "average-gain", heatmap)) == 0
    # f rises from 0.4 to 0.6: a third of what was missing
    pixels = [4.0, 3, 0, -3]
    assert value(by_hand(model, pixels, "average-drop", heatmap)) == 0
    assert value(by_hand(model, pixels, "increase", heatmap)) == 1
    found = value(by_hand(model, pixels, "average-gain", heatmap))
    assert_agrees(found, 1 / 3)


def test_the_ends_of_probability_by_hand() -> None:
    heatmap = [3.0, 2, 1, 0]
    nothing, sure = plain([0.0] * 4), plain([0.0] * 4, 1.0)
    assert value(by_hand(nothing, [1.0] * 4, "average-drop", heatmap)) == 0
    assert value(by_hand(nothing, [1.0] * 4, "average-gain", heatmap)) == 0
    assert value(by_hand(sure, [1.0] * 4, "average-gain", heatmap)) == 0
    # All is lost: 1 - drop is 0, and so is the harmonic mean.
    lost = plain([0.0, 0, 0, 0.5])
    assert value(by_hand(lost, [1.0] * 4, "average-drop", heatmap)) == 1


def test_of_a_class_the_probability_is_read_by_hand() -> None:
    # Logits s and -s: p = 1 / (1 + exp(-2 s)).
    found = by_hand(plain([1.0] * 4), [0.4, 0.3, 0.2, 0.1], "deletion:steps=4", target=0)
    left = [1.0, 0.6, 0.3, 0.1, 0.0]
    assert_agrees(found["curve"].tolist(), [1 / (1 + math.exp(-2 * s)) for s in left])


@pytest.mark.parametrize("target", [first, 0], ids=["callable", "class"])
@pytest.mark.parametrize("scaled", ["true", "false"])
@pytest.mark.parametrize("size", [(4, 6), (24,), (2, 3, 4)], ids=str)
def test_input_times_gradient_says_all_that_boxes_are_worth(
    scaled: str, target: Any, size: tuple[int, ...]
) -> None:
    weight, pixels = torch.randn(24).double(), torch.randn(24).double()
    found = by_hand(
        plain(weight.tolist(), 3.0),
        pixels.tolist(),
        f"infidelity:scaled={scaled}",
        size=size,
        target=target,
    )
    # The mean square of differences that cancel, of sums of up to 24 products.
    assert_agrees(value(found) ** 0.5, 0.0, scale=(weight * pixels).abs().sum() + 3)


def test_infidelity_of_a_map_that_says_nothing_is_the_mean_square_of_what_is_lost() -> None:
    # All boxes are one pixel: each is lost equally often, but for chance.
    model = plain([1.0] * 4)
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1", [0.0] * 4)
    assert_agrees(value(found), 4.0)


def test_infidelity_unscaled_by_hand() -> None:
    model = plain([1.0] * 4)
    # phi says 1 for every pixel, and 2 is lost with each; heatmaps of one's own are the raw map.
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1,scaled=false", [1.0] * 4)
    assert_agrees(value(found), 1.0)
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1,scaled=true", [1.0] * 4)
    assert_agrees(value(found) ** 0.5, 0.0, scale=8.0)


def test_what_each_patch_is_worth_correlates_with_itself() -> None:
    weight = torch.rand(24).tolist()
    found = by_hand(
        plain(weight, 1.0), torch.rand(24).tolist(), "occlusion-correlation", size=(4, 6)
    )
    assert_agrees(value(found), 1.0)
    patchwise = by_hand(
        plain(weight), torch.rand(24).tolist(), "occlusion-correlation:cells=2", size=(4, 6)
    )
    assert_agrees(value(patchwise), 1.0)


def test_the_other_way_round_it_correlates_with_minus_one() -> None:
    found = by_hand(
        plain([1.0] * 4), [1.0, 2, 3, 4], "occlusion-correlation", [4.0, 3, 2, 1], size=(4,)
    )
    assert_agrees(value(found), -1.0)


def test_max_sensitivity_of_a_constant_gradient_is_zero() -> None:
    model = plain([1.0, -2, 3, 4])
    assert value(by_hand(model, [1.0, 2, 3, 4], "max-sensitivity", method="saliency")) == 0


def test_max_sensitivity_of_input_times_gradient_by_hand() -> None:
    weight, pixels = torch.tensor([1.0, -2, 3, 4]).double(), torch.tensor([1.0, 2, 3, 4]).double()
    generator, worst = torch.Generator().manual_seed(3), 0.0
    for _ in range(5):
        step = (torch.rand(1, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1) * 0.1
        worst = max(worst, float((weight * step.flatten()).norm() / (weight * pixels).norm()))
    metric = "max-sensitivity:samples=5,radius=0.1,seed=3"
    found = value(by_hand(plain(weight.tolist()), pixels.tolist(), metric))
    assert_agrees(found, worst)


def test_road_by_hand() -> None:
    # In a row of two a removed pixel becomes the other; noise is none.
    found = by_hand(plain([1.0, 1.0]), [4.0, 1.0], "road:steps=1,noise=0", [1.0, 0.0], size=(2,))
    assert {name: one.flatten().tolist() for name, one in found.items()} == {
        "value": [3.0],
        "morf": [2.0],
        "lerf": [8.0],
        "morf curve": [2.0],
        "lerf curve": [8.0],
    }


# Imputation

SIZES = [
    (2, 2),
    (3, 3),
    (5, 7),
    (8, 8),
    (9, 16),
    (1, 9),
    (9, 1),
    (2, 11),
    (1, 2),
    (7,),
    (2,),
    (33,),
]
SIZES += [(3, 4, 5), (1, 1, 6), (2, 2, 2), (5, 1, 3), (17, 13)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def dense(images: Tensor, removed: Tensor) -> Tensor:
    each = [
        oracles.imputed(image.double().numpy(), gone.numpy())
        for image, gone in zip(images, removed, strict=True)
    ]
    return torch.tensor(np.stack(each))


def allowed(images: Tensor, removed: Tensor) -> dict[str, Any]:
    """How far imputed pixels may be off: the system's condition, and what its solver leaves.

    Errors of the equations, as often up as down, go through the inverse matrix: a pixel is off by
    the length of its row. Conjugate gradients stop at eps^(3/4) of the right side, which is no
    larger than the image.
    """
    image, dtype = np.zeros((1, *removed.shape[1:])), images.dtype
    inverses = [np.linalg.inv(oracles.equations(image, gone.numpy())[0]) for gone in removed]
    condition = max(np.linalg.norm(one, axis=1).max(initial=1) for one in inverses)
    size = max(1.0, float(images.abs().max()))
    left = torch.finfo(dtype).eps ** 0.75 * condition * size
    return {"dtype": dtype, "scale": size, "condition": condition, "truncation": left}


def holes(size: tuple[int, ...], shares: list[float], seed: int = 0) -> Tensor:
    """Return masks with a share of the pixels removed, one pixel left at least."""
    generator, count = torch.Generator().manual_seed(seed), math.prod(size)
    found = []
    for share in shares:
        order = torch.rand(count, generator=generator).argsort().argsort()
        found.append(order < min(count - 1, round(share * count)))
    return torch.stack(found).reshape(-1, *size)


@every_size
def test_imputation_solves_the_system_that_a_dense_solver_solves(size: tuple[int, ...]) -> None:
    removed = holes(size, [0.1, 0.5, 0.9, 0.99, 1.0])
    images = torch.randn(5, 3, *size, dtype=torch.float64)
    found = impute(images, removed)
    assert found.dtype == torch.float64
    assert_agrees(found, dense(images, removed), **allowed(images, removed))
    kept = (~removed)[:, None].expand_as(images)
    assert torch.equal(found[kept], images[kept])


@every_size
def test_with_one_known_pixel_all_become_it(size: tuple[int, ...]) -> None:
    for place in range(min(4, math.prod(size))):
        removed = torch.ones(1, *size, dtype=torch.bool)
        removed.view(-1)[place] = False
        images = torch.randn(1, 2, *size, dtype=torch.float64)
        found = impute(images, removed).flatten(2)
        assert_agrees(found, images.flatten(2)[:, :, place, None].expand_as(found))


@pytest.mark.parametrize("size", [(12, 16), (37,), (5, 9, 7)], ids=str)
def test_each_image_of_a_batch_is_imputed_as_it_is_alone(size: tuple[int, ...]) -> None:
    removed = holes(size, [0.0, 0.2, 0.6, 0.97])
    images = torch.randn(4, 2, *size, dtype=torch.float64)
    together = impute(images, removed)
    for b in range(4):
        alone = impute(images[b : b + 1], removed[b : b + 1])
        assert_agrees(together[b : b + 1], alone, **allowed(images, removed))
    assert torch.equal(together[0], images[0])


def test_one_image_serves_many_masks() -> None:
    removed = holes((7, 9), [0.2, 0.6, 0.97])
    image = torch.randn(2, 7, 9, dtype=torch.float64)
    assert torch.equal(impute(image, removed), impute(image.expand(3, -1, -1, -1), removed))


@pytest.mark.parametrize("shape", ["block", "frame", "halves"])
def test_large_holes_are_imputed_as_well_as_small_ones(shape: str) -> None:
    removed = torch.zeros(1, 28, 33, dtype=torch.bool)
    if shape == "block":
        removed[:, 2:26, 3:30] = True
    elif shape == "frame":
        removed[:] = True
        removed[:, 13:15, 16:18] = False
    else:
        removed[:, :, 5:] = True
    images = torch.randn(1, 1, 28, 33, dtype=torch.float64)
    assert_agrees(impute(images, removed), dense(images, removed), **allowed(images, removed))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_imputation_in_float32_comes_near_float64(share: float) -> None:
    removed = holes((24, 31), [share] * 2)
    images = torch.randn(2, 3, 24, 31)
    found = impute(images, removed)
    assert found.dtype == torch.float32
    assert_agrees(found, dense(images, removed), **allowed(images, removed))


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_imputation_does_not_depend_on_the_scale(scale: float) -> None:
    removed, images = holes((9, 10), [0.5]), torch.randn(1, 2, 9, 10, dtype=torch.float64)
    found = impute(images * scale, removed) / scale
    assert_agrees(found, impute(images, removed), **allowed(images, removed))


def test_a_constant_image_stays_constant() -> None:
    removed = holes((9, 10), [0.2, 0.9])
    for level in (0.0, 1.0, -3.5):
        images = torch.full((2, 3, 9, 10), level, dtype=torch.float64)
        found = impute(images, removed)
        assert_agrees(found, images, **allowed(images, removed))


def test_what_is_imputed_lies_between_what_is_known() -> None:
    images = torch.randn(3, 1, 15, 11, dtype=torch.float64)
    removed = holes((15, 11), [0.3, 0.8, 0.95])
    for image, gone, found in zip(images, removed, impute(images, removed), strict=True):
        known = image[:, ~gone]
        left = allowed(image[None], gone[None])
        off = left["truncation"] + rounding(condition=left["condition"]) * left["scale"]
        assert known.min() - off <= found.min() <= found.max() <= known.max() + off


def test_a_mirror_image_is_imputed_as_the_mirror_image() -> None:
    images, removed = torch.randn(1, 1, 9, 14, dtype=torch.float64), holes((9, 14), [0.7])
    mirrored = impute(images.flip(3), removed.flip(2)).flip(3)
    assert_agrees(mirrored, impute(images, removed), **allowed(images, removed))


def test_road_removes_the_number_of_pixels_it_is_asked_to() -> None:
    scene = SCENES["picture"]
    image = scene.images[:1]
    heatmap = torch.zeros(1, 12, 16, dtype=torch.float64)
    heatmap[0, 3, 4] = 1  # mostly zero
    seen = Seen()
    model = Recorder(scene.model, seen)
    limelight.measure(model, image, heatmap, target=1, metrics=["road:steps=7"])
    changed = (torch.cat(seen.batches) != image).any(1).flatten(1).sum(1).tolist()
    wanted = [round(192 * i / 8) for i in range(1, 8)]
    assert [n for n in changed if n][: 2 * 7] == wanted * 2


def test_road_s_noise_is_seeded_and_its_own() -> None:
    scene = SCENES["picture"]

    def curve(options: str) -> Tensor:
        return limelight.measure(
            scene.model, scene.images, scene.explanation, metrics=[f"road:steps=2{options}"]
        ).curves("road")["morf curve"]["gradcam"]

    before = torch.get_rng_state()
    assert torch.equal(curve(""), curve(",seed=0"))
    assert not torch.equal(curve(""), curve(",seed=1"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert torch.equal(curve(""), curve(",seed=0"))


# Parts


@pytest.mark.parametrize("size", [(1, 7), (3, 4), (12, 16), (30,), (4, 5, 6), (1, 1)], ids=str)
def test_the_blur_equals_the_oracle(size: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    wanted = np.stack([oracles.blurred(image.numpy()) for image in images])
    assert_agrees(blur(images), torch.tensor(wanted))


def test_the_rank_of_pixels_is_stable() -> None:
    maps = torch.tensor([[[0.2, 0.9, 0.2], [0.9, 0.0, 0.2]], [[0.0, -0.0, 0.0], [0.0, -0.0, 0.0]]])
    assert ranked(maps).tolist() == [[2, 0, 3, 1, 5, 4], [0, 1, 2, 3, 4, 5]]
    many = torch.randint(0, 3, (4, 5000)).float()
    for row, found in zip(many, ranked(many), strict=True):
        assert found.tolist() == np.argsort(np.argsort(-row.numpy(), kind="stable")).tolist()


def test_correlations_equal_the_oracle_with_ties_and_constant_rows() -> None:
    a = torch.randint(0, 4, (6, 30)).double()
    b = torch.randint(0, 3, (6, 30)).double() + a / 2
    a[1], b[2], a[3], b[3] = 2, 0.1, 0, 0
    pairs = list(zip(a.numpy(), b.numpy(), strict=True))
    wanted = torch.tensor([oracles.rank_correlation(*pair) for pair in pairs], dtype=torch.float64)
    assert_agrees(spearman(a, b), wanted)
    wanted = torch.tensor([oracles.correlation(*pair) for pair in pairs], dtype=torch.float64)
    assert_agrees(pearson(a, b), wanted)
    assert_agrees(pearson(a * 1e-150, b * 1e100 + 1e90), wanted)


def test_rank_correlation_does_not_change_with_what_keeps_the_order() -> None:
    a, b = torch.randn(3, 40).double(), torch.randn(3, 40).double()
    assert torch.equal(spearman(a.exp(), b), spearman(a, b))
    assert_agrees(spearman(-a, b), -spearman(a, b))


@pytest.mark.parametrize("size", [(9, 11), (7, 7), (6, 8), (3, 9), (20,), (7, 8, 9)], ids=str)
def test_structural_similarity_equals_the_oracle(size: tuple[int, ...]) -> None:
    a, b = torch.rand(2, *size, dtype=torch.float64), torch.rand(2, *size, dtype=torch.float64)
    each = [
        oracles.structural_similarity(one.numpy(), other.numpy())
        for one, other in zip(a, b, strict=True)
    ]
    limit = "variances of a window, each a difference of squares, in a quotient"
    assert_agrees(structural_similarity(a, b), torch.tensor(each, dtype=torch.float64), limit=limit)
    assert_agrees(structural_similarity(a, a), torch.ones(2, dtype=torch.float64))


def test_structural_similarity_of_what_has_no_window_is_not_defined() -> None:
    assert structural_similarity(torch.rand(2, 2, 9), torch.rand(2, 2, 9)).isnan().all()


@pytest.mark.parametrize(("patch", "most"), [("0.3", (4, 5)), ("1", (12, 16)), ("0.01", (1, 1))])
def test_boxes_have_sides_up_to_the_patch_and_reach_every_edge(
    patch: str, most: tuple[int, int]
) -> None:
    boxes = SCENES["picture"].holes(0, f"infidelity:samples=1500,patch={patch},seed=1")
    assert len(boxes) == 1500
    sides, reached = set(), np.zeros((12, 16), dtype=bool)
    for box in boxes:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns), "not a box"
        assert len(rows) == rows[-1] - rows[0] + 1
        assert len(columns) == columns[-1] - columns[0] + 1
        sides.add((len(rows), len(columns)))
        reached |= box
    assert {one for one, _ in sides} == set(range(1, most[0] + 1))
    assert {other for _, other in sides} == set(range(1, most[1] + 1))
    if patch != "0.01":
        assert reached.all()


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
        own = whole.figure(control, metric)
        other = whole.figure("gradcam", metric)
        assert own.own == getattr(other, control)
        assert other.own != other.random
        assert other.random != other.centre
