"""Noisy linear imputation: removed pixels become what their neighbours say (Rong et al. 2022).

Every removed pixel is the weighted mean of its neighbours, known or removed: one sparse linear
system, symmetric and positive definite, `d_i x_i - sum_removed w_ij x_j = sum_known w_ij x_j`. It
is solved by conjugate gradients, preconditioned by a multigrid cycle over blocks of cells, for a
whole batch at once on the tensor's own device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

Offset = tuple[int, ...]
Place = tuple[slice | EllipsisType, ...]

#: More steps than the solver ever takes.
_MOST_STEPS = 500


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Replace removed pixels by the weighted means of their neighbours, all at once.

    Neighbours along one axis weigh twice as much as those along two, and so on: of a picture 1/6
    the four direct ones and 1/12 the four diagonal ones (Rong et al. 2022). At the
    border the weights of the neighbours that there are are scaled to sum to 1.

    Args:
        images: `[M, C, *image]`, or one image `[C, *image]` for all.
        removed: `[M, *image]`, True where a pixel is removed; of each image one pixel has to stay.

    Returns:
        The images `[M, C, *image]`, untouched where nothing was removed.
    """
    size = removed.shape[1:]
    images = images.expand(len(removed), *images.shape[-len(size) - 1 :])
    gone = removed[:, None]
    known = torch.where(gone, 0, images)
    links = {
        offset: torch.ones_like(gone, dtype=images.dtype)[_from(offset)] * _weight(offset)
        for offset in _offsets(len(size))
    }
    whole = _Grid(torch.zeros_like(gone, dtype=images.dtype), links)
    total = -whole.apply(torch.ones_like(gone, dtype=images.dtype))  # of the weights that there are
    inner = {
        offset: link * gone[_from(offset)] * gone[_to(offset)] for offset, link in links.items()
    }
    system = _Grid(torch.where(gone, total, 0), inner)
    right = torch.where(gone, -whole.apply(known), 0)
    return torch.where(gone, _solve(system, right, known, gone), images)


def _solve(system: _Grid, right: Tensor, known: Tensor, gone: Tensor) -> Tensor:
    """Solve by preconditioned conjugate gradients, each image and channel with steps of its own."""
    axes = tuple(range(2, right.ndim))
    # Begin at the mean of what is known: where a lot is gone, most of it is that.
    count = (~gone).sum(axes, keepdim=True).to(right)
    x = torch.where(gone, known.sum(axes, keepdim=True) / count, 0)
    residual = right - system.apply(x)
    limit = torch.finfo(right.dtype).eps ** 0.75 * _dot(right, right, axes).sqrt()
    direction, before = torch.zeros_like(x), torch.ones_like(limit)
    for _ in range(_MOST_STEPS):
        going = _dot(residual, residual, axes).sqrt() > limit
        if not going.any():
            break
        better = system.cycle(residual)
        now = _dot(residual, better, axes)
        direction = better + torch.where(going, now / before, 0) * direction
        ahead = system.apply(direction)
        bend = _dot(direction, ahead, axes)
        step = torch.where(going & (bend > 0), now / torch.where(bend > 0, bend, 1), 0)
        x = x + step * direction
        residual = residual - step * ahead
        before = torch.where(now > 0, now, 1)
    return x


class _Grid:
    """A linear system on a grid whose cells are linked with their neighbours.

    Attributes:
        diagonal: `[M, 1, *grid]`; 0 where nothing is to be found.
        links: By offset o, for the cells i that have a neighbour i + o, minus the entry of both.
    """

    def __init__(self, diagonal: Tensor, links: dict[Offset, Tensor]) -> None:
        self.diagonal, self.links = diagonal, links

    def apply(self, x: Tensor) -> Tensor:
        """Return the matrix times x `[M, C, *grid]`."""
        y = self.diagonal * x
        for offset, link in self.links.items():
            here, there = _from(offset), _to(offset)
            y[here] -= link * x[there]
            y[there] -= link * x[here]
        return y

    def cycle(self, right: Tensor) -> Tensor:
        """Solve about: smooth, correct on blocks of cells, smooth again."""
        x = self._damping * right
        coarse = self._coarse
        if coarse is None:
            for _ in range(4):
                x = x + self._damping * (right - self.apply(x))
            return x
        left = right - self.apply(x)
        # Blocks move as a whole, which is too stiff: the correction is stretched.
        x = x + 1.5 * self._spread(coarse.cycle(_sums(left)))
        return x + self._damping * (right - self.apply(x))

    @cached_property
    def _damping(self) -> Tensor:
        return torch.where(self.diagonal > 0, 0.8 / self.diagonal, 0)

    @cached_property
    def _coarse(self) -> _Grid | None:
        """The system of blocks of two cells along each axis; None when there is nothing left."""
        size = self.diagonal.shape[2:]
        if max(size) <= 2:
            return None
        axes = len(size)
        diagonal = _sums(self.diagonal)
        links = {
            offset: diagonal.new_zeros(diagonal[_from(offset)].shape) for offset in _offsets(axes)
        }
        for offset, link in self.links.items():
            # A link belongs to the cell that it begins at: the others of a block have none.
            full = torch.zeros_like(self.diagonal)
            full[_from(offset)] = link
            for parity in product((0, 1), repeat=axes):
                cells: Place = (..., *(slice(p, None, 2) for p in parity))
                part = full[cells]
                between = tuple((p + o) // 2 for p, o in zip(parity, offset, strict=True))
                inside: Place = (..., *(slice(n) for n in part.shape[2:]))
                if not any(between):
                    diagonal[inside] -= 2 * part
                    continue
                # Numbered from the block that comes first.
                forward = between in links
                at = between if forward else tuple(-b for b in between)
                whole = torch.zeros_like(diagonal)
                whole[inside] = part
                links[at] += whole[_from(at)] if forward else whole[_to(at)]
        return _Grid(diagonal, links)

    def _spread(self, coarse: Tensor) -> Tensor:
        """Give every cell the value of its block."""
        for axis in range(2, coarse.ndim):
            size = self.diagonal.shape[axis]
            coarse = coarse.repeat_interleave(2, axis).narrow(axis, 0, size)
        return torch.where(self.diagonal > 0, coarse, 0)


def _sums(cells: Tensor) -> Tensor:
    """Add up blocks of two cells along each axis."""
    for axis in range(2, cells.ndim):
        even = cells[(slice(None),) * axis + (slice(0, None, 2),)]
        odd = cells[(slice(None),) * axis + (slice(1, None, 2),)]
        total = even.clone()
        total.narrow(axis, 0, odd.shape[axis]).add_(odd)
        cells = total
    return cells


def _offsets(axes: int) -> list[Offset]:
    """Return one of each pair of opposite steps to a neighbour."""
    return [step for step in product((-1, 0, 1), repeat=axes) if step > (0,) * axes]


def _weight(offset: Offset) -> float:
    """Return the weight of a neighbour, of all 3^axes - 1 that sum to 1."""
    axes = len(offset)
    every = (one for one in product((-1, 0, 1), repeat=axes) if any(one))
    return _halved(offset) / sum(map(_halved, every))


def _halved(offset: Offset) -> float:
    return 0.5 ** (sum(map(abs, offset)) - 1)


def _from(offset: Offset) -> Place:
    """Return the cells that have a neighbour at an offset."""
    return (..., *(slice(max(-o, 0), -o if o > 0 else None) for o in offset))


def _to(offset: Offset) -> Place:
    """Return the neighbours of those."""
    return _from(tuple(-o for o in offset))


def _dot(a: Tensor, b: Tensor, axes: Sequence[int]) -> Tensor:
    return (a * b).sum(tuple(axes), keepdim=True)
