"""Noisy linear imputation: removed pixels become means of their neighbours (Rong et al. 2022).

Every removed pixel is the weighted mean of its neighbours, known or removed: one sparse linear
system, symmetric and positive definite, `d_i x_i - sum_removed w_ij x_j = sum_known w_ij x_j`. It
is solved by conjugate gradients, preconditioned by a multigrid cycle, for a whole batch at once on
the tensor's own device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

from limelight.evidence import at_least_float32

Offset = tuple[int, ...]


CellSlices = tuple[slice | EllipsisType, ...]


#: More steps than the solver takes in practice.
_MOST_STEPS = 500


#: How many numbers of images are worked on together on a CPU.
_IN_CACHE = 600_000


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Replace removed pixels by the weighted means of their neighbours, all at once.

    Neighbours along one axis weigh twice as much as those along two, and so on: in a picture the
    four direct ones weigh 1/6 and the four diagonal ones 1/12 (Rong et al. 2022). At the border,
    where some are missing, the weights of the others are scaled to sum to 1.

    Args:
        images: `[M, C, *image]`, or one image `[C, *image]` for all.
        removed: `[M, *image]`, True where a pixel is removed; in each image one pixel has to stay.

    Returns:
        The images `[M, C, *image]`, untouched where nothing was removed.
    """
    dtype = images.dtype
    images = at_least_float32(images).expand(len(removed), *images.shape[-removed.ndim :])
    # On a CPU a chunk has to stay in the caches.
    chunk = max(1, _IN_CACHE // images[0].numel()) if images.device.type == "cpu" else len(removed)
    pairs = zip(torch.split(images, chunk), torch.split(removed[:, None], chunk), strict=True)
    imputed = [torch.where(gone, _solve(some, gone), some) for some, gone in pairs]
    return torch.cat(imputed).to(dtype)


def _solve(images: Tensor, gone: Tensor) -> Tensor:
    """Solve by preconditioned conjugate gradients, separately for each image and channel."""
    known, axes = torch.where(gone, 0, images), tuple(range(2, images.ndim))
    system = _Pixels(gone, images.dtype)
    right = torch.where(gone, _neighbours(known), 0)
    # Begin at the mean of the known pixels: where many are gone, most end near it.
    count = (~gone).sum(axes, keepdim=True).to(right)
    x = torch.where(gone, known.sum(axes, keepdim=True) / count, 0)
    residual = right - system.apply(x)
    limit = torch.finfo(right.dtype).eps ** 0.75 * _dot(right, right, axes).sqrt()
    direction, before = torch.zeros_like(x), torch.ones_like(limit)
    for _ in range(_MOST_STEPS):
        unsolved = _dot(residual, residual, axes).sqrt() > limit
        if not unsolved.any():
            break
        preconditioned = system.cycle(residual)
        now = _dot(residual, preconditioned, axes)
        direction.mul_(torch.where(unsolved, now / before, 0)).add_(preconditioned)
        image = system.apply(direction)
        curvature = _dot(direction, image, axes)
        step = torch.where(
            unsolved & (curvature > 0), now / torch.where(curvature > 0, curvature, 1), 0
        )
        x.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        before = torch.where(now > 0, now, 1)
    return x


class _System(ABC):
    """A linear system over cells that are linked with their neighbours.

    Attributes:
        diagonal: `[M, 1, *grid]`; 0 for cells that are known.
    """

    diagonal: Tensor

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """Return the matrix times x `[M, C, *grid]`, which is 0 for known cells."""

    def cycle(self, right: Tensor) -> Tensor:
        """Solve approximately: smooth, correct on every other cell, smooth again."""
        x = self._damping * right
        if self._coarse is None:
            for _ in range(4):
                self._smooth(x, right)
            return x
        left = right - self.apply(x)
        x += self._finer(self._coarse.cycle(self._coarser(left)))
        self._smooth(x, right)
        return x

    def _smooth(self, x: Tensor, right: Tensor) -> None:
        """Correct every cell by its residual."""
        x.addcmul_(self._damping, right - self.apply(x))

    @cached_property
    def _unknown(self) -> Tensor:
        """1 for the cells to be found, else 0."""
        return (self.diagonal > 0).to(self.diagonal)

    @cached_property
    def _damping(self) -> Tensor:
        return 0.8 * self._unknown / torch.where(self.diagonal > 0, self.diagonal, 1)

    @cached_property
    def _coarse(self) -> _Cells | None:
        """The system of every other cell along each axis; None for two cells or fewer.

        Its matrix interpolates to the finer grid, applies this system, and transposes back. A cell
        is then linked with its neighbours alone, so that every third one can be tried at once.
        """
        size = [(length + 1) // 2 for length in self.diagonal.shape[2:]]
        if max(self.diagonal.shape[2:]) <= 2:
            return None
        axes = len(size)
        thirds = list(product(range(3), repeat=axes))
        units = self.diagonal.new_zeros(1, len(thirds), *size)
        for number, third in enumerate(thirds):
            cells: CellSlices = (..., *(slice(start, None, 3) for start in third))
            units[:, number][cells] = 1
        products = self._coarser(self.apply(self._finer(units)))
        diagonal = (units * products).sum(1, keepdim=True)
        links = {
            offset: -(units[_to(offset)] * products[_from(offset)]).sum(1, keepdim=True)
            for offset in _offsets(axes)
        }
        return _Cells(diagonal, links)

    def _finer(self, coarse: Tensor) -> Tensor:
        """Interpolate linearly from every other cell to all."""
        for axis in range(2, coarse.ndim):
            size = list(coarse.shape)
            size[axis] = self.diagonal.shape[axis]
            fine = coarse.new_empty(size)
            even, odd = _halves(fine, axis)
            even.copy_(coarse)
            between = coarse.shape[axis] - 1
            odd.copy_(coarse.narrow(axis, 0, odd.shape[axis]))  # the last has one neighbour alone
            odd.narrow(axis, 0, between).lerp_(coarse.narrow(axis, 1, between), 0.5)
            coarse = fine
        return coarse * self._unknown

    def _coarser(self, fine: Tensor) -> Tensor:
        """Return the transpose of `_finer`, applied to cells of this grid."""
        fine = fine * self._unknown
        for axis in range(2, fine.ndim):
            even, odd = _halves(fine, axis)
            coarse = even.clone()
            between = even.shape[axis] - 1
            half = odd.narrow(axis, 0, between) * 0.5
            coarse.narrow(axis, 0, between).add_(half)
            coarse.narrow(axis, 1, between).add_(half)
            if odd.shape[axis] > between:  # the last one has a neighbour on one side only
                coarse.narrow(axis, between, 1).add_(odd.narrow(axis, between, 1))
            fine = coarse
        return fine


class _Pixels(_System):
    """The system of the removed pixels."""

    def __init__(self, gone: Tensor, dtype: torch.dtype) -> None:
        self._gone = gone.to(dtype)
        # At the border some neighbours are missing, so the weights sum to less than 1.
        self.diagonal = self._gone * _neighbours(torch.ones_like(self._gone[:1]))

    def apply(self, x: Tensor) -> Tensor:
        """Return the matrix times x."""
        return (self.diagonal * x).addcmul_(self._gone, _neighbours(x), value=-1)


class _Cells(_System):
    """The system of a coarser grid.

    A link at offset o is minus the matrix entry of i and i + o, for cells i with such a neighbour.
    """

    def __init__(self, diagonal: Tensor, links: dict[Offset, Tensor]) -> None:
        self.diagonal, self._links = diagonal, links

    def apply(self, x: Tensor) -> Tensor:
        """Return the matrix times x."""
        y = self.diagonal * x
        for offset, link in self._links.items():
            here, there = _from(offset), _to(offset)
            y[here].addcmul_(link, x[there], value=-1)
            y[there].addcmul_(link, x[here], value=-1)
        return y


def _neighbours(x: Tensor) -> Tensor:
    """Return the weighted sum of each cell's neighbours in `[M, C, *grid]`.

    The weights are a product of 1, 2, 1 along each axis, without the middle, divided by their sum.
    """
    axes = x.ndim - 2
    summed = x
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        along = summed * 2
        along.narrow(axis, 1, size - 1).add_(summed.narrow(axis, 0, size - 1))
        along.narrow(axis, 0, size - 1).add_(summed.narrow(axis, 1, size - 1))
        summed = along
    return summed.sub_(x, alpha=2**axes).mul_(1 / (4**axes - 2**axes))


def _halves(cells: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the even and the odd cells along an axis."""
    before = (slice(None),) * axis
    return cells[(*before, slice(0, None, 2))], cells[(*before, slice(1, None, 2))]


def _offsets(axes: int) -> list[Offset]:
    """Return the steps to half of the neighbours: one of each opposite pair."""
    return [step for step in product((-1, 0, 1), repeat=axes) if step > (0,) * axes]


def _from(offset: Offset) -> CellSlices:
    """Return the cells that have a neighbour at an offset."""
    return (..., *(slice(max(-o, 0), -o if o > 0 else None) for o in offset))


def _to(offset: Offset) -> CellSlices:
    """Return the neighbours of the cells of `_from`."""
    return _from(tuple(-o for o in offset))


def _dot(a: Tensor, b: Tensor, axes: Sequence[int]) -> Tensor:
    return (a * b).sum(tuple(axes), keepdim=True)
