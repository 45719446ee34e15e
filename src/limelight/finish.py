"""The three steps from a raw map to a heatmap: relu, resize, normalise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

_INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


def relu(raw: Tensor) -> Tensor:
    """Keep what speaks for the score: `max(raw, 0)` (Selvaraju et al. 2017, eq. 2).

    NaN becomes 0 here, so that a heatmap never holds NaN; the status says that it happened.
    """
    return raw.nan_to_num(0, 0, 0).relu()


def resize(maps: Tensor, size: Sequence[int], span: Sequence[float] = ()) -> Tensor:
    """Interpolate maps `[B, *grid]` linearly to `[B, *size]`, cell centres over pixel centres.

    Args:
        maps: The maps.
        size: The size wanted.
        span: How long the grid is along each axis, in picture lengths; 1 when not given. A grid
            that reaches past the picture, because the network pads it, is cropped to the picture;
            a grid that ends before the picture is continued with its last cells.
    """
    if tuple(maps.shape[1:]) == tuple(size) and not span:
        return maps
    mode = _INTERPOLATIONS[len(size)]
    if span:
        larger = _laid_out(maps, size, span, mode)
    else:
        larger = interpolate(maps[:, None], size=tuple(size), mode=mode, align_corners=False)[:, 0]
    # Rounding must not leave the range of the map: a constant map stays constant.
    low, high = _extremes(maps)
    return larger.clamp(min=low).clamp(max=high)  # two steps are four times as fast as one


def _laid_out(maps: Tensor, size: Sequence[int], span: Sequence[float], mode: str) -> Tensor:
    """Interpolate maps on a grid that is longer or shorter than the picture along an axis."""
    grid = maps.shape[1:]
    missing = [max(0, math.ceil(g / s - g)) for g, s in zip(grid, span, strict=True)]
    padding = [n for cells in reversed(missing) for n in (0, cells)]
    longer = pad(maps[:, None], padding, mode="replicate") if any(missing) else maps[:, None]
    # The scale is slightly larger, so that rounding does not lose the last pixel.
    scale = [n * s / g * (1 + 1e-9) for n, s, g in zip(size, span, grid, strict=True)]
    large = interpolate(
        longer, scale_factor=scale, mode=mode, align_corners=False, recompute_scale_factor=False
    )
    return large[:, 0][:, *(slice(n) for n in size)]


def onto_picture(maps: Tensor, span: Sequence[float]) -> Tensor:
    """Return maps on a grid with cells of about the same size that covers exactly the picture."""
    if not span:
        return maps
    grid = [max(1, round(g / s)) for g, s in zip(maps.shape[1:], span, strict=True)]
    return resize(maps, grid, span)


def normalise(maps: Tensor) -> Tensor:
    """Scale each map `[B, *size]` to [0, 1]: `(m - min m) / max (m - min m)`.

    The overlay of the Grad-CAM article does the same. A constant map becomes 0 everywhere. There is
    no epsilon: a score times 1e-5 gives the same heatmap.
    """
    low, high = _extremes(maps)
    return (maps - low) / torch.where(high > low, high - low, 1)


def _extremes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value of each map `[B, *size]`, `[B, 1, ...]`."""
    axes = tuple(range(1, maps.ndim))
    return maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)


def finish(raw: Tensor, size: Sequence[int], span: Sequence[float] = ()) -> Tensor:
    """Turn raw maps `[B, *grid]` into heatmaps `[B, *size]` in [0, 1]: the three steps in order."""
    return normalise(resize(relu(raw), size, span))


class FinishedInPieces:
    """The heatmap that `finish` makes of one raw map `[h, w]`, for pictures too large to hold it.

    `heat[top:bottom, left:right]` is computed when it is read. Except for rounding, it equals that
    part of `finish(raw[None], (H, W), span)[0]`.

    Attributes:
        shape: H and W.
    """

    def __init__(self, raw: Tensor, size: Sequence[int], span: Sequence[float] = ()) -> None:
        """Find the extremes of the whole heatmap, without computing all of it."""
        self.shape = torch.Size(size)
        self._grid = relu(raw.detach().cpu()).to(torch.promote_types(raw.dtype, torch.float32))
        # Samples per cell of the grid.
        self._scale = [n * s / g for n, s, g in zip(size, span or (1, 1), raw.shape, strict=True)]
        ends = [each.aminmax() for each in self._at_borders()]
        self._low = min(float(end.min) for end in ends)
        self._high = max(float(end.max) for end in ends)

    def __getitem__(self, where: tuple[slice, slice]) -> Tensor:
        """Return a part of the heatmap, in [0, 1]."""
        rows, columns = (
            torch.arange(*part.indices(n), device="cpu")
            for part, n in zip(where, self.shape, strict=True)
        )
        scaled = (self._resized(rows, columns) - self._low) / ((self._high - self._low) or 1)
        return scaled.clamp(0, 1)

    def _resized(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Interpolate the grid at rows and columns of the picture."""
        (top, bottom, down), (left, right, across) = self._cells(rows, 0), self._cells(columns, 1)
        first = int(top[0])
        cells = self._grid[first : int(bottom[-1]) + 1]
        by_row = torch.lerp(cells[:, left], cells[:, right], across)
        return torch.lerp(by_row[top - first], by_row[bottom - first], down[:, None])

    def _cells(self, samples: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cells before and after samples along an axis, and the share of the second."""
        last = self._grid.shape[axis] - 1
        places = ((samples.double() + 0.5) / self._scale[axis] - 0.5).clamp(0, last)
        before = places.floor().long()
        return before, (before + 1).clamp(max=last), (places - before).to(self._grid)

    def _at_borders(self) -> Iterator[Tensor]:
        """Yield the samples next to the centres of cells; the extremes are among them.

        Between four centres a bilinear function has its extremes at the outermost samples.
        """
        rows, columns = (self._next_to_centres(axis) for axis in (0, 1))
        for part in torch.split(rows, max(1, _VALUES_AT_ONCE // len(columns))):
            yield self._resized(part, columns)

    def _next_to_centres(self, axis: int) -> Tensor:
        cells = torch.arange(self._grid.shape[axis], dtype=torch.float64, device="cpu")
        centres = (cells + 0.5) * self._scale[axis] - 0.5
        near = centres.floor().long()[:, None] + torch.arange(-1, 3, device="cpu")
        samples: Tensor = torch.unique(near.clamp(0, self.shape[axis] - 1))
        return samples


#: How many values are computed at a time to find the extremes.
_VALUES_AT_ONCE = 2**20
