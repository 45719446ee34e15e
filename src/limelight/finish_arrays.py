"""The three steps from a raw map to a heatmap, on arrays: what `finish.py` does, without torch.

Where a grid lies on the picture along an axis is a span: its start and end, and where the part
begins and ends that the network sees, in picture lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Span = tuple[float, float, float, float]

_WHOLE: Span = (0.0, 1.0, 0.0, 1.0)


def relu(raw: Array) -> Array:
    """Keep what speaks for the score: `max(raw, 0)`; NaN and infinity become 0."""
    finite: Array = np.nan_to_num(raw, nan=0, posinf=0, neginf=0)
    return np.asarray(np.maximum(finite, 0))


def resize(maps: Array, size: Sequence[int], span: Sequence[Span] = ()) -> Array:
    """Interpolate maps `[B, *grid]` linearly to `[B, *size]`, cell centres over pixel centres.

    Args:
        maps: The maps.
        size: The size wanted.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture. A
            grid that reaches past the picture is cropped to it; one that ends before the picture is
            continued with its last cells. The part that the network does not see is 0.
    """
    if tuple(maps.shape[1:]) == tuple(size) and not span:
        return maps
    spans = along_axes(span, maps.ndim - 1)
    larger = maps
    for axis, (n, along) in enumerate(zip(size, spans, strict=True), start=1):
        before, after, share = _cells(np.arange(n), n, maps.shape[axis], along, maps.dtype)
        low, high = np.take(larger, before, axis), np.take(larger, after, axis)
        larger = _between(low, high, _along(share, axis, maps.ndim))
    low, high = _extremes(maps)  # rounding must not leave the range of the map
    larger = np.clip(larger, low, high)
    for axis, (n, along) in enumerate(zip(size, spans, strict=True), start=1):
        if along[2:] != (0, 1):
            larger = larger * _along(_seen(np.arange(n), n, along), axis, maps.ndim)
    return larger


def normalise(maps: Array) -> Array:
    """Scale each map `[B, *size]` to [0, 1]: `(m - min m) / max (m - min m)`; a constant to 0."""
    low, high = _extremes(maps)
    return (maps - low) / np.where(high > low, high - low, np.ones_like(high))


def finish(raw: Array, size: Sequence[int], span: Sequence[Span] = ()) -> Array:
    """Turn raw maps `[B, *grid]` into heatmaps `[B, *size]` in [0, 1]: the three steps in order."""
    return normalise(resize(relu(raw), size, span))


def along_axes(span: Sequence[Span], axes: int) -> tuple[Span, ...]:
    """Return a span with an entry for each of the axes; () stands for the whole picture."""
    return (
        tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in span) or (_WHOLE,) * axes
    )


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
        raw: Array,
        size: Sequence[int],
        span: Sequence[Span] = (),
        *,
        highest: float | None = None,
    ) -> None:
        """Find the extremes of the whole heatmap, without computing all of it."""
        self.shape: tuple[int, ...] = tuple(size)
        self._grid = relu(raw) if highest is None else raw
        self._span = along_axes(span, raw.ndim)
        self._least = 0.0 if highest is None else -1.0
        self._low, self._high = (0.0, highest) if highest is not None else self._range()

    def __getitem__(self, where: tuple[slice, slice]) -> Array:
        """Return a part of the heatmap, in [0, 1]; in [-1, 1] with `highest`."""
        rows, columns = (
            np.arange(*part.indices(n)) for part, n in zip(where, self.shape, strict=True)
        )
        scaled = (self._resized(rows, columns) - self._low) / ((self._high - self._low) or 1)
        return scaled.clip(self._least, 1)

    def _range(self) -> tuple[float, float]:
        """Return the lowest and the highest value of the resized map.

        Between four centres of cells a bilinear function has its extremes at the outermost samples,
        so those next to the centres are enough.
        """
        rows, columns = (self._next_to_centres(axis) for axis in (0, 1))
        step = max(1, _VALUES_AT_ONCE // len(columns))
        parts = [rows[first : first + step] for first in range(0, len(rows), step)]
        ends = [(part.min(), part.max()) for part in (self._resized(r, columns) for r in parts)]
        return float(min(low for low, _ in ends)), float(max(high for _, high in ends))

    def _resized(self, rows: Array, columns: Array) -> Array:
        """Interpolate the grid at rows and columns of the picture."""
        (top, bottom, down), (left, right, across) = self._cells(rows, 0), self._cells(columns, 1)
        first = int(top[0])
        cells = self._grid[first : int(bottom[-1]) + 1]
        by_row = _between(cells[:, left], cells[:, right], across)
        resized = _between(by_row[top - first], by_row[bottom - first], down[:, None])
        seen_rows, seen_columns = (
            _seen(samples, self.shape[axis], self._span[axis])
            for axis, samples in enumerate((rows, columns))
        )
        return resized * (seen_rows[:, None] & seen_columns)

    def _cells(self, samples: Array, axis: int) -> tuple[Array, Array, Array]:
        cells, span = self._grid.shape[axis], self._span[axis]
        return _cells(samples, self.shape[axis], cells, span, self._grid.dtype)

    def _next_to_centres(self, axis: int) -> Array:
        """Return the samples next to centres of cells and to the ends of what the network sees."""
        cells, n = self._grid.shape[axis], self.shape[axis]
        start, end, seen_from, seen_to = self._span[axis]
        centres = start + (np.arange(cells) + 0.5) / cells * (end - start)
        near = np.floor(np.array([*centres, seen_from, seen_to]) * n - 0.5).astype(np.int64)
        return np.unique((near[:, None] + np.arange(-1, 3)).clip(0, n - 1))


#: How many values are computed at a time to find the extremes.
_VALUES_AT_ONCE = 2**20


def _centres(samples: Array, n: int) -> Array:
    """Return where the centres of samples of `n` lie, in picture lengths."""
    return (samples.astype(np.float64) + 0.5) / n


def _cells(
    samples: Array, n: int, cells: int, span: Span, kind: np.dtype[Any]
) -> tuple[Array, Array, Array]:
    """Return for samples of `n` the cells before and after them, and the second's share."""
    start, end, _, _ = span
    places = (_centres(samples, n) - start) / (end - start) * cells - 0.5
    places = places.clip(0, cells - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, cells - 1)
    return before, after, (places - before).astype(kind)


def _seen(samples: Array, n: int, span: Span) -> Array:
    """Return whether the network sees the picture at samples of `n` along an axis."""
    places = _centres(samples, n)
    return np.asarray((places >= span[2]) & (places <= span[3]))


def _between(low: Array, high: Array, share: Array) -> Array:
    return np.asarray(low + share * (high - low))


def _along(values: Array, axis: int, axes: int) -> Array:
    """Return values along one of several axes, to be multiplied."""
    return values.reshape(-1, *(1,) * (axes - 1 - axis))


def _extremes(maps: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest value of each map `[B, *size]`, `[B, 1, ...]`."""
    axes = tuple(range(1, maps.ndim))
    return maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
