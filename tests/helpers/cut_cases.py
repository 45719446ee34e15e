"""Networks to cut, each at a layer, with the images that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from helpers import networks
from helpers.networks import PICTURE, ready
from oracles.evidence import Grid, channels_first, channels_last, tokens


class Case(NamedTuple):
    network: Callable[[], nn.Module]
    layer: str
    size: tuple[int, ...]
    grid: Grid = channels_first
    prefix: int = 0  # how many tokens stand before the grid

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        return ready(self.network(), dtype)

    def images(self, batch: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(batch, *self.size, dtype=dtype)


def graph_module() -> nn.Module:
    return torch.fx.symbolic_trace(networks.Chain())


VIT = tokens(networks.TinyViT.prefix, (3, 4))
CASES = [
    Case(networks.ResidualCNN, "stem.0", PICTURE),
    Case(networks.ResidualCNN, "stem", PICTURE),
    Case(networks.ResidualCNN, "block1.bn1", PICTURE),
    Case(networks.ResidualCNN, "block2.bn2", PICTURE),
    Case(networks.ResidualCNN, "block1.shortcut", PICTURE),
    Case(networks.ResidualCNN, "block2", PICTURE),
    Case(networks.PoolLinear, "features.0", PICTURE),
    Case(networks.PoolLinear, "features", PICTURE),
    Case(networks.TinyViT, "blocks.0", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.TinyViT, "blocks.0.attention.proj", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.TinyViT, "blocks.1.norm1", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.ChannelsLast, "mix.0", PICTURE, channels_last),
    Case(networks.ChannelsLast, "norm", PICTURE, channels_last),
    Case(networks.Encoder, "encoder.layers.0", PICTURE, tokens(0, (3, 4))),
    Case(networks.Encoder, "encoder.layers.1.norm1", PICTURE, tokens(0, (3, 4))),
    Case(networks.Recurrent, "conv", PICTURE),
    Case(networks.Signal, "conv", (2, 23)),
    Case(networks.Volume, "conv", (1, 7, 8, 9)),
    Case(networks.KeepsAList, "second", PICTURE),
    Case(networks.BoundMethod, "second", PICTURE),
    Case(networks.BoundMethod, "third", PICTURE),
    Case(networks.Dispatched, "second", PICTURE),
    Case(networks.Borrows, "second", PICTURE),
    Case(networks.Borrows, "caller", PICTURE),
    Case(networks.Counting, "second", PICTURE),
    Case(networks.Remembering, "second", PICTURE),
    Case(networks.Configured, "second", PICTURE),
    Case(networks.WithTable, "second", PICTURE),
    Case(networks.Skips, "second", PICTURE),
    Case(networks.Skips, "shortcut", PICTURE),
    Case(graph_module, "second", PICTURE),
    Case(networks.TupleInside, "pair", PICTURE),
]


def name(case: Case) -> str:
    return f"{case.network.__name__}-{case.layer}"


every_case = pytest.mark.parametrize("case", CASES, ids=name)
few_cases = pytest.mark.parametrize(
    "case", [CASES[2], CASES[8], CASES[11]], ids=name
)  # a CNN, tokens, channels last


every_mode = pytest.mark.parametrize(
    "mode", [torch.enable_grad, torch.no_grad, torch.inference_mode]
)
