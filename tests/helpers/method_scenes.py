"""Scenes in which methods of a layer are tried, and what their oracles find there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.cut_cases import VIT
from helpers.networks import CHOSEN, PICTURE, ready
from limelight.explanation import Explanation
from limelight.methods import METHODS
from oracles import perturbed, pointwise, spectral, weighted
from oracles.evidence import (
    Grid,
    Probe,
    channels_first,
    channels_last,
    classes,
    probe,
    substituted,
)


class PooledTokens(networks.TinyViT):
    """A transformer where CAM exists: the patch tokens are averaged, and one layer is linear."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.head(self.norm(x)[:, self.prefix :].mean(1)))


@dataclass(frozen=True, eq=False)
class Scene:
    """A network and images, and what a full forward and backward find at a layer."""

    network: Callable[[], nn.Module]
    layer: str
    last: str  # the linear layer that makes the scores
    size: tuple[int, ...] = PICTURE
    grid: Grid = channels_first
    prefix: int = 0

    @cached_property
    def model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = ready(self.network())
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):  # as trained; else the channels' mean is zero
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, 0, 0.5)
            return model

    @cached_property
    def images(self) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(3, *self.size, generator=generator, dtype=torch.float64)

    @cached_property
    def probe(self) -> Probe:
        return probe(self.model, self.layer, self.images, classes(CHOSEN), self.grid)

    @property
    def a(self) -> Tensor:
        return self.probe.activations

    @property
    def g(self) -> Tensor:
        return self.probe.gradients

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(2, self.a.ndim))

    @property
    def linear(self) -> nn.Linear:
        return cast("nn.Linear", self.model.get_submodule(self.last))

    def score(self, images: Tensor) -> Tensor:
        """Return the scores, `[B]`, of other images."""
        with torch.no_grad():
            return classes(CHOSEN)(self.model(images))

    def head(self, activations: Tensor) -> Tensor:
        """Return the scores, `[B]`, with other activations `[B, K, *grid]`."""
        return classes(CHOSEN)(self.output(activations))

    def output(self, activations: Tensor, keep: float = 1.0) -> Tensor:
        """Return the output with other activations, and prefix tokens times a factor."""
        raw = activations
        if self.grid is channels_last:
            raw = activations.movedim(1, -1)
        elif self.prefix:
            prefix = self.probe.raw[:, : self.prefix] * keep
            raw = torch.cat([prefix, activations.flatten(2).transpose(1, 2)], dim=1)
        return cast("Tensor", substituted(self.model, self.layer, self.images, raw))

    @cached_property
    def hessians(self) -> list[Tensor]:
        return weighted.hessians(self.head, self.a)

    @cached_property
    def curvature(self) -> Tensor:
        pairs = zip(self.hessians, self.a, strict=True)
        return torch.stack([(h @ a.flatten()).reshape(a.shape) for h, a in pairs])

    def what_cancels(self, method: str) -> float | None:
        """The size of what is added in a raw map: products, or scores, of the weights' differences.

        Otherwise nothing cancels to speak of.
        """
        name = method.partition(":")[0]
        if name == "hirescam":
            return float((self.a * self.g).abs().sum(1).max())
        if name not in ("ablationcam", "scorecam", "sscam", "iscam", "reciprocam"):
            return None
        scores = float(self.probe.output.detach().abs().max())
        return scores if name == "reciprocam" else scores * float(self.a.abs().sum(1).max())

    @functools.cache  # noqa: B019 (scenes live as long as the tests)
    def expected(self, method: str) -> Tensor:
        return ORACLES[method](self)

    def explained(self, method: str) -> Explanation:
        return explained(self, self.model, self.images, method)


def explained(
    scene: Scene, model: nn.Module, images: Tensor, method: str, target: Sequence[int] = CHOSEN
) -> Explanation:
    return limelight.explain(model, images, target=list(target), method=method, layer=scene.layer)


SCENES = {
    "cnn": Scene(networks.ResidualCNN, "block1", "classifier.2"),
    "transformer": Scene(
        networks.TinyViT, "blocks.1.norm1", "head", grid=VIT, prefix=networks.TinyViT.prefix
    ),
    "block of a transformer": Scene(
        networks.TinyViT, "blocks.0", "head", grid=VIT, prefix=networks.TinyViT.prefix
    ),
    "channels last": Scene(networks.ChannelsLast, "mix", "head", grid=channels_last),
    "signal": Scene(networks.Signal, "conv", "fc", (2, 23)),
    "volume": Scene(networks.Volume, "conv", "fc", (1, 9, 10, 11)),
    "pool": Scene(networks.PoolLinear, "features", "fc"),
    "pooled tokens": Scene(PooledTokens, "norm", "head", grid=VIT, prefix=networks.TinyViT.prefix),
}
#: CAM exists where a pool and a linear layer follow.
SCENES_OF_CAM = ["pool", "pooled tokens"]


def noise(scene: Scene, samples: int = 10, deviation: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, 1, *scene.size[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64) * deviation


def seen_through(
    scene: Scene,
    masks: Callable[[Tensor], list[Tensor]] = perturbed.unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    return perturbed.scorecam(scene.score, scene.images, scene.a, masks, softmax=softmax)


#: What each method should find, by how it is called.
ORACLES: dict[str, Callable[[Scene], Tensor]] = {
    "cam": lambda s: weighted.cam(s.a, s.linear.weight, CHOSEN),
    "gradcam": lambda s: weighted.gradcam(s.a, s.g),
    "gradcam++": lambda s: weighted.gradcam_plus_plus(s.a, s.g),
    "xgradcam": lambda s: weighted.xgradcam(s.a, s.g),
    "shapleycam": lambda s: weighted.shapleycam(s.a, s.g, s.hessians),
    "ablationcam": lambda s: perturbed.ablationcam(s.head, s.a),
    "scorecam": seen_through,
    "scorecam:softmax=true": lambda s: seen_through(s, softmax=True),
    "sscam": lambda s: seen_through(s, perturbed.with_noise(noise(s))),
    "sscam:samples=3,deviation=0.5,seed=7,softmax=true": lambda s: seen_through(
        s, perturbed.with_noise(noise(s, 3, 0.5, 7)), softmax=True
    ),
    "iscam": lambda s: seen_through(s, perturbed.faded_in(10)),
    "iscam:samples=3,softmax=true": lambda s: seen_through(s, perturbed.faded_in(3), softmax=True),
    "reciprocam": lambda s: perturbed.reciprocam(s.head, s.a),
    "reciprocam:gaussian=true": lambda s: perturbed.reciprocam(s.head, s.a, gaussian=True),
    "fem": lambda s: weighted.fem(s.a),
    "fem:deviations=1": lambda s: weighted.fem(s.a, deviations=1),
    "hirescam": lambda s: pointwise.hirescam(s.a, s.g),
    "layercam": lambda s: pointwise.layercam(s.a, s.g),
    "gradcam-elementwise": lambda s: pointwise.gradcam_elementwise(s.a, s.g),
    "eigencam": lambda s: spectral.eigencam(s.a),
    "eigencam:centred=true": lambda s: spectral.eigencam(s.a, centred=True),
    "eigengradcam": lambda s: spectral.eigengradcam(s.a, s.g),
    "eigengradcam:centred=true": lambda s: spectral.eigengradcam(s.a, s.g, centred=True),
    "segeigencam": lambda s: spectral.segeigencam(s.a, s.g),
    "kpcacam": lambda s: spectral.kpcacam(s.a),
    "kpcacam:gamma=0.3,offset=0.5": lambda s: spectral.kpcacam(s.a, gamma=0.3, offset=0.5),
}


#: What limits methods of components.
SPECTRAL = "an eigenvector: what it errs grows by the spectrum over the gap to the next value"

#: The methods whose map does not depend on what is explained.
OF_NO_CLASS = ("fem", "eigencam", "kpcacam")
#: The methods whose map changes shape with the scale of the scores.
SHAPED_BY_SCALE = (
    "gradcam++",  # the paper takes the score to be exp(S)
    "scorecam:softmax=true",
    "sscam:samples=3,deviation=0.5,seed=7,softmax=true",
    "iscam:samples=3,softmax=true",
)
#: The methods whose map of a difference of scores is the difference of the maps.
LINEAR = (
    "cam", "gradcam", "xgradcam", "shapleycam", "ablationcam", "scorecam", "sscam", "iscam",
    "reciprocam", "reciprocam:gaussian=true", "hirescam",
)  # fmt: skip


def over(
    methods: Iterable[str], scenes: Sequence[str] = ("cnn", "transformer")
) -> pytest.MarkDecorator:
    """Parametrise a test over methods and scenes; over those of CAM where it is CAM."""
    pairs = [
        (method, scene)
        for method in methods
        for scene in (SCENES_OF_CAM if method == "cam" else scenes)
    ]
    return pytest.mark.parametrize(
        ("method", "scene"),
        [pytest.param(method, SCENES[scene], id=f"{method}-{scene}") for method, scene in pairs],
    )


every_method = pytest.mark.parametrize("name", list(METHODS))
every_oracle = over(ORACLES)


def weighed(s: Scene, alpha: Tensor) -> Tensor:
    """Return `sum_k alpha_k A_k` from weights `[B, K]`."""
    return (alpha.reshape(*alpha.shape, *[1] * len(s.axes)) * s.a).sum(1)


ONE_RUN = [
    how
    for how in ORACLES.keys() - {"cam"}
    if not METHODS[how.partition(":")[0]].needs & {"head", "network"}
]
