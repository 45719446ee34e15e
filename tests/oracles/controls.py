"""Controls, which know nothing of the network, computed again slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles.evidence import cells_of
from oracles.family import Family

if TYPE_CHECKING:
    from helpers.input_studies import Studied


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


# How the tests call these methods, and the mistakes that they have to see


AT_THE_INPUT: Family[Studied] = Family(
    oracles={
        "centre:width=0.3": lambda s: centre(s.activations.shape[2:], 0.3).expand(3, -1, -1),
    },
    doctored={
        "centre": {
            "half a cell away": lambda s: s.expected("centre").roll(1, 1),
            "not squared": lambda s: s.expected("centre").sqrt(),
        },
    },
    tried={"centre": ["cnn, a layer", "transformer, a layer"]},
)
