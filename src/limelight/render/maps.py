"""Maps drawn cell by cell: signed ones in colours around zero, others in colours from zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: The colour maps of maps with negative values, zero in the middle, and of all others.
SIGNED, SEQUENTIAL = "RdBu_r", "inferno"


def limits(values: Tensor, *, signed: bool) -> tuple[float, float]:
    """Return the values of the first and the last colour: from -m to m, or from 0 to m.

    A map is `signed` when its values can speak for or against a score, even if all speak for it.
    Other maps begin at 0 unless they have negative values.
    """
    finite = values[values.isfinite()]
    most = float(finite.abs().max()) if finite.numel() else 0.0
    return (-most if most and (signed or bool((values < 0).any())) else 0.0), most


def laid_out(values: Tensor) -> Tensor:
    """Return a map `[*grid]` as a table `[rows, columns]`.

    A signal is one row. The slices of a volume stand in rows of `across(values)`; the places left
    in the last row are NaN.
    """
    if values.ndim == 1:
        return values[None]
    if values.ndim == 2:
        return values
    import torch

    columns = across(values)
    missing = values.new_full((-len(values) % columns, *values.shape[1:]), torch.nan)
    rows = torch.cat([values, missing]).reshape(-1, columns, *values.shape[1:])
    return rows.movedim(1, 2).flatten(2).flatten(0, 1)


def across(values: Tensor) -> int:
    """Return how many slices of a volume `[D, H, W]` stand side by side; 1 for any other map."""
    return math.ceil(math.sqrt(len(values))) if values.ndim == 3 else 1
