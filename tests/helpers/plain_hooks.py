"""Grad-CAM by plain hooks, for networks of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oracles.evidence import Grid, channels_first, probe
from oracles.weighted import gradcam

PICTURE = (3, 32, 48)
CLASS = 1


def pictures(count: int = 2, size: Sequence[int] = PICTURE) -> Tensor:
    return torch.randn(count, *size, dtype=torch.float64)


def by_hand(
    model: nn.Module,
    layer: str,
    inputs: Any,
    score: Callable[[Any], Tensor] = lambda y: y[:, CLASS],
    grid: Grid = channels_first,
    call: int = 1,
) -> Tensor:
    """Grad-CAM's raw map from plain hooks and a full backward of a copy in evaluation mode."""
    found = probe(model, layer, inputs, score, grid, call=call)
    return gradcam(found.activations, found.gradients)


def correlation(one: Tensor, other: Tensor) -> float:
    pair = torch.stack([one.detach().flatten().double(), other.detach().flatten().double()])
    return torch.corrcoef(pair)[0, 1].item()
