"""The grid of a layer: how it is known, and whether its cells look where they lie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limelight.examination.observations import Observation
from limelight.layers import ModuleCall
from limelight.runtime.cells import CellPlaces

#: Cells look where they lie if, along every axis, the centres of what they look at correlate at
#: least so much with the places of the cells.
_LEAST_CORRELATION = 0.5

#: A grid of fewer cells than this says little.
_FEW_CELLS = 9


def grid_observation(call: ModuleCall) -> Observation:
    """Return how the output of the layer becomes a grid, and how that is known."""
    layout = call.layout
    assert layout is not None
    known = "measured" if call.measured else "from the operations" if call.settled else "a guess"
    grid = " x ".join(map(str, layout.grid))
    shape = list(call.shape)
    found = f"{layout} {shape}, a grid of {grid}, {known}"
    if math.prod(layout.grid) >= _FEW_CELLS:
        return Observation("layers", "grid", found)
    advice = "So few cells say little about where. Take an earlier layer, or a larger input."
    return Observation("layers", "grid", found, "note", advice)


def cells_observation(cells: CellPlaces) -> Observation:
    """Return whether cells look where they lie, by correlation along each axis."""
    axes = range(cells.energy.ndim)
    answering = (cells.energy > 0) & cells.centre.isfinite().all(0)
    silent = 1 - float(answering.float().mean())
    correlations = [
        _correlation(cells.centre[axis][answering], _own_places(cells, axis)[answering])
        for axis in axes
        if cells.energy.shape[axis] > 1
    ]
    likeness = min(correlations, default=1.0)
    spread = float(cells.spread[:, answering].mean())
    found = (
        f"places correlate by {likeness:.2f}; a cell looks {spread:.2f} of the picture around its "
        f"centre{f'; {silent:.0%} of the cells look at nothing' if silent else ''}"
    )
    if likeness >= _LEAST_CORRELATION:
        return Observation("place", "cells", found)
    advice = (
        f"At least {_LEAST_CORRELATION} was expected: the cells of this layer do not look where "
        "they lie, so a map on them says little about where. Take an earlier layer, or pass the "
        "sizes of the grid, grid=(height, width), if they were read wrongly."
    )
    return Observation("place", "cells", found, "note", advice)


def _own_places(cells: CellPlaces, axis: int) -> Tensor:
    """Return where each cell lies along an axis, `[*grid]`, in picture lengths."""
    sizes = cells.energy.shape
    starts_and_ends = [
        cells.extent([number if other == axis else 0 for other in range(len(sizes))])[axis]
        for number in range(sizes[axis])
    ]
    middles = torch.tensor(
        [(start + end) / 2 for start, end in starts_and_ends],
        dtype=cells.centre.dtype,
        device=cells.centre.device,
    )
    return middles.reshape([-1 if other == axis else 1 for other in range(len(sizes))]).expand(
        sizes
    )


def _correlation(first: Tensor, second: Tensor) -> float:
    """Return Pearson's correlation of two rows of numbers; 0 if one of them is constant."""
    pair = torch.stack([first.double(), second.double()])
    pair = pair - pair.mean(1, keepdim=True)
    norms = pair.norm(dim=1)
    return float((pair[0] * pair[1]).sum() / norms.prod()) if bool((norms > 0).all()) else 0.0
