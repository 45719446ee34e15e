"""Networks studied once, for the methods of the input and their oracles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import CHOSEN, PICTURE, ready
from limelight.methods.perturbed import RiseMasks, superpixels
from oracles import controls, evidence, perturbed, pixels
from oracles.evidence import ScoreOf, channels_first, classes, probe


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

    @property
    def chosen(self) -> list[int]:
        return CHOSEN

    @property
    def smooth(self) -> bool:
        """Whether the score is smooth in the activations."""
        # At a layer norm the baseline, the same in all channels, is where nothing is smooth.
        return self.case == VIT

    def rise_masks(self) -> Tensor:
        """Return masks as limelight draws them: an oracle cannot draw the same."""
        drawn = RiseMasks(self.activations.shape[2:], 20, cells=3, keep=0.4, seed=3)
        return drawn(torch.arange(20)).double()

    def superpixels(self, count: int = 5) -> list[Tensor]:
        """Return the superpixels of each image as limelight finds them."""
        return [superpixels(one, count) for one in self.activations]

    def as_grid(self, output: Tensor, last: bool) -> Tensor | None:
        return as_grid(output, last)

    def expected(self, method: str) -> Tensor:
        return expected(method, self.case)


CNN = Case(networks.ResidualCNN)
CNN_LAYER = Case(networks.ResidualCNN, "block1")
VIT = Case(networks.TinyViT)
VIT_LAYER = Case(networks.TinyViT, "blocks.0", networks.TinyViT.prefix)
CHANNELS_LAST = Case(networks.ChannelsLast)
CASES = [CNN, CNN_LAYER, VIT, VIT_LAYER]
#: By the names that oracles give them.
NAMED_CASES = {
    "cnn": CNN,
    "cnn, a layer": CNN_LAYER,
    "transformer": VIT,
    "transformer, a layer": VIT_LAYER,
    "channels last": CHANNELS_LAST,
}


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


def as_grid(output: Tensor, last: bool) -> Tensor | None:
    """Return a grid of what a layer puts out: a picture, or all tokens."""
    if output.ndim == 4:
        return evidence.channels_last(output) if last else output
    tokens = evidence.tokens(networks.TinyViT.prefix, (3, 4))
    return tokens(output) if output.ndim == 3 else None


#: What limits comparisons with what is drawn by chance.
SAMPLE = "a sample is off by so much, not rounding"

FAMILIES = (pixels.AT_THE_INPUT, perturbed.AT_THE_INPUT, controls.AT_THE_INPUT)
#: What to explain with, and the oracle; methods of attention are in `attention_studies.py`.
ROWS = {
    how.partition(":")[0]: (how, oracle)
    for family in FAMILIES
    for how, oracle in family.oracles.items()
}
#: What passes for each method at first sight, and is not it.
DOCTORED = {
    (method, how): doctored
    for family in FAMILIES
    for method, mistakes in family.doctored.items()
    for how, doctored in mistakes.items()
}
#: Where each is tried: everywhere, unless a method has no choice.
TRIED = {
    method: [NAMED_CASES[name] for name in names]
    for family in FAMILIES
    for method, names in family.tried.items()
}
CANCELS = {name: size for family in FAMILIES for name, size in family.cancels.items()}


def what_cancels(studied: Studied, method: str) -> float | None:
    """The size of what is added in a map: products, or scores of which differences are taken."""
    cancels = CANCELS.get(method.partition(":")[0])
    return None if cancels is None else cancels(studied)


@functools.cache
def expected(method: str, case: Case) -> Tensor:
    return ROWS[method][1](study(case))
