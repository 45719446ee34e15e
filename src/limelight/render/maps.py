"""Maps as they are, cell by cell: colours of signed ones around zero, of others from zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Colours of maps with negative values, zero in the middle; and of all others.
SIGNED, SEQUENTIAL = "RdBu_r", "inferno"


def limits(values: Tensor, *, signed: bool) -> tuple[float, float]:
    """Return the values of the first and the last colour: from -m to m, or from 0 to m.

    Maps of what can speak for or against a score are `signed`, even where all speaks for it; others
    only where they have negative values.
    """
    finite = values[values.isfinite()]
    most = float(finite.abs().max()) if finite.numel() else 0.0
    return (-most if most and (signed or bool((values < 0).any())) else 0.0), most


def laid_out(values: Tensor) -> Tensor:
    """Return a map `[*grid]` as a table `[rows, columns]`.

    A signal is one row. The slices of a volume stand in rows of `across(values)`; where there is
    none left, it is NaN.
    """
    if values.ndim == 1:
        return values[None]
    if values.ndim == 2:
        return values
    wide = across(values)
    missing = values.new_full((-len(values) % wide, *values.shape[1:]), torch.nan)
    rows = torch.cat([values, missing]).reshape(-1, wide, *values.shape[1:])
    return rows.movedim(1, 2).flatten(2).flatten(0, 1)


def across(values: Tensor) -> int:
    """Return how many slices of a volume `[D, H, W]` stand side by side; 1 of anything else."""
    return math.ceil(math.sqrt(len(values))) if values.ndim == 3 else 1
