"""The maps of windows laid together on a canvas over the whole picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.finish import AxisSpan, along_axes, at_places
from limelight.methods.tiles import WindowBox

#: The most cells of a canvas: 2048 x 2048 for a picture, 161 x 161 x 161 for a volume.
MAX_CELLS = 2**22

#: The weight at a window's very border and beyond its map, so that no place is without one.
_LEAST_WEIGHT = 1e-6


class _Covered(NamedTuple):
    """The fine cells of a canvas that a window covers, along one axis.

    Attributes:
        first: The first of them.
        places: Where their centres lie in the window, in window lengths.
        weight: How much the window counts there.
    """

    first: int
    places: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class _CanvasAxis:
    """One axis of a canvas: cells of the size that the windows' maps have.

    Attributes:
        length: The picture's length, in pixels.
        origin: Where the first cell begins: before the picture if the network pads it.
        fine: The size of a cell of a window's map.
        factor: How many of these one cell of the canvas holds, so that there are not too many.
        cells: How many cells the canvas has.
        seen: The part of a window that the network sees, in window lengths.
        mapped: The part of a window that its map covers.
        ramp: Over which share of a window its weight rises from the border.
    """

    length: int
    origin: float
    fine: float
    factor: int
    cells: int
    seen: tuple[float, float]
    mapped: tuple[float, float]
    ramp: float

    @classmethod
    def over(
        cls, length: int, side: int, grid: int, span: AxisSpan, *, overlap: float, most: int
    ) -> _CanvasAxis:
        """Return the axis for windows of a side, whose maps have so many cells along it."""
        origin, fine = span.start * side, span.length * side / grid
        count = max(1, math.ceil((length - origin) / fine - 1e-6))
        factor = math.ceil(count / most)
        seen = span.seen_from, span.seen_to
        mapped = max(0.0, span.start), min(1.0, span.end)
        ramp = min(overlap, 0.5)
        return cls(length, origin, fine, factor, math.ceil(count / factor), seen, mapped, ramp)

    @property
    def span(self) -> AxisSpan:
        """Where the canvas lies on the picture."""
        end = self.origin + self.cells * self.factor * self.fine
        return AxisSpan(self.origin / self.length, end / self.length)

    def covered(self, along: slice) -> _Covered:
        """Return the cells that a window covers; at the picture's ends those beyond it, too."""
        count, side = self.cells * self.factor, along.stop - along.start

        def first_from(pixel: int) -> int:
            return math.ceil((pixel - self.origin) / self.fine - 0.5)

        first = 0 if along.start == 0 else min(max(0, first_from(along.start)), count - 1)
        end = count if along.stop == self.length else max(first + 1, first_from(along.stop))
        cells = torch.arange(first, min(end, count), dtype=torch.float64, device="cpu")
        places = ((cells + 0.5) * self.fine + self.origin - along.start) / side
        begins, ends = self.mapped
        inner = torch.minimum(places - begins, ends - places)
        weight = (inner / self.ramp if self.ramp else (inner > 0).double()).clamp(_LEAST_WEIGHT, 1)
        low, high = self.seen
        is_seen = (places >= low) & (places <= high)
        return _Covered(first, places, torch.where(is_seen, weight, 0) if self._cuts else weight)

    @property
    def _cuts(self) -> bool:
        return self.seen != (0.0, 1.0)


class Canvas:
    """The maps of windows, averaged where windows overlap: `sum_w t_w L_w / sum_w t_w`.

    The weight `t_w` of a window falls linearly to the border of its map, over the overlap; so
    there are no seams, and what zero padding does at a window's border hardly counts. Each map is
    interpolated at the centres of the canvas's cells, which have the size of the map's own. Where
    these would be too many, a cell holds the mean of several.
    """

    def __init__(
        self,
        shape: Sequence[int],
        size: Sequence[int],
        maps: Tensor,
        span: Sequence[AxisSpan],
        *,
        overlap: float,
    ) -> None:
        """Begin with nothing on the canvas.

        Args:
            shape: The picture's size, in pixels.
            size: The windows' size.
            maps: Maps of a window, `[B, *grid]`, as all will be.
            span: Where their grid lies on the window.
            overlap: Which share of a window the next one covers.
        """
        most = round(MAX_CELLS ** (1 / len(shape)))
        spans = along_axes(span, len(shape))
        self._axes = [
            _CanvasAxis.over(*each, overlap=overlap, most=most)
            for each in zip(shape, size, maps.shape[1:], spans, strict=True)
        ]
        dtype = torch.promote_types(maps.dtype, torch.float32)
        cells = [axis.cells for axis in self._axes]
        self._sum = torch.zeros(len(maps), *cells, dtype=dtype, device=maps.device)
        self._weight = torch.zeros(cells, dtype=dtype, device=maps.device)

    @property
    def span(self) -> tuple[AxisSpan, ...]:
        """Where the canvas lies on the picture."""
        return tuple(axis.span for axis in self._axes)

    def add(self, box: WindowBox, maps: Tensor, span: Sequence[AxisSpan]) -> None:
        """Lay the maps of a window, `[B, *grid]`, on the canvas."""
        covered = [axis.covered(along) for axis, along in zip(self._axes, box, strict=True)]
        values = at_places(maps.to(self._sum), [along.places for along in covered], span)
        weights = torch.ones((), dtype=self._sum.dtype, device=self._sum.device)
        for along in covered:
            weights = weights[..., None] * along.weight.to(self._sum)
        for axis, (along, of_canvas) in enumerate(zip(covered, self._axes, strict=True)):
            if of_canvas.factor > 1:
                ones = torch.ones_like(along.weight).to(values)
                counts = _pooled(ones, 0, along.first, of_canvas.factor)
                values = _pooled(values, axis + 1, along.first, of_canvas.factor)
                values = values / counts.reshape(-1, *(1,) * (values.ndim - 2 - axis))
                weights = _pooled(weights, axis, along.first, of_canvas.factor)
        inside = tuple(
            slice(along.first // axis.factor, along.first // axis.factor + length)
            for along, axis, length in zip(covered, self._axes, weights.shape, strict=True)
        )
        self._sum[:, *inside] += values * weights
        self._weight[inside] += weights

    def raw(self) -> Tensor:
        """Return the raw maps of the whole picture; 0 where no window sees it."""
        return self._sum / torch.where(self._weight > 0, self._weight, 1)


def _pooled(values: Tensor, axis: int, first: int, factor: int) -> Tensor:
    """Add up the values of cells along an axis that lie in the same cell of the canvas."""
    cells = torch.arange(first, first + values.shape[axis], device=values.device) // factor
    cells = cells - first // factor
    pooled = values.new_zeros(*values.shape[:axis], int(cells[-1]) + 1, *values.shape[axis + 1 :])
    return pooled.index_add_(axis, cells, values)
