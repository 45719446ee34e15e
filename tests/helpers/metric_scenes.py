"""Scenes in which metrics are tried, and what their oracles find there."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import CHOSEN, ready
from limelight.inputs import ModelInputs
from limelight.metrics.measurement import Measurement
from limelight.runtime.randomise import cascade
from oracles import complexity, faithfulness, localisation, robustness
from oracles.evidence import channels_first, classes, probe, upsampled
from oracles.metrics import Array, Mask, Value
from oracles.weighted import gradcam


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
        (maps,) = self.measured(metric).readings.values()
        return dict(maps.values["own"])

    def curves(self, metric: str) -> dict[str, Tensor]:
        (maps,) = self.measured(metric).readings.values()
        return dict(maps.curve_sums["own"])

    @property
    def largest_score(self) -> float:
        return float(self.model(self.images).detach().abs().max())

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

    @property
    def classes(self) -> int:
        return int(self.model(self.images).shape[1])

    def chosen(self, b: int) -> int:
        return CHOSEN[b]

    def other_class(self, b: int, seed: int = 0) -> int:
        """Return the class that is drawn by the seed and by what the image holds."""
        held = self.images[b].float().numpy().tobytes()
        digest = int(hashlib.blake2b(held, digest_size=8).hexdigest(), 16)
        others = [label for label in range(self.classes) if label != CHOSEN[b]]
        return others[int(np.random.default_rng([seed, digest]).integers(len(others)))]

    def explain_raw(
        self, b: int, model: nn.Module | None = None, label: int | None = None
    ) -> Callable[[Array], Array]:
        label = CHOSEN[b] if label is None else label

        def raw(image: Array) -> Array:
            x = torch.tensor(image)[None]
            found = probe(model or self.model, self.layer, x, classes([label]), channels_first)
            return gradcam(found.activations, found.gradients)[0].numpy()

        return raw

    def explain(
        self, b: int, model: nn.Module | None = None, label: int | None = None
    ) -> Callable[[Array], Array]:
        return lambda image: finished(self.explain_raw(b, model, label)(image), self.size[1:])

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
        seed=2,
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


FAMILIES = (
    faithfulness.METRICS,
    localisation.METRICS,
    complexity.METRICS,
    robustness.METRICS,
)
#: What each metric should find, by how it is called.
ORACLES = {how: oracle for family in FAMILIES for how, oracle in family.oracles.items()}
#: What passes for each metric at first sight, and is not it.
DOCTORED = {how: mistakes for family in FAMILIES for how, mistakes in family.doctored.items()}
#: What the doctored ones are made of, put together as it should be.
UNDOCTORED = {how: right for family in FAMILIES for how, right in family.undoctored.items()}
ALLOWED = {name: allowed for family in FAMILIES for name, allowed in family.allowed.items()}


def allowed(scene: Scene, metric: str) -> dict[str, Any]:
    """Return what a comparison of a metric's readings has to know of them."""
    found = ALLOWED.get(metric.partition(":")[0])
    return {} if found is None else found(scene)


@functools.cache
def expected(name: str, metric: str) -> dict[str, Tensor]:
    """Return what an oracle finds of all images of a scene: numbers `[B]`, curves `[B, P]`."""
    scene = SCENES[name]
    found = [ORACLES[metric](scene, b) for b in range(3)]
    each = [one if isinstance(one, Mapping) else {"value": one} for one in found]
    return {
        part: torch.tensor([one[part] for one in each], dtype=torch.float64) for part in each[0]
    }


def first(output: Tensor) -> Tensor:
    return output[:, 0]
