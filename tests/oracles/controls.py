"""Controls, which know nothing of the network, computed again slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from oracles.evidence import cells_of


def uniform_ranks(count: int) -> Tensor:
    """Return the expected values of `count` draws from [0, 1], in order; Adebayo et al. 2018."""
    return torch.tensor([k / (count + 1) for k in range(1, count + 1)], dtype=torch.float64)


def centre(grid: Sequence[int], width: float) -> Tensor:
    """A Gaussian in the middle, `width` of a side wide; the prior of Zhang et al. 2018."""
    blob = torch.zeros(tuple(grid), dtype=torch.float64)
    for cell in cells_of(grid):
        away = [
            ((i + 0.5) / n - 0.5) / width for i, n in zip(cell, grid, strict=True)
        ]  # in widths, from the middle of the image to that of the cell
        blob[cell] = math.exp(-sum(a * a for a in away) / 2)
    return blob
