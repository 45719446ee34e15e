"""Maps laid on the part of a picture that a network sees, from the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

#: Where a grid begins and ends along each axis of the picture, in pixels.
Part = tuple[tuple[float, float], ...]


def lay_out(maps: Tensor, size: Sequence[int], part: Part) -> Tensor:
    """Lay maps `[B, *grid]` on a part of a picture, and 0 on the rest of it.

    Cell i of g has its centre at `begin + (i + 0.5) (end - begin) / g` pixels; in between it is
    interpolated, and the outermost cells are continued up to the part's edges.
    """
    laid = maps.double().numpy()
    for axis, (pixels, (begin, end)) in enumerate(zip(size, part, strict=True), start=1):
        cells = laid.shape[axis]
        centres = begin + (np.arange(cells) + 0.5) * (end - begin) / cells
        at = np.arange(pixels) + 0.5
        inside = (at > begin) & (at < end)
        rows = np.moveaxis(laid, axis, -1)
        along = [np.interp(at, centres, row) * inside for row in rows.reshape(-1, cells)]
        laid = np.moveaxis(np.array(along).reshape(*rows.shape[:-1], pixels), -1, axis)
    return torch.from_numpy(laid)


def heat(raw: Tensor, size: Sequence[int], part: Part) -> Tensor:
    """Return relu, laid on the picture, scaled to [0, 1]."""
    laid = lay_out(raw.clamp(min=0), size, part or tuple((0, pixels) for pixels in size))
    low, high = laid.flatten(1).aminmax(dim=1)
    axes = (-1, *(1,) * len(size))
    return (laid - low.reshape(axes)) / (high - low).reshape(axes)
