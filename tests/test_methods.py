from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.nn.functional import interpolate

import limelight
import networks
from limelight.errors import MethodError, UnknownNameError
from limelight.evidence import Evidence
from limelight.explanation import Explanation
from limelight.methods import METHODS, find_method
from limelight.methods.spectral import factorize
from networks import ready
from oracles import methods as oracles
from oracles.methods import (
    Grid,
    Probe,
    channels_first,
    channels_last,
    classes,
    probe,
    substituted,
    tokens,
)
from test_cut import untouched
from tolerances import assert_agrees, of_heatmaps

CHOSEN = [1, 0, 2]  # one class per image
PICTURE = (3, 12, 16)


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
        return oracles.hessians(self.head, self.a)

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


VIT = tokens(networks.TinyViT.prefix, (3, 4))
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
    masks: Callable[[Tensor], list[Tensor]] = oracles.unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    return oracles.scorecam(scene.score, scene.images, scene.a, masks, softmax=softmax)


#: What each method should find, by how it is called.
ORACLES: dict[str, Callable[[Scene], Tensor]] = {
    "cam": lambda s: oracles.cam(s.a, s.linear.weight, CHOSEN),
    "gradcam": lambda s: oracles.gradcam(s.a, s.g),
    "gradcam++": lambda s: oracles.gradcam_plus_plus(s.a, s.g),
    "xgradcam": lambda s: oracles.xgradcam(s.a, s.g),
    "shapleycam": lambda s: oracles.shapleycam(s.a, s.g, s.hessians),
    "ablationcam": lambda s: oracles.ablationcam(s.head, s.a),
    "scorecam": seen_through,
    "scorecam:softmax=true": lambda s: seen_through(s, softmax=True),
    "sscam": lambda s: seen_through(s, oracles.with_noise(noise(s))),
    "sscam:samples=3,deviation=0.5,seed=7,softmax=true": lambda s: seen_through(
        s, oracles.with_noise(noise(s, 3, 0.5, 7)), softmax=True
    ),
    "iscam": lambda s: seen_through(s, oracles.faded_in(10)),
    "iscam:samples=3,softmax=true": lambda s: seen_through(s, oracles.faded_in(3), softmax=True),
    "reciprocam": lambda s: oracles.reciprocam(s.head, s.a),
    "reciprocam:gaussian=true": lambda s: oracles.reciprocam(s.head, s.a, gaussian=True),
    "fem": lambda s: oracles.fem(s.a),
    "fem:deviations=1": lambda s: oracles.fem(s.a, deviations=1),
    "hirescam": lambda s: oracles.hirescam(s.a, s.g),
    "layercam": lambda s: oracles.layercam(s.a, s.g),
    "gradcam-elementwise": lambda s: oracles.gradcam_elementwise(s.a, s.g),
    "eigencam": lambda s: oracles.eigencam(s.a),
    "eigencam:centred=true": lambda s: oracles.eigencam(s.a, centred=True),
    "eigengradcam": lambda s: oracles.eigengradcam(s.a, s.g),
    "eigengradcam:centred=true": lambda s: oracles.eigengradcam(s.a, s.g, centred=True),
    "segeigencam": lambda s: oracles.segeigencam(s.a, s.g),
    "kpcacam": lambda s: oracles.kpcacam(s.a),
    "kpcacam:gamma=0.3,offset=0.5": lambda s: oracles.kpcacam(s.a, gamma=0.3, offset=0.5),
}


# Mistakes that the oracles have to see


def weighed(s: Scene, alpha: Tensor) -> Tensor:
    """Return `sum_k alpha_k A_k` from weights `[B, K]`."""
    return (alpha.reshape(*alpha.shape, *[1] * len(s.axes)) * s.a).sum(1)


def total(s: Scene, tensor: Tensor) -> Tensor:
    return tensor.sum(s.axes, keepdim=True)


def of_channels(s: Scene, score: Callable[[int], Tensor]) -> Tensor:
    """Return weights `[B, K]` from those of each channel, `[B]`."""
    return torch.stack([score(k) for k in range(s.a.shape[1])], dim=1)


def without(s: Scene, k: int, instead: Tensor | float = 0.0) -> Tensor:
    activations = s.a.clone()
    activations[:, k] = instead
    return s.head(activations)


def resized(s: Scene, channels: Tensor, mode: str = "bilinear", corners: bool = False) -> Tensor:
    aligned = corners if mode == "bilinear" else None
    return interpolate(channels, s.size[1:], mode=mode, align_corners=aligned)


def scaled(channels: Tensor) -> Tensor:
    low, high = channels.amin((2, 3), keepdim=True), channels.amax((2, 3), keepdim=True)
    return (channels - low) / (high - low)


def masks_of(s: Scene) -> Tensor:
    return scaled(resized(s, s.a))


def gains(s: Scene, masks: Tensor, baseline: Tensor | float | None = None) -> Tensor:
    """Return the gains `[B, K]` through masks `[B, K, *image]`."""
    below = s.score(0 * s.images) if baseline is None else torch.as_tensor(baseline)
    return of_channels(s, lambda k: s.score(s.images * masks[:, k : k + 1]) - below)


def mean_gains(s: Scene, variations: Sequence[Tensor]) -> Tensor:
    return torch.stack([gains(s, masks) for masks in variations]).mean(0)


def only_cells(s: Scene, gaussian: bool = False) -> Tensor:
    """Return a mask for each cell, `[cells, *grid]`."""
    cells = torch.eye(s.a[0, 0].numel(), dtype=s.a.dtype).reshape(-1, 1, *s.a.shape[2:])
    kernel = torch.tensor([1.0, 2, 1], dtype=s.a.dtype) / 4
    outer = kernel[:, None] * kernel
    return (nn.functional.conv2d(cells, outer[None, None], padding=1) if gaussian else cells)[:, 0]


def of_cells(s: Scene, score: Callable[[Tensor], Tensor], *, gaussian: bool = False) -> Tensor:
    found = torch.stack([score(mask) for mask in only_cells(s, gaussian)], dim=1)
    return found.reshape(-1, *s.a.shape[2:])


def spread(s: Scene, mask: Tensor) -> Tensor:
    """Return the activations of a mask's heaviest cell, all over the mask."""
    i, j = divmod(int(mask.argmax()), mask.shape[1])
    return s.a[:, :, i : i + 1, j : j + 1] * mask


def directions(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S and V^T of contributions `[B, K, *grid]`, the cells being samples."""
    found = torch.linalg.svd(samples.flatten(2).transpose(1, 2), full_matrices=False)
    return cast("tuple[Tensor, Tensor, Tensor]", tuple(found))


def along(s: Scene, vector: Tensor) -> Tensor:
    """Return projections `[B, cells]` as maps with the sign that Eigen-CAM gives them."""
    channels = s.a.mean(1).flatten(1)
    pairs = zip(vector, channels, strict=True)
    signs = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1].sign() for pair in pairs])
    return (signs[:, None] * vector).reshape(-1, *s.a.shape[2:])


def kernel_component(
    s: Scene,
    kernel: Callable[[Tensor], Tensor] = lambda x: (x @ x.mT / x.shape[2] + 1).tanh(),
    *,
    channels_centred: bool = True,
    kernel_centred: bool = True,
    scale: bool = True,
    which: int = -1,
) -> Tensor:
    cells = s.a.flatten(2).mT
    k = kernel(cells - cells.mean(1, keepdim=True) if channels_centred else cells)
    if kernel_centred:
        k = k - k.mean(1, keepdim=True) - k.mean(2, keepdim=True) + k.mean((1, 2), keepdim=True)
    values, vectors = torch.linalg.eigh(k)
    length = values[:, which, None].abs().sqrt() if scale else 1
    return along(s, vectors[:, :, which] * length)


#: What passes for each method at first sight, and is not it.
DOCTORED: dict[str, dict[str, Callable[[Scene], Tensor]]] = {
    "cam": {
        "another class": lambda s: oracles.cam(s.a, s.linear.weight, [2, 1, 0]),
        "the bias too": lambda s: s.expected("cam") + s.linear.bias[0].detach(),
        "the mean over channels": lambda s: s.expected("cam") / s.a.shape[1],
        "a relu": lambda s: s.expected("cam").relu(),
    },
    "gradcam": {
        "the gradient's sum": lambda s: weighed(s, s.g.sum(s.axes)),
        "the gradient's size": lambda s: weighed(s, s.g.abs().mean(s.axes)),
        "positive gradients only": lambda s: weighed(s, s.g.relu().mean(s.axes)),
        "positive weights only": lambda s: weighed(s, s.g.mean(s.axes).relu()),
        "the mean over channels": lambda s: weighed(s, s.g.mean(s.axes)) / s.a.shape[1],
        "no weights": lambda s: s.a.sum(1),
        "no activations": lambda s: s.g.sum(1),
        "a relu": lambda s: s.expected("gradcam").relu(),
        "the other sign": lambda s: -s.expected("gradcam"),
        "the weights of another image": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 0)),
        "the weights of the next channel": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 1)),
        "the mean over the batch": lambda s: weighed(s, s.g.mean((0, *s.axes)).expand(3, -1)),
        "each cell by itself": lambda s: (s.g * s.a).sum(1),
        "upside down": lambda s: s.expected("gradcam").flip(1),
        "one part in a million": lambda s: s.expected("gradcam") * (1 + 1e-6),
    },
    "gradcam++": {
        "the cube inside the sum": lambda s: weighed(
            s, (s.g**2 / (2 * s.g**2 + total(s, s.a * s.g**3)) * s.g.relu()).sum(s.axes)
        ),
        "the denominator lost": lambda s: weighed(s, (s.g**2 * s.g.relu()).sum(s.axes)),
        "an absolute epsilon": lambda s: weighed(
            s, (s.g**2 / (2 * s.g**2 + total(s, s.a) * s.g**3 + 1e-8) * s.g.relu()).sum(s.axes)
        ),
        "the mass of positive activations": lambda s: weighed(
            s, (s.g.relu() / (2 + total(s, s.a.relu()) * s.g)).sum(s.axes)
        ),
        "the mean activation": lambda s: weighed(
            s, (s.g.relu() / (2 + s.a.mean(s.axes, keepdim=True) * s.g)).sum(s.axes)
        ),
        "all gradients": lambda s: weighed(s, (s.g / (2 + total(s, s.a) * s.g)).sum(s.axes)),
        "the mean over cells": lambda s: s.expected("gradcam++") / s.a[0, 0].numel(),
        "the factor exp(S)": lambda s: (
            s.expected("gradcam++") * s.score(s.images).exp()[:, None, None]
        ),
    },
    "xgradcam": {
        "an absolute epsilon": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / (s.a.sum(s.axes) + 1e-7)
        ),
        "the mass in absolute value": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / s.a.abs().sum(s.axes)
        ),
        "the mass of all channels": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / s.a.flatten(1).sum(1, keepdim=True)
        ),
        "the plain mean": lambda s: s.expected("gradcam"),
    },
    "shapleycam": {
        "no curvature": lambda s: s.expected("gradcam"),
        "all of the curvature": lambda s: weighed(s, (s.g - s.curvature).mean(s.axes)),
        "the curvature added": lambda s: weighed(s, (s.g + s.curvature / 2).mean(s.axes)),
        "the Hessian's diagonal": lambda s: weighed(
            s,
            (s.g - torch.stack([h.diag() for h in s.hessians]).reshape(s.a.shape) * s.a / 2).mean(
                s.axes
            ),
        ),
        "each cell by itself": lambda s: ((s.g - s.curvature / 2) * s.a).sum(1),
        "the sum over cells": lambda s: s.expected("shapleycam") * s.a[0, 0].numel(),
    },
    "ablationcam": {
        "divided by the score": lambda s: (
            s.expected("ablationcam") / s.score(s.images)[:, None, None]
        ),
        "the other sign": lambda s: -s.expected("ablationcam"),
        "the score without it": lambda s: weighed(s, of_channels(s, partial(without, s))),
        "the channel's mean in its place": lambda s: weighed(
            s,
            of_channels(
                s,
                lambda k: s.head(s.a) - without(s, k, s.a[:, k].mean((1, 2), keepdim=True)),
            ),
        ),
        "the channel's least in its place": lambda s: weighed(
            s,
            of_channels(
                s, lambda k: s.head(s.a) - without(s, k, s.a[:, k].amin((1, 2), keepdim=True))
            ),
        ),
        "a positive drop only": lambda s: weighed(
            s, of_channels(s, lambda k: s.head(s.a) - without(s, k)).relu()
        ),
    },
    "scorecam": {
        "a softmax": lambda s: s.expected("scorecam:softmax=true"),
        "no baseline": lambda s: weighed(s, gains(s, masks_of(s), 0.0)),
        "the image for a baseline": lambda s: weighed(s, gains(s, masks_of(s), s.score(s.images))),
        "masks that are not scaled": lambda s: weighed(s, gains(s, resized(s, s.a))),
        "masks scaled before the resize": lambda s: weighed(s, gains(s, resized(s, scaled(s.a)))),
        "masks scaled all together": lambda s: weighed(
            s,
            gains(s, scaled(resized(s, s.a).flatten(1)[:, None, None]).reshape(3, -1, *s.size[1:])),
        ),
        "masks inside out": lambda s: weighed(s, gains(s, 1 - masks_of(s))),
        "aligned corners": lambda s: weighed(s, gains(s, scaled(resized(s, s.a, corners=True)))),
        "the nearest cell": lambda s: weighed(s, gains(s, scaled(resized(s, s.a, "nearest")))),
        "positive gains only": lambda s: weighed(s, gains(s, masks_of(s)).relu()),
        "the mask for the activations": lambda s: (
            gains(s, masks_of(s))[:, :, None, None] * scaled(s.a)
        ).sum(1),
    },
    "scorecam:softmax=true": {
        "no softmax": lambda s: s.expected("scorecam"),
        "a softmax over images": lambda s: weighed(s, gains(s, masks_of(s)).softmax(0)),
    },
    "sscam": {
        "no noise": lambda s: s.expected("scorecam"),
        "another seed": lambda s: seen_through(s, oracles.with_noise(noise(s, seed=1))),
        "a deviation of one": lambda s: seen_through(s, oracles.with_noise(noise(s) / 2)),
        "noise on the activations": lambda s: weighed(
            s, mean_gains(s, [scaled(resized(s, s.a) + one) for one in noise(s)])
        ),
        "masks kept within 0 and 1": lambda s: weighed(
            s, mean_gains(s, [(masks_of(s) + one).clamp(0, 1) for one in noise(s)])
        ),
        "noise on the image": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * (1 + one) for one in noise(s)])
        ),
        "the first sample": lambda s: seen_through(s, oracles.with_noise(noise(s)[:1])),
        "the sum over samples": lambda s: s.expected("sscam") * 10,
    },
    "iscam": {
        "full strength": lambda s: s.expected("scorecam"),
        "from nothing": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * i / 10 for i in range(10)])
        ),
        "strengths summed up": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * i * (i + 1) / 20 for i in range(1, 11)])
        ),
        "masks to a power": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) ** (i / 10) for i in range(1, 11)])
        ),
        "the sum over steps": lambda s: s.expected("iscam") * 10,
    },
    "reciprocam": {
        "the bare score": lambda s: of_cells(s, lambda mask: s.head(s.a * mask)),
        "the probability": lambda s: of_cells(
            s, lambda mask: classes(CHOSEN, lambda y: y.softmax(1))(s.output(s.a * mask))
        ),
        "what is lost without the cell": lambda s: of_cells(
            s, lambda mask: s.head(s.a) - s.head(s.a * (1 - mask))
        ),
        "no class token": lambda s: of_cells(
            s,
            lambda mask: classes(CHOSEN)(s.output(s.a * mask, 0.0) - s.output(0 * s.a, 0.0)),
        ),
        "the neighbours too": lambda s: s.expected("reciprocam:gaussian=true"),
        "rows for columns": lambda s: s.expected("reciprocam").mT.reshape(-1, *s.a.shape[2:]),
    },
    "reciprocam:gaussian=true": {
        "the cell alone": lambda s: s.expected("reciprocam"),
        "the cell spread over its neighbours": lambda s: of_cells(
            s, lambda mask: s.head(spread(s, mask)) - s.head(0 * s.a), gaussian=True
        ),
        "weights that sum to one at the border": lambda s: of_cells(
            s, lambda mask: s.head(s.a * mask / mask.sum()) - s.head(0 * s.a), gaussian=True
        ),
        "weights whose peak is one": lambda s: of_cells(
            s, lambda mask: s.head(s.a * mask * 4) - s.head(0 * s.a), gaussian=True
        ),
    },
    "fem": {
        "the activations kept": lambda s: (s.a * rare(s)).sum(1),
        "the share that is rare for a weight": lambda s: weighed(s, rare(s).to(s.a).mean(s.axes)),
        "the size of the mean": lambda s: (s.a.mean(s.axes, keepdim=True).abs() * rare(s)).sum(1),
        "one deviation": lambda s: s.expected("fem:deviations=1"),
        "the spread of all channels": lambda s: (
            s.a.mean(s.axes, keepdim=True) * (s.a > 2 * s.a.std((1, 2, 3), keepdim=True))
        ).sum(1),
        "what is low as well": lambda s: oracles.fem(s.a) + oracles.fem(-s.a),
    },
    "hirescam": {
        "the mean gradient": lambda s: s.expected("gradcam"),
        "positive gradients only": lambda s: s.expected("layercam"),
        "positive products only": lambda s: s.expected("gradcam-elementwise"),
        "the gradient's size": lambda s: (s.g.abs() * s.a).sum(1),
        "the mean over channels": lambda s: s.expected("hirescam") / s.a.shape[1],
        "a relu": lambda s: s.expected("hirescam").relu(),
    },
    "layercam": {
        "all gradients": lambda s: s.expected("hirescam"),
        "positive products": lambda s: s.expected("gradcam-elementwise"),
        "positive activations only": lambda s: (s.g.relu() * s.a.relu()).sum(1),
        "the mean of positive gradients": lambda s: weighed(s, s.g.relu().mean(s.axes)),
        "a relu": lambda s: s.expected("layercam").relu(),
    },
    "gradcam-elementwise": {
        "a relu at the end": lambda s: s.expected("hirescam").relu(),
        "positive gradients": lambda s: s.expected("layercam"),
        "both positive": lambda s: (s.g.relu() * s.a.relu()).sum(1),
        "no relu": lambda s: s.expected("hirescam"),
    },
    "eigencam": {
        "centred": lambda s: s.expected("eigencam:centred=true"),
        "the second direction": lambda s: along(
            s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 1]
        ),
        "a vector of length one": lambda s: along(s, directions(s.a)[0][:, :, 0]),
        "the other sign": lambda s: -s.expected("eigencam"),
        "the first cell positive": lambda s: torch.stack(
            [one * one[0, 0].sign() for one in s.expected("eigencam")]
        ),
        "the absolute value": lambda s: s.expected("eigencam").abs(),
        "the cells centred": lambda s: oracles.eigencam(s.a - s.a.mean(1, keepdim=True)),
    },
    "eigencam:centred=true": {
        "not centred": lambda s: s.expected("eigencam"),
        "centred over cells and channels alike": lambda s: oracles.eigencam(
            s.a - s.a.mean((1, 2, 3), keepdim=True)
        ),
        "centred for the direction only": lambda s: along(
            s,
            (s.a.flatten(2).mT @ directions(s.a - s.a.mean(s.axes, keepdim=True))[2][:, :1].mT)[
                :, :, 0
            ],
        ),
    },
    "eigengradcam": {
        "no gradient": lambda s: s.expected("eigencam"),
        "the mean gradient": lambda s: oracles.eigencam(s.a * s.g.mean(s.axes, keepdim=True)),
        "the gradient's size": lambda s: oracles.eigencam(s.a * s.g.abs()),
        "the gradient alone": lambda s: oracles.eigencam(s.g),
        "centred": lambda s: s.expected("eigengradcam:centred=true"),
        "the other sign": lambda s: -s.expected("eigengradcam"),
    },
    "segeigencam": {
        "not centred": lambda s: oracles.eigencam(s.a * s.g.abs()),
        "the gradient's sign kept": lambda s: oracles.segeigencam(s.a * s.g.sign(), s.g),
        "the other sign": lambda s: -s.expected("segeigencam"),
        "the sign of the mean activation": lambda s: oracles.eigencam(
            s.a * s.g.abs(), centred=True
        ),
    },
    "kpcacam": {
        "a linear kernel": lambda s: kernel_component(s, lambda x: x @ x.mT),
        "a Gaussian kernel": lambda s: kernel_component(
            s, lambda x: (-(torch.cdist(x, x) ** 2) / x.shape[2]).exp()
        ),
        "no offset": lambda s: kernel_component(s, lambda x: (x @ x.mT / x.shape[2]).tanh()),
        "no gamma": lambda s: kernel_component(s, lambda x: (x @ x.mT + 1).tanh()),
        "gamma of the cells": lambda s: kernel_component(
            s, lambda x: (x @ x.mT / x.shape[1] + 1).tanh()
        ),
        "channels not centred": lambda s: kernel_component(s, channels_centred=False),
        "the kernel not centred": lambda s: kernel_component(s, kernel_centred=False),
        "a vector of length one": lambda s: kernel_component(s, scale=False),
        "the second component": lambda s: kernel_component(s, which=-2),
        "the other sign": lambda s: -s.expected("kpcacam"),
    },
}


def rare(s: Scene) -> Tensor:
    deviation = s.a.std(s.axes, keepdim=True, correction=0)
    return s.a > s.a.mean(s.axes, keepdim=True) + 2 * deviation


#: What the doctored ones are made of, put together as it should be.
UNDOCTORED: dict[str, Callable[[Scene], Tensor]] = {
    "gradcam++": lambda s: weighed(s, (s.g.relu() / (2 + total(s, s.a) * s.g)).sum(s.axes)),
    "shapleycam": lambda s: weighed(s, (s.g - s.curvature / 2).mean(s.axes)),
    "ablationcam": lambda s: weighed(s, of_channels(s, lambda k: s.head(s.a) - without(s, k))),
    "scorecam": lambda s: weighed(s, gains(s, masks_of(s))),
    "sscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) + one for one in noise(s)])),
    "iscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) * i / 10 for i in range(1, 11)])),
    "reciprocam": lambda s: of_cells(s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a)),
    "reciprocam:gaussian=true": lambda s: of_cells(
        s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a), gaussian=True
    ),
    "fem": lambda s: (s.a.mean(s.axes, keepdim=True) * rare(s)).sum(1),
    "eigencam": lambda s: along(s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 0]),
    "kpcacam": kernel_component,
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


# The table


def test_every_method_has_an_oracle() -> None:
    import test_methods_input

    known = {how.partition(":")[0] for how in [*ORACLES, *test_methods_input.ORACLES]}
    assert known == set(METHODS)


def test_every_oracle_has_seen_a_mistake() -> None:
    assert {how.partition(":")[0] for how in ORACLES} == set(DOCTORED) & set(METHODS)
    assert set(DOCTORED) <= set(ORACLES)
    assert all(DOCTORED.values())


@every_method
def test_a_row_says_what_it_is(name: str) -> None:
    row = METHODS[name]
    assert row.name == name
    assert row.formula
    assert row.paper
    assert row.use.endswith(".")


@every_method
def test_a_method_reads_what_its_row_says_and_no_more(name: str) -> None:
    row, image = METHODS[name], torch.randn(1, 3, 9, 9)
    evidence = Evidence(activations=image, image=image, score=torch.ones(1))
    if not row.needs:
        assert row.raw(evidence).shape == (1, 9, 9)
        return
    needs = "|".join(row.needs)
    with pytest.raises(MethodError, match=rf"reads the ({needs}), which were not gathered"):
        row.raw(evidence)


def test_a_method_that_is_not_there_comes_with_the_nearest() -> None:
    assert find_method("gradcam") == METHODS["gradcam"]
    with pytest.raises(UnknownNameError, match=r"no method named 'grad-cam'\. Did you mean"):
        find_method("grad-cam")
    with pytest.raises(UnknownNameError, match=r"no method named 'xyz'\. There are cam, gradcam"):
        find_method("xyz")


# Oracles


@over(ORACLES, [name for name in SCENES if name not in SCENES_OF_CAM[1:]])
def test_a_raw_map_equals_its_oracle(method: str, scene: Scene) -> None:
    assert_agrees(
        scene.explained(method).raw,
        scene.expected(method),
        scale=scene.what_cancels(method),
        limit=SPECTRAL if method in ("kpcacam", "eigencam", "eigengradcam") else None,
    )


def test_what_the_oracles_are_shown_would_tell_signs_and_cells_apart() -> None:
    for name in ("transformer", "block of a transformer", "channels last", "signal", "volume"):
        scene = SCENES[name]
        assert scene.a.min() < 0 < scene.a.max()
        assert (scene.g.std(scene.axes) > 0.01 * scene.g.abs().mean(scene.axes)).all()
    assert SCENES["transformer"].curvature.abs().max() > 1e-3
    dead = ~SCENES["cnn"].a.flatten(2).any(2)
    assert dead.any()  # some channel is zero everywhere
    for how in ORACLES.keys() - {"cam", "gradcam-elementwise"}:
        expected = SCENES["transformer"].expected(how)
        assert expected.min() < 0
        assert expected.max() > 0 or "softmax" in how


def doctored_on(method: str) -> Scene:
    return SCENES["pool" if method == "cam" else "transformer"]


@pytest.mark.parametrize(
    ("method", "how"), [(method, how) for method, made in DOCTORED.items() for how in made]
)
def test_a_doctored_map_fails_its_oracle(method: str, how: str) -> None:
    scene = doctored_on(method)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(DOCTORED[method][how](scene), scene.expected(method))


@pytest.mark.parametrize("method", UNDOCTORED)
def test_what_is_doctored_would_be_right_without(method: str) -> None:
    scene = doctored_on(method)
    right = UNDOCTORED[method](scene)
    assert_agrees(right, scene.expected(method), scale=scene.what_cancels(method))


@over(ORACLES)
@pytest.mark.parametrize("other", [[1, 1, 2], [0, 1, 2], [2, 2, 2]], ids=str)
def test_the_map_of_another_class_fails_the_oracle(
    method: str, scene: Scene, other: list[int]
) -> None:
    raw = explained(scene, scene.model, scene.images, method, other).raw
    if method.partition(":")[0] in OF_NO_CLASS:
        assert torch.equal(raw, scene.explained(method).raw)
        return
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(raw, scene.expected(method))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[..., :-1],
        lambda raw: raw.transpose(1, 2),
        lambda raw: raw[:1],
        lambda raw: raw[:, None],
        lambda raw: raw.float(),
        lambda raw: raw * torch.nan,
    ],
)
def test_a_map_of_another_shape_or_kind_fails_the_oracle(
    change: Callable[[Tensor], Tensor],
) -> None:
    scene = SCENES["cnn"]
    with pytest.raises(AssertionError):
        assert_agrees(change(scene.explained("gradcam").raw), scene.expected("gradcam"))


def test_an_oracle_that_is_zero_everywhere_is_no_oracle() -> None:
    with pytest.raises(AssertionError, match="nothing would be compared"):
        assert_agrees(torch.zeros(2), torch.zeros(2))


# Laws of all methods


@every_oracle
def test_permuting_the_batch_permutes_the_maps(method: str, scene: Scene) -> None:
    order = [2, 0, 1]
    target = [CHOSEN[b] for b in order]
    permuted = explained(scene, scene.model, scene.images[order], method, target)
    assert_agrees(permuted.raw, scene.explained(method).raw[order])


@every_oracle
def test_the_maps_of_a_batch_are_the_batch_of_the_maps(method: str, scene: Scene) -> None:
    alone = [
        explained(scene, scene.model, scene.images[b : b + 1], method, [CHOSEN[b]]).raw
        for b in range(3)
    ]
    assert_agrees(scene.explained(method).raw, torch.cat(alone))


def with_scores_times(scene: Scene, scale: float) -> nn.Module:
    model = copy.deepcopy(scene.model)
    last = cast("nn.Linear", model.get_submodule(scene.last))
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale)
    return model


@over(how for how in ORACLES if how not in SHAPED_BY_SCALE)
@pytest.mark.parametrize("scale", [3.0, 1e-5, 1e-30])
def test_the_scale_of_the_scores_scales_the_map_and_leaves_the_heatmap(
    method: str, scene: Scene, scale: float
) -> None:
    plain = scene.explained(method)
    found = explained(scene, with_scores_times(scene, scale), scene.images, method)
    factor = 1 if method.partition(":")[0] in OF_NO_CLASS else scale
    size = scene.what_cancels(method)
    assert_agrees(found.raw, plain.raw * factor, scale=None if size is None else size * factor)
    assert_agrees(found.heatmap, plain.heatmap, condition=of_heatmaps(plain.raw, size))


@over(SHAPED_BY_SCALE)
def test_where_the_paper_says_so_the_scale_of_the_scores_shapes_the_map(
    method: str, scene: Scene
) -> None:
    plain = scene.explained(method)
    found = explained(scene, with_scores_times(scene, 3.0), scene.images, method)
    shapes = [one.raw / one.raw.flatten(1).norm(dim=1)[:, None, None] for one in (found, plain)]
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(shapes[0], shapes[1])


@every_oracle
def test_float32_comes_near_float64(method: str, scene: Scene) -> None:
    model, images = copy.deepcopy(scene.model).float(), scene.images.float()
    found = explained(scene, model, images, method)
    assert found.raw.dtype == found.heatmap.dtype == torch.float32
    precise = scene.explained(method)
    size = scene.what_cancels(method)
    assert_agrees(found.raw, precise.raw, scale=size, dtype=torch.float32)
    assert found.heatmap.isfinite().all()
    condition = of_heatmaps(precise.raw, size)
    assert_agrees(
        found.heatmap, precise.heatmap, dtype=torch.float32, scale=1.0, condition=condition
    )


@over(ORACLES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_map_of_a_model_in_half_precision_is_whole(
    method: str, scene: Scene, dtype: torch.dtype
) -> None:
    found = explained(scene, copy.deepcopy(scene.model).to(dtype), scene.images.to(dtype), method)
    assert found.raw.dtype == found.heatmap.dtype == torch.float32
    assert found.raw.isfinite().all()


@over(LINEAR)
def test_a_difference_of_scores_has_the_difference_of_the_maps(method: str, scene: Scene) -> None:
    def map_of(target: Any) -> Tensor:
        return limelight.explain(
            scene.model, scene.images, target=target, method=method, layer=scene.layer
        ).raw

    size = scene.what_cancels(method)
    assert_agrees(map_of(lambda y: y[:, 1] - y[:, 3]), map_of(1) - map_of(3), scale=size)


@over(ORACLES, ["cnn", "transformer", "channels last", "signal", "volume"])
def test_how_many_variants_run_together_does_not_matter(method: str, scene: Scene) -> None:
    for chunk in (1, 7):
        found = limelight.explain(
            scene.model, scene.images, target=CHOSEN, method=method, layer=scene.layer, chunk=chunk
        )
        limit = SPECTRAL if method == "kpcacam" else None
        expected, size = scene.expected(method), scene.what_cancels(method)
        assert_agrees(found.raw, expected, scale=size, limit=limit)


class Flat(nn.Module):
    """Its layer puts out the same value everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.bias, value)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(x).mean((2, 3))))


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("value", [0.0, 0.3, -0.7])
def test_activations_that_are_the_same_everywhere_make_no_nan_and_no_picture(
    method: str, value: float
) -> None:
    model, images = ready(Flat(value)), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = limelight.explain(model, images, target=1, method=method, layer="conv")
    assert found.raw.isfinite().all()
    if method != "reciprocam:gaussian=true":  # at the border less is seen
        assert not found.heatmap.any()


@pytest.mark.parametrize("method", ["ablationcam", "reciprocam", "reciprocam:gaussian=true"])
def test_rounding_where_the_head_reads_nothing_makes_no_picture(method: str) -> None:
    scene = SCENES["transformer"]
    found = limelight.explain(
        scene.model, scene.images, target=CHOSEN, method=method, layer="blocks.1"
    )
    assert not found.heatmap.any()
    assert not any(status.ok for status in found.status)


# The model is left as it was


def shaken(scene: Scene) -> nn.Module:
    """Return a copy in training mode, partly frozen, with gradients and hooks."""
    model = copy.deepcopy(scene.model)
    first = next(iter(model.children()))
    model.train()
    first.eval()
    first.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    model.register_forward_hook(lambda *_: None)
    first.register_forward_pre_hook(lambda *_: None)
    return model


@every_oracle
def test_a_model_is_left_as_it_was(method: str, scene: Scene) -> None:
    model = shaken(scene)
    with untouched(model):
        found = explained(scene, model, scene.images, method)
    assert_agrees(found.raw, scene.expected(method), scale=scene.what_cancels(method))


class Raised(Exception):
    pass


@every_oracle
def test_a_model_that_raises_on_the_way_is_left_as_it_was(method: str, scene: Scene) -> None:
    model = shaken(scene)
    calls, fatal = 0, 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise Raised

    model.get_submodule(scene.last).register_forward_hook(count)
    explained(scene, model, scene.images, method)  # what it learns of a new model it learns here
    calls = 0
    explained(scene, model, scene.images, method)
    for fatal_call in {1, calls // 2 + 1, calls}:
        calls, fatal = 0, fatal_call
        with untouched(model), pytest.raises(Raised):
            explained(scene, model, scene.images, method)
    calls = fatal = 0
    again = explained(scene, model, scene.images, method).raw
    assert_agrees(again, scene.expected(method), scale=scene.what_cancels(method))


# What runs


class Counted(nn.Module):
    """Notes how many images each of its runs has."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.runs.append(len(x))
        return x


class Stages(networks.Chain):
    """Says what runs in front of its layer `second`, and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.rest = Counted(), Counted()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.body(self.first(x)).tanh()).tanh()
        return self.finish(self.rest(x))


def runs(method: str, chunk: int) -> tuple[list[int], list[int]]:
    """Return the sizes of the runs in front of the layer and behind it; 2 images, 6 channels."""
    model, images = ready(Stages()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with torch.no_grad():
        model.second.weight[4] = 0
        cast("Tensor", model.second.bias)[4] = 0  # one of the channels is zero everywhere
    for _ in range(2):  # what it learns of a new model it learns at first
        model.body.runs.clear()
        model.rest.runs.clear()
        limelight.explain(model, images, target=1, method=method, layer="second", chunk=chunk)
    return model.body.runs, model.rest.runs


@pytest.mark.parametrize(
    ("method", "count"), [("ablationcam", 6), ("reciprocam", 36), ("reciprocam:gaussian=true", 36)]
)
def test_only_the_head_runs_again_where_activations_change(method: str, count: int) -> None:
    once, apart = runs(method, 1000), runs(method, 1)
    assert apart[0] == once[0]
    assert len(once[0]) <= 3  # the pass itself, and what the head has to know
    assert len(apart[1]) - len(once[1]) == 2 * count - 2
    assert once[1][-2:] == [count, count]
    assert apart[1][-2 * count :] == [1] * 2 * count


@pytest.mark.parametrize(
    ("method", "count"), [("scorecam", 5), ("sscam:samples=3", 15), ("iscam:samples=3", 15)]
)
def test_the_network_runs_once_per_mask_of_a_channel_that_says_something(
    method: str, count: int
) -> None:
    body, rest = runs(method, 1)
    assert body == rest
    assert body[0] == 2
    assert body[1:] == [1] * 2 * (count + 1)  # and once in black


ONE_RUN = [
    how
    for how in ORACLES.keys() - {"cam"}
    if not METHODS[how.partition(":")[0]].needs & {"head", "network"}
]


@pytest.mark.parametrize("method", sorted(ONE_RUN))
def test_the_other_methods_take_one_run(method: str) -> None:
    assert runs(method, 1) == ([2], [2])


# Where methods coincide, and what is known by hand


@pytest.mark.parametrize("method", ["cam", "hirescam", "xgradcam", "shapleycam", "reciprocam"])
@pytest.mark.parametrize("name", SCENES_OF_CAM)
def test_behind_a_pool_and_a_linear_layer_these_are_gradcam(method: str, name: str) -> None:
    gradcam, found = SCENES[name].explained("gradcam"), SCENES[name].explained(method)
    cells = gradcam.raw[0].numel() if method == "cam" else 1
    limit = (
        "scores with and without a cell, whose difference is smaller" if "cipro" in method else None
    )
    assert_agrees(found.raw, gradcam.raw * cells, limit=limit)
    assert_agrees(found.heatmap, gradcam.heatmap, limit=limit)


def test_where_the_head_is_piecewise_linear_shapleycam_is_gradcam() -> None:
    scene = SCENES["cnn"]
    assert_agrees(scene.explained("shapleycam").raw, scene.explained("gradcam").raw)


def test_where_no_activation_is_negative_gradcam_elementwise_is_layercam() -> None:
    scene = SCENES["cnn"]
    assert_agrees(scene.explained("gradcam-elementwise").raw, scene.explained("layercam").raw)


class Flattened(nn.Module):
    """A linear layer reads all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4 * 3 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(x).flatten(1)))


def test_in_front_of_a_linear_layer_hirescam_sums_to_the_score_less_its_bias() -> None:
    model, images = ready(Flattened()), torch.randn(3, *PICTURE, dtype=torch.float64)
    found = limelight.explain(model, images, target=CHOSEN, method="hirescam", layer="conv")
    score = classes(CHOSEN)(model(images)) - model.fc.bias[CHOSEN]
    assert_agrees(found.raw.sum((1, 2)), score.detach())


def test_behind_a_linear_head_the_weights_of_ablationcam_sum_to_the_score_less_its_bias() -> None:
    scene = SCENES["pool"]
    weights = (scene.g * scene.a).sum(scene.axes)
    assert_agrees(scene.explained("ablationcam").raw, weighed(scene, weights))
    assert_agrees(weights.sum(1), scene.score(scene.images) - scene.linear.bias[CHOSEN].detach())


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # A = 2, 3, -1.5 and g = 0.5, -4, 1
        ("gradcam", 2 * 0.5 + 3 * -4 - 1.5),
        ("hirescam", 2 * 0.5 + 3 * -4 - 1.5),
        ("xgradcam", 2 * 0.5 + 3 * -4 - 1.5),
        ("layercam", 2 * 0.5 + 0 - 1.5),
        ("gradcam-elementwise", 2 * 0.5 + 0 + 0),
        ("gradcam++", 2 * 0.5 / (2 + 2 * 0.5) + 0 - 1.5 * 1 / (2 - 1.5 * 1)),
        ("eigencam", (2**2 + 3**2 + 1.5**2) ** 0.5),
        ("eigengradcam", -((1**2 + 12**2 + 1.5**2) ** 0.5)),
        ("fem", 0.0),
    ],
)
def test_a_single_cell_by_hand(method: str, expected: float) -> None:
    activations = torch.tensor([2.0, 3.0, -1.5], dtype=torch.float64).reshape(1, 3, 1, 1)
    gradients = torch.tensor([0.5, -4.0, 1.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    found = METHODS[method].raw(evidence_of(activations, gradients))
    assert_agrees(found.item(), expected, scale=12.0)  # -4 times 3


def evidence_of(activations: Tensor, gradients: Tensor | None = None) -> Evidence:
    return Evidence(
        activations=activations,
        image=activations,
        score=activations.new_ones(len(activations)),
        found={} if gradients is None else {"gradients": gradients},
    )


def test_fem_reads_the_spread_of_a_population() -> None:
    # Of 0, 0, 0, 4 the mean is 1, the spread 3 ** 0.5 = 1.73; that of a sample would be 2.
    activations = torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64).reshape(1, 1, 2, 2)
    kept = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 2, 2)
    evidence = evidence_of(activations)
    assert_agrees(METHODS["fem"].set(deviations=1.6).raw(evidence), kept)
    assert not METHODS["fem"].set(deviations=1.8).raw(evidence).any()


def test_xgradcam_gives_a_channel_that_sums_to_zero_no_weight() -> None:
    activations = torch.tensor([[1.0, -1.0], [2.0, 1.0]], dtype=torch.float64)[None]
    gradients = torch.tensor([[5.0, 7.0], [1.0, 4.0]], dtype=torch.float64)[None]
    found = METHODS["xgradcam"].raw(evidence_of(activations, gradients))
    assert_agrees(found, torch.tensor([[2.0, 1.0]], dtype=torch.float64) * (2 * 1 + 1 * 4) / 3)


@pytest.mark.parametrize("method", ["eigencam", "eigencam:centred=true"])
def test_eigencam_finds_the_one_pattern_that_there_is(method: str) -> None:
    pattern, strengths = torch.randn(2, 3, 4).double(), torch.randn(2, 5).double()
    activations = strengths[:, :, None, None] * pattern[:, None]
    found = find_method(method).raw(evidence_of(activations))
    kept = pattern - pattern.mean((1, 2), keepdim=True) if "centred" in method else pattern
    expected = kept * strengths.norm(dim=1)[:, None, None]
    assert_agrees(found, expected * strengths.sum(1).sign()[:, None, None])


@pytest.mark.parametrize("method", sorted(set(ONE_RUN) - {"shapleycam"}))
@pytest.mark.parametrize("mean", [True, False], ids=["a mean", "none, as after a layer norm"])
def test_the_order_of_the_channels_does_not_matter(method: str, mean: bool) -> None:
    activations, gradients = torch.randn(2, 9, 8, 3, 4, dtype=torch.float64)
    if not mean:
        activations = activations - activations.mean(1, keepdim=True)
    order = torch.randperm(8)
    found = find_method(method).raw(evidence_of(activations, gradients))
    other = find_method(method).raw(evidence_of(activations[:, order], gradients[:, order]))
    assert_agrees(other, found)


# Deep feature factorization


def factorizable(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return A = W H, and W and H: each concept has cells and channels of its own."""
    maps, concepts = torch.rand(batch, 3, 4, 5).double(), torch.rand(3, 7).double()
    for c in range(3):
        maps[0, :, 0, c] = concepts[:, c] = 0
        maps[0, c, 0, c] = concepts[c, c] = 1
    return torch.einsum("bchw,ck->bkhw", maps, concepts), maps, concepts


def put_together(maps: Tensor, concepts: Tensor) -> Tensor:
    return torch.einsum("bc...,ck->bk...", maps, concepts)


def by_least_squares(samples: Tensor, count: int, seed: int, rounds: int = 60) -> float:
    """Return the error of factorizing `[N, K]` by non-negative least squares, in turns."""
    concepts = np.random.default_rng(seed).random((count, samples.shape[1]))
    wanted = samples.numpy()
    for _ in range(rounds):
        maps = np.stack([nnls(concepts.T, row)[0] for row in wanted])
        concepts = np.stack([nnls(maps, column)[0] for column in wanted.T], axis=1)
    return float(np.linalg.norm(wanted - maps @ concepts))


@pytest.mark.parametrize("shape", [(2, 7, 9), (2, 7, 4, 5), (1, 4, 2, 3, 4)], ids=str)
def test_factors_have_the_grid_nothing_negative_and_concepts_of_length_one(
    shape: tuple[int, ...],
) -> None:
    activations = torch.randn(shape, dtype=torch.float64)
    maps, concepts = factorize(activations, 3)
    assert maps.shape == (shape[0], 3, *shape[2:])
    assert concepts.shape == (3, shape[1])
    assert maps.min() >= 0
    assert concepts.min() >= 0
    assert_agrees(concepts.norm(dim=1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_error_is_that_of_a_slower_factorization_or_nearly(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, 8, 5, 6, generator=generator, dtype=torch.float64).relu()
    maps, concepts = factorize(activations, count)
    error = (put_together(maps, concepts) - activations).norm().item()
    samples = activations.movedim(1, -1).reshape(-1, 8)
    best = min(by_least_squares(samples, count, start) for start in range(3))
    assert error <= 1.03 * best


def test_a_product_of_three_concepts_is_taken_apart_again() -> None:
    activations, maps, concepts = factorizable()
    found_maps, found_concepts = factorize(activations, 3)
    assert_agrees(put_together(found_maps, found_concepts), activations)
    order = (concepts @ found_concepts.T).argmax(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    lengths = torch.linalg.vector_norm(concepts, dim=1)
    assert_agrees(found_concepts[order], concepts / lengths[:, None])
    assert_agrees(found_maps[:, order], maps * lengths[:, None, None])


def test_one_pattern_is_one_concept() -> None:
    pattern, strengths = torch.rand(2, 3, 4).double(), torch.rand(5).double()
    maps, concepts = factorize(strengths[:, None, None] * pattern[:, None], 1)
    assert_agrees(concepts[0], strengths / strengths.norm())
    assert_agrees(maps[:, 0], pattern * strengths.norm())


def test_factors_are_always_the_same_and_negative_activations_count_as_zero() -> None:
    activations = torch.randn(2, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize(activations, 3)
    torch.manual_seed(1)
    for other in (activations, activations.clone(), activations.relu()):
        again = factorize(other, 3)
        assert torch.equal(again[0], maps)
        assert torch.equal(again[1], concepts)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_activations_is_in_the_maps(scale: float) -> None:
    activations = torch.rand(2, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize(activations, 3)
    found = factorize(activations * scale, 3)
    assert_agrees(found[0], maps * scale)
    assert_agrees(found[1], concepts)


def test_factors_of_a_permuted_batch_are_permuted() -> None:
    activations = torch.rand(3, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize(activations, 3)
    found = factorize(activations[[2, 0, 1]], 3)
    assert_agrees(found[0], maps[[2, 0, 1]])
    assert_agrees(found[1], concepts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_factors_of_little_are_finite(dtype: torch.dtype, count: int, value: float) -> None:
    activations = torch.full((1, 4, 2, 3), value, dtype=dtype)  # 9 concepts are more than exist
    maps, concepts = factorize(activations, count)
    assert maps.isfinite().all()
    assert concepts.isfinite().all()
    if value:
        # Rounds of descent; of more concepts than there are, some come to zero slowly.
        left = 1e-3 * value
        assert_agrees(put_together(maps, concepts), activations, truncation=left)
