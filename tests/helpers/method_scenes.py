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
    def chosen(self) -> list[int]:
        return CHOSEN

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
        """The second derivatives of each score by all that the layer puts out, `[n, n]`."""

        def score(raw: Tensor) -> Tensor:
            return classes(CHOSEN)(substituted(self.model, self.layer, self.images, raw))

        return weighted.hessians(score, self.probe.raw)

    @cached_property
    def curvature(self) -> Tensor:
        return self.curvature_along(self.probe.raw)

    def curvature_along(self, direction: Tensor) -> Tensor:
        """Return the Hessians times a direction, in the form of the layer's output, on the grid."""
        pairs = zip(self.hessians, direction, strict=True)
        return self.grid(torch.stack([(h @ d.flatten()).reshape(d.shape) for h, d in pairs]))

    @property
    def cells_alone(self) -> Tensor:
        """What the layer puts out, without what lies on no cell of the grid."""
        kept = self.probe.raw.clone()
        if self.prefix:
            kept[:, : self.prefix] = 0
        return kept

    def what_cancels(self, method: str) -> float | None:
        """The size of what is added in a raw map: products, or scores, of the weights' differences.

        Otherwise nothing cancels to speak of.
        """
        cancels = CANCELS.get(method.partition(":")[0])
        return None if cancels is None else cancels(self)

    def expected(self, method: str) -> Tensor:
        return expected(self, method)

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


FAMILIES = (weighted.AT_A_LAYER, perturbed.AT_A_LAYER, pointwise.AT_A_LAYER, spectral.AT_A_LAYER)
#: What each method should find, by how it is called.
ORACLES = {how: oracle for family in FAMILIES for how, oracle in family.oracles.items()}
#: What passes for each method at first sight, and is not it.
DOCTORED = {how: mistakes for family in FAMILIES for how, mistakes in family.doctored.items()}
#: What the doctored ones are made of, put together as it should be.
UNDOCTORED = {how: right for family in FAMILIES for how, right in family.undoctored.items()}
CANCELS = {name: size for family in FAMILIES for name, size in family.cancels.items()}
#: The methods whose map does not depend on what is explained.
OF_NO_CLASS = [name for family in FAMILIES for name in family.of_no_class]
#: The methods whose map changes shape with the scale of the scores.
SHAPED_BY_SCALE = [how for family in FAMILIES for how in family.shaped_by_scale]
#: The methods whose raw map stays the same when the scores are scaled.
OF_ANY_SCALE = {how for family in FAMILIES for how in family.of_any_scale}
#: The methods whose map of a difference of scores is the difference of the maps.
LINEAR = [how for family in FAMILIES for how in family.linear]


@functools.cache
def expected(scene: Scene, method: str) -> Tensor:
    return ORACLES[method](scene)


#: What limits methods of components.
SPECTRAL = "an eigenvector: what it errs grows by the spectrum over the gap to the next value"


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


ONE_RUN = [
    how
    for how in ORACLES.keys() - {"cam"}
    if not METHODS[how.partition(":")[0]].needs & {"head", "network"}
]
