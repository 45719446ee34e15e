"""The three steps from a raw map to a heatmap: relu, resize, normalise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate


class AxisSpan(NamedTuple):
    """Where a grid lies on the picture along one axis, in picture lengths: 0 to 1 is the picture.

    Attributes:
        start, end: Where the first cell begins and the last one ends. They reach past the picture
            where the network pads it, and end inside it where the network crops it.
        seen_from, seen_to: The part of the picture that the network sees.
    """

    start: float
    end: float
    seen_from: float = 0.0
    seen_to: float = 1.0

    @property
    def length(self) -> float:
        """How long the grid is, in picture lengths."""
        return self.end - self.start

    def __str__(self) -> str:
        """Return the span in words, as in `10% to 90%`."""
        start = "" if abs(self.start) < 5e-4 else f"{self.start:.0%} to "
        return f"{start}{self.end:.0%}"


def along_axes(span: Sequence[AxisSpan], axes: int) -> tuple[AxisSpan, ...]:
    """Return a span with an entry for each of the axes; () stands for the whole picture."""
    return tuple(span) or (AxisSpan(0.0, 1.0),) * axes


_INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


def relu(raw: Tensor) -> Tensor:
    """Keep what speaks for the score: `max(raw, 0)` (Selvaraju et al. 2017, eq. 2).

    NaN becomes 0 here, so that a heatmap never holds NaN; the status says that it happened.
    """
    return raw.nan_to_num(0, 0, 0).relu()


def resize(
    maps: Tensor,
    size: Sequence[int],
    span: Sequence[AxisSpan] = (),
    matrices: Sequence[Tensor] | None = None,
) -> Tensor:
    """Interpolate maps `[B, *grid]` linearly to `[B, *size]`, cell centres over pixel centres.

    Args:
        maps: The maps.
        size: The size wanted.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture. A
            grid that reaches past the picture is cropped to it; a grid that ends before the picture
            is continued with its last cells, as far as the network sees the picture. The part that
            it does not see is 0.
        matrices: Those of `resize_matrices`, to interpolate by products; None to do it otherwise.
    """
    if tuple(maps.shape[1:]) == tuple(size) and not span:
        return maps
    if matrices is not None:
        larger = maps
        for axis, matrix in enumerate(matrices, start=1):
            larger = (larger.movedim(axis, -1) @ matrix.to(larger)).movedim(-1, axis)
    elif span:
        larger = maps
        for axis, (n, along) in enumerate(zip(size, span, strict=True), start=1):
            larger = _resize_axis(larger, axis, n, along)
    else:
        mode = _INTERPOLATIONS[len(size)]
        larger = interpolate(maps[:, None], size=tuple(size), mode=mode, align_corners=False)[:, 0]
    # Rounding must not leave the range of the map: a constant map stays constant.
    low, high = _extremes(maps)
    larger = larger.clamp(min=low).clamp(max=high)  # two steps are four times as fast as one
    for axis, (n, along) in enumerate(zip(size, span, strict=False), start=1):
        if (along.seen_from, along.seen_to) != (0, 1):
            seen = _seen(torch.arange(n, device="cpu"), n, along).to(larger)
            larger = larger * seen.reshape(-1, *(1,) * (larger.ndim - 1 - axis))
    return larger


def resize_matrices(
    grid: Sequence[int], size: Sequence[int], span: Sequence[AxisSpan] = ()
) -> list[Tensor]:
    """Return what interpolates along each axis when it is multiplied, `[g, n]`: see `resize`.

    A product is the shortest form of it in a graph of operators.
    """
    matrices = []
    for g, n, along in zip(grid, size, along_axes(span, len(size)), strict=True):
        cells = torch.eye(g, dtype=torch.float32, device="cpu")
        matrices.append(_resize_axis(cells, 1, n, along))
    return matrices


def _resize_axis(maps: Tensor, axis: int, n: int, span: AxisSpan) -> Tensor:
    """Interpolate maps along one axis to the centres of `n` samples of the picture."""
    return _at_places(maps, axis, _centres(torch.arange(n, device="cpu"), n), span)


def at_places(maps: Tensor, places: Sequence[Tensor], span: Sequence[AxisSpan] = ()) -> Tensor:
    """Interpolate maps `[B, *grid]` linearly at places of the picture, `[B, n, m, ...]`.

    Args:
        maps: The maps.
        places: Along each axis, the places `[n]`, in picture lengths.
        span: Where the grid lies on the picture; () if it covers the picture.
    """
    spans = along_axes(span, maps.ndim - 1)
    for axis, (along, where) in enumerate(zip(spans, places, strict=True), start=1):
        maps = _at_places(maps, axis, where, along)
    return maps


def _at_places(maps: Tensor, axis: int, places: Tensor, span: AxisSpan) -> Tensor:
    """Interpolate maps along one axis at places of the picture."""
    before, after, share = _cells(places, maps.shape[axis], span)
    before, after = before.to(maps.device), after.to(maps.device)
    share = share.to(maps).reshape(-1, *(1,) * (maps.ndim - 1 - axis))
    return torch.lerp(maps.index_select(axis, before), maps.index_select(axis, after), share)


def _centres(samples: Tensor, n: int) -> Tensor:
    """Return where the centres of samples of `n` lie, in picture lengths."""
    return (samples.double() + 0.5) / n


def _cells(places: Tensor, g: int, span: AxisSpan) -> tuple[Tensor, Tensor, Tensor]:
    """Return for places the cells of `g` before and after them, and the second's share."""
    cells = ((places - span.start) / span.length * g - 0.5).clamp(0, g - 1)
    before = cells.floor().long()
    return before, (before + 1).clamp(max=g - 1), cells - before


def _seen(samples: Tensor, n: int, span: AxisSpan) -> Tensor:
    """Return whether the network sees the picture at samples of `n` along an axis."""
    places = _centres(samples, n)
    return (places >= span.seen_from) & (places <= span.seen_to)


def onto_picture(maps: Tensor, span: Sequence[AxisSpan]) -> Tensor:
    """Return maps on a grid with cells of about the same size that covers exactly the picture."""
    if not span:
        return maps
    grid = [max(1, round(g / s.length)) for g, s in zip(maps.shape[1:], span, strict=True)]
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


def finish(
    raw: Tensor,
    size: Sequence[int],
    span: Sequence[AxisSpan] = (),
    matrices: Sequence[Tensor] | None = None,
) -> Tensor:
    """Turn raw maps `[B, *grid]` into heatmaps `[B, *size]` in [0, 1]: the three steps in order.

    For `matrices` see `resize`.
    """
    return normalise(resize(relu(raw), size, span, matrices))


class FinishedInPieces:
    """The heatmap that `finish` makes of one raw map `[h, w]`, for pictures too large to hold it.

    `heat[top:bottom, left:right]` is computed when it is read. Except for rounding, it equals that
    part of `finish(raw[None], (H, W), span)[0]`. With `highest`, it is only resized and divided by
    that, and is in [-1, 1].

    Attributes:
        shape: H and W.
    """

    def __init__(
        self,
        raw: Tensor,
        size: Sequence[int],
        span: Sequence[AxisSpan] = (),
        *,
        highest: float | None = None,
    ) -> None:
        """Find the extremes of the whole heatmap, without computing all of it."""
        self.shape: torch.Size = torch.Size(size)
        kept = raw.detach().cpu()
        self._grid = (relu(kept) if highest is None else kept).to(
            torch.promote_types(raw.dtype, torch.float32)
        )
        self._span = along_axes(span, raw.ndim)
        self._least = 0.0 if highest is None else -1.0
        if highest is not None:
            self._low, self._high = 0.0, highest
            return
        ends = [each.aminmax() for each in self._at_borders()]
        self._low = min(float(end.min) for end in ends)
        self._high = max(float(end.max) for end in ends)

    def __getitem__(self, where: tuple[slice, slice]) -> Tensor:
        """Return a part of the heatmap, in [0, 1]; in [-1, 1] with `highest`."""
        rows, columns = (
            torch.arange(*part.indices(n), device="cpu")
            for part, n in zip(where, self.shape, strict=True)
        )
        scaled = (self._resized(rows, columns) - self._low) / ((self._high - self._low) or 1)
        return scaled.clamp(self._least, 1)

    def _resized(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Interpolate the grid at rows and columns of the picture."""
        (top, bottom, down), (left, right, across) = self._cells(rows, 0), self._cells(columns, 1)
        first = int(top[0])
        cells = self._grid[first : int(bottom[-1]) + 1]
        by_row = torch.lerp(cells[:, left], cells[:, right], across)
        resized = torch.lerp(by_row[top - first], by_row[bottom - first], down[:, None])
        seen_rows, seen_columns = (
            _seen(samples, self.shape[axis], self._span[axis])
            for axis, samples in enumerate((rows, columns))
        )
        return resized * (seen_rows[:, None] & seen_columns)

    def _cells(self, samples: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cells before and after samples along an axis, and the share of the second."""
        size, span = self.shape[axis], self._span[axis]
        before, after, share = _cells(_centres(samples, size), self._grid.shape[axis], span)
        return before, after, share.to(self._grid)

    def _at_borders(self) -> Iterator[Tensor]:
        """Yield the samples next to the centres of cells; the extremes are among them.

        Between four centres a bilinear function has its extremes at the outermost samples.
        """
        rows, columns = (self._next_to_centres(axis) for axis in (0, 1))
        for part in torch.split(rows, max(1, _VALUES_AT_ONCE // len(columns))):
            yield self._resized(part, columns)

    def _next_to_centres(self, axis: int) -> Tensor:
        """Return the samples next to centres of cells and to the ends of what the network sees."""
        cells, n, g = self._grid.shape[axis], self.shape[axis], self._span[axis]
        centres = (torch.arange(cells, dtype=torch.float64, device="cpu") + 0.5) / cells
        places = [*(g.start + centres * g.length).tolist(), g.seen_from, g.seen_to]
        near = (torch.tensor(places, dtype=torch.float64, device="cpu") * n - 0.5).floor().long()
        samples: Tensor = torch.unique(
            (near[:, None] + torch.arange(-1, 3, device="cpu")).clamp(0, n - 1)
        )
        return samples


#: How many values are computed at a time to find the extremes.
_VALUES_AT_ONCE = 2**20
