"""Networks studied once, for the methods of the input and their oracles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import CHOSEN, PICTURE, ready
from limelight.methods.perturbed import RiseMasks, superpixels
from oracles import controls, evidence, perturbed, pixels, weighted
from oracles.evidence import ScoreOf, channels_first, classes, probe
from oracles.pixels import Quadrature


class Case(NamedTuple):
    """A network, and where a method that can be applied at the input or at a layer is applied."""

    network: Callable[[], nn.Module]
    layer: str = "<input>"
    prefix: int | None = None  # how many tokens come before the grid, where there are tokens

    @property
    def named(self) -> str | None:
        return None if self.layer == "<input>" else self.layer


class Studied(NamedTuple):
    """A case, and what oracles read of it."""

    case: Case
    model: nn.Module
    images: Tensor
    activations: Tensor
    gradients: Tensor
    score: ScoreOf


CNN = Case(networks.ResidualCNN)
CNN_LAYER = Case(networks.ResidualCNN, "block1")
VIT = Case(networks.TinyViT)
VIT_LAYER = Case(networks.TinyViT, "blocks.0", networks.TinyViT.prefix)
CHANNELS_LAST = Case(networks.ChannelsLast)
CASES = [CNN, CNN_LAYER, VIT, VIT_LAYER]


def name(case: Case) -> str:
    return f"{case.network.__name__}-{case.layer}"


def images_of(batch: int = 3, size: Sequence[int] = PICTURE) -> Tensor:
    return torch.randn(batch, *size, dtype=torch.float64)


@functools.cache
def study(case: Case, seed: int = 9) -> Studied:
    torch.manual_seed(seed)
    model, images = ready(case.network()), images_of()
    grid = channels_first if case.prefix is None else evidence.tokens(case.prefix, (3, 4))
    if case.named is None:
        found = probe(
            nn.Sequential(nn.Identity(), model),
            "0",
            images.clone().requires_grad_(),
            classes(CHOSEN),
            channels_first,
        )
    else:
        found = probe(model, case.layer, images, classes(CHOSEN), grid)
    raw_of = (
        channels_first if case.prefix is None else evidence.tokens_with(found.raw[:, : case.prefix])
    )
    score = evidence.score_behind(model, case.layer, images, classes(CHOSEN), raw_of)
    return Studied(case, model, images, found.activations, found.gradients, score)


def raw(studied: Studied, method: str) -> Tensor:
    return limelight.explain(
        studied.model, studied.images, target=CHOSEN, method=method, layer=studied.case.named
    ).raw


# Each method against its oracle: options that are not the defaults, and what the oracle says.


def noise(studied: Studied, samples: int = 6, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, *studied.activations.shape[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rule(studied: Studied) -> Quadrature:
    """Exact to rounding where the network is smooth; else the method's own, as found otherwise."""
    # At a layer norm the baseline, the same in all channels, is where nothing is smooth.
    smooth = studied.case == VIT
    return pixels.three_points(60) if smooth else pixels.gauss_legendre(40)


#: Covers a fourth of a side wide, and 0.13 of it apart.
COVERS = {(12, 16): ((3, 4), (2, 2)), (6, 8): ((2, 2), (1, 1)), (3, 4): ((1, 1), (1, 1))}


def covers(studied: Studied) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return COVERS[cast("tuple[int, int]", tuple(studied.activations.shape[2:]))]


def masks(studied: Studied) -> Tensor:
    drawn = RiseMasks(studied.activations.shape[2:], 20, cells=3, keep=0.4, seed=3)
    return drawn(torch.arange(20)).double()


def parts(studied: Studied, count: int = 5) -> list[Tensor]:
    return [superpixels(one, count) for one in studied.activations]


def guided(studied: Studied) -> Tensor:
    return pixels.guided_backprop(studied.model, studied.images, classes(CHOSEN))


def coarse(studied: Studied) -> Tensor:
    found = probe(studied.model, "block1", studied.images, classes(CHOSEN), channels_first)
    return weighted.gradcam(found.activations, found.gradients)


def as_grid(output: Tensor, last: bool) -> Tensor | None:
    """Return a grid of what a layer puts out: a picture, or all tokens."""
    if output.ndim == 4:
        return evidence.channels_last(output) if last else output
    tokens = evidence.tokens(networks.TinyViT.prefix, (3, 4))
    return tokens(output) if output.ndim == 3 else None


def biases(studied: Studied) -> list[Tensor]:
    found = pixels.bias_gradients(studied.model, studied.images, classes(CHOSEN), as_grid)
    return [one for one in found if one.ndim == 4]


#: What limits comparisons with what is drawn by chance.
SAMPLE = "a sample is off by so much, not rounding"

#: What to explain with, and the oracle; methods of attention are in `attention_studies.py`.
ROWS: dict[str, tuple[str, Callable[[Studied], Tensor]]] = {
    "saliency": ("saliency", lambda s: pixels.saliency(s.gradients)),
    "input-x-gradient": (
        "input-x-gradient",
        lambda s: pixels.input_x_gradient(s.activations, s.gradients),
    ),
    "smoothgrad": (
        "smoothgrad:samples=6,noise=0.3,seed=3",
        lambda s: pixels.smoothgrad(s.score, s.activations, noise(s), 0.3),
    ),
    "integrated-gradients": (
        "integrated-gradients:steps=40,baseline=0.2",
        lambda s: pixels.integrated_gradients(s.score, s.activations, rule(s), 0.2),
    ),
    "guided-backprop": ("guided-backprop", lambda s: pixels.saliency(guided(s))),
    "guided-gradcam": ("guided-gradcam", lambda s: pixels.guided_gradcam(guided(s), coarse(s))),
    "fullgrad": ("fullgrad", lambda s: pixels.fullgrad(s.images, s.gradients, biases(s))),
    "occlusion": (
        "occlusion:patch=0.25,stride=0.13,baseline=0.2",
        lambda s: perturbed.occlusion(s.score, s.activations, *covers(s), 0.2),
    ),
    "rise": (
        "rise:masks=20,cells=3,keep=0.4,seed=3",
        lambda s: perturbed.rise(s.score, s.activations, masks(s), 0.4),
    ),
    "kernelshap": (
        "kernelshap:segments=5,baseline=0.2",
        lambda s: perturbed.shapley(s.score, s.activations, parts(s), 0.2),
    ),
    "centre": (
        "centre:width=0.3",
        lambda s: controls.centre(s.activations.shape[2:], 0.3).expand(3, -1, -1),
    ),
}
#: Where each is tried: everywhere, unless a method has no choice.
TRIED: dict[str, list[Case]] = {
    "guided-backprop": [CNN],
    "guided-gradcam": [CNN_LAYER],
    "fullgrad": [CNN, VIT, CHANNELS_LAST],
    "centre": [CNN_LAYER, VIT_LAYER],
}


def what_cancels(studied: Studied, method: str) -> float | None:
    """The size of what is added in a map: products, or scores of which differences are taken."""
    name = method.partition(":")[0]
    if name in ("input-x-gradient", "integrated-gradients"):
        return float((studied.activations * studied.gradients).abs().sum(1).max())
    if name in ("occlusion", "rise", "kernelshap"):
        return float(studied.score(studied.activations).detach().abs().max())
    return None


@functools.cache
def expected(method: str, case: Case) -> Tensor:
    return ROWS[method][1](study(case))
