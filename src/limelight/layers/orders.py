"""Orders in which the positions of an output can lie on a grid: by rows, windows, or their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.finish import AxisSpan, along_axes
from limelight.layers.layouts import Layout
from limelight.layers.moments import (
    IN_ORDER,
    SHARP,
    SILENT,
    Cells,
    KnownGrid,
    correlation,
)
from limelight.packing import KnownOrder

#: How near positions have to look to the middle of a cell, in cells; it is 0.25 by chance.
IN_CELL = 0.15

#: How many cells a network may have dropped for each that it kept.
_MOST_DROPPED = 16


class _Order(NamedTuple):
    """A grid, some positions, and for each of them the cell that it would be."""

    grid: tuple[int, ...]
    positions: Tensor  # [n]
    cells: Tensor  # [n]


def by_order(
    cells: Cells,
    sizes: Sequence[int],
    shape: Sequence[int],
    channels: int,
    resolved: Sequence[int],
    known: Sequence[KnownGrid],
    expected: Sequence[KnownOrder] = (),
) -> Layout | None:
    """Return the layout if the positions lie on a grid row by row, by windows, or as `expected`."""
    best: tuple[float, _Order] | None = None
    orders = _expected_orders(cells, known, expected)
    for order in itertools.chain(orders, _orders(cells, sizes, resolved, known)):
        places = _unravelled(order.cells, order.grid)[resolved]
        r = correlation(cells.centre[resolved][:, order.positions], places)
        fit = sum(x * x for x in r)
        if min(r) < IN_ORDER or (best is not None and fit <= best[0] + 1e-6):
            continue
        if not _contradicted(cells, order.positions, places, resolved):
            best = fit, order
    return None if best is None else _as_tokens(best[1], cells, shape, channels)


def _as_tokens(order: _Order, cells: Cells, shape: Sequence[int], channels: int) -> Layout:
    """Return the layout in which each position is a cell of the grid."""
    positions = torch.full((math.prod(order.grid),), -1, dtype=torch.long, device="cpu")
    positions[order.cells] = order.positions
    axis = None if channels == len(shape) - 1 else channels
    # Cells in a row, those that answer to nothing (padding) among them, need no order.
    found = (positions >= 0).nonzero().flatten()
    offset = positions[found] - found
    first = int(offset[0])
    if bool((offset == first).all()) and 0 <= first <= len(cells.energy) - len(positions):
        return Layout("tokens", order.grid, first, channel_axis=axis, folds=shape[0])
    places = tuple(positions.tolist())
    return Layout("tokens", order.grid, order=places, channel_axis=axis, folds=shape[0])


def _orders(
    cells: Cells, sizes: Sequence[int], resolved: Sequence[int], known: Sequence[KnownGrid]
) -> Iterator[_Order]:
    """Yield the orders in which the positions could lie on a grid."""
    placed, axes = cells.placed.nonzero().flatten(), len(cells.centre)
    n, total = len(placed), math.prod(sizes)
    index = torch.arange(n, device="cpu")
    grids = [grid.grid for grid in reversed(known)]
    grids = list(dict.fromkeys(g for g in grids if len(g) == axes and math.prod(g) > 1))
    exact = [g for g in grids if math.prod(g) == n]
    # A few positions, such as four queries, lie along two axes by chance.
    free = _factors(n, resolved, axes) if n >= _FEWEST or len(resolved) == 1 else iter(())
    for grid in dict.fromkeys([*exact, *free]):
        for order in itertools.permutations(resolved):
            yield _Order(grid, placed, _raster(index, grid, order))
    # A known grid of another size: some of its cells are silent, or others look placed.
    for grid in grids:
        size = math.prod(grid)
        if size == n or size > total or size > 2 * n:
            continue
        for first in range(min(total - size, _MOST_SHIFTS) + 1):
            inside = placed[(placed >= first) & (placed < first + size)]
            if 2 * len(inside) > size:
                yield _Order(grid, inside, _raster(inside - first, grid, sorted(resolved)))
    if n == total and len(resolved) == 2:
        for grid, window_cells in _window_orders(sizes, resolved, axes):
            yield _Order(grid, placed, window_cells)


def as_expected(
    cells: Cells,
    shape: Sequence[int],
    known: Sequence[KnownGrid],
    expected: Sequence[KnownOrder],
) -> Layout | None:
    """Return the layout that is expected, if what was measured confirms it, blurred as it may be.

    Attention mixes what the positions look at, and all centres move to the middle; their order
    remains. How well the centres have to go with the places depends on who expects the order: the
    input itself, or the shapes.
    """
    best: tuple[float, _Order] | None = None
    for known_order in expected:
        for order in _expected_orders(cells, known, [known_order]):
            axes = [axis for axis, size in enumerate(order.grid) if size > 1]
            places = _unravelled(order.cells, order.grid)[axes]
            r = min(correlation(cells.centre[axes][:, order.positions], places))
            if r >= _enough(known_order) and (best is None or r > best[0] + 1e-6):
                best = r, order
    return None if best is None else _as_tokens(best[1], cells, shape, len(shape) - 1)


def _enough(order: KnownOrder) -> float:
    """Return how well the centres have to go with an expected order, as a correlation.

    Without an order it is 0, with a deviation of `n^-1/2`. An order that is wrong in part, such as
    that of windows, goes with one axis and not with the other. One that is shifted goes well with
    both, so it needs more where positions are left over.
    """
    chance = 1 / math.sqrt(len(order.positions))
    if order.is_certain:
        return min(4 * chance, 0.7)
    whole = len(order.positions) == order.length
    return min(max(2.5 * chance, 0.65 if whole else 0.85), IN_ORDER)


def _expected_orders(
    cells: Cells, known: Sequence[KnownGrid], expected: Sequence[KnownOrder]
) -> Iterator[_Order]:
    """Yield the orders that are expected in an output of so many positions."""
    axes, total = len(cells.centre), len(cells.energy)
    heard = cells.energy > SILENT * cells.energy.max()
    for positions, length, grid, _ in expected:
        if length != total:
            continue
        n, at = len(positions), torch.tensor(positions, dtype=torch.long, device="cpu")
        answering = heard[at].nonzero().flatten()
        if 2 * len(answering) <= n:
            continue
        same = [g.grid for g in reversed(known) if len(g.grid) == axes and math.prod(g.grid) == n]
        for candidate in dict.fromkeys([grid] if grid else same):
            yield _Order(candidate, at[answering], answering)


#: How many positions show a grid of two axes by themselves.
_FEWEST = 9

#: How many tokens in front of a known grid are tried.
_MOST_SHIFTS = 64


def _factors(n: int, resolved: Sequence[int], axes: int) -> Iterator[tuple[int, ...]]:
    """Yield the grids of n cells along the resolved axes."""
    if len(resolved) == 1:
        yield tuple(n if axis == resolved[0] else 1 for axis in range(axes))
        return
    for first in range(2, n // 2 + 1):
        if n % first == 0:
            for rest in _factors(n // first, resolved[1:], axes):
                if math.prod(rest) > 1:
                    yield tuple(first if a == resolved[0] else rest[a] for a in range(axes))


def _raster(index: Tensor, grid: Sequence[int], order: Sequence[int]) -> Tensor:
    """Return the cells of positions that run through the grid, the axis `order[-1]` fastest."""
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    cells = torch.zeros_like(index)
    for axis in reversed(order):
        cells = cells + index % grid[axis] * strides[axis]
        index = index // grid[axis]
    return cells


def _window_orders(
    sizes: Sequence[int], resolved: Sequence[int], axes: int
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield the grids that the windows along an axis could be cut from, and their cells.

    Each window holds neighbouring cells, or takes every so manieth cell of the picture.
    """
    windows, *inside = [size for size in sizes if size > 1]
    if len(inside) not in (1, 2):
        return
    shapes = [(inside[0], inside[1])] if len(inside) == 2 else list(_pairs(math.prod(inside)))
    for h, w in shapes:
        for rows, columns in _pairs(windows):
            grid = [1] * axes
            grid[resolved[0]], grid[resolved[1]] = rows * h, columns * w
            block = torch.arange(windows, device="cpu")[:, None]
            cell = torch.arange(h * w, device="cpu")[None]
            i, j, p, q = block // columns, block % columns, cell // w, cell % w
            for y, x in ((i * h + p, j * w + q), (p * rows + i, q * columns + j)):
                yield tuple(grid), (y * columns * w + x).flatten()


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((first, n // first) for first in range(1, n + 1) if n % first == 0)


def _unravelled(cells: Tensor, grid: Sequence[int]) -> Tensor:
    """Return the places of cells along each axis of a grid, `[A, n]`."""
    places = list[Tensor]()
    for size in reversed(grid):
        places.insert(0, cells % size)
        cells = cells // size
    return torch.stack(places).double()


def _contradicted(cells: Cells, positions: Tensor, places: Tensor, resolved: Sequence[int]) -> bool:
    """Return whether cells look elsewhere than an order says, as far as they spread."""
    for axis, along in zip(resolved, places, strict=True):
        centre, spread = cells.centre[axis, positions], cells.spread[axis, positions]
        x = along - along.mean()
        slope = (x * (centre - centre.mean())).sum() / (x * x).sum()
        off = (centre - centre.mean() - slope * x).abs().median()
        if off > 0.5 * spread.median() + 0.1 * slope.abs():
            return True
    return False


def by_cell(
    cells: Cells,
    shape: Sequence[int],
    channels: int,
    resolved: Sequence[int],
    known: Sequence[KnownGrid],
) -> Layout | None:
    """Return the layout in which each placed position is the cell that it looks at.

    Every position has to be in a cell of its own, and sharp enough to be told from its neighbours.
    """
    placed = cells.placed.nonzero().flatten()
    axes = len(cells.centre)
    candidates = [known_grid for known_grid in reversed(known) if len(known_grid.grid) == axes]
    candidates += [KnownGrid(grid) for grid in _factors(len(placed), resolved, axes)]
    for grid, span in sorted(candidates, key=lambda candidate: math.prod(candidate.grid)):
        if not max(len(placed), 4) <= math.prod(grid) <= _MOST_DROPPED * len(placed):
            continue
        index = _cells_looked_at(cells, placed, grid, span)
        if index is not None:
            return _as_tokens(_Order(tuple(grid), placed, index), cells, shape, channels)
    return None


def _cells_looked_at(
    cells: Cells, positions: Tensor, grid: Sequence[int], span: Sequence[AxisSpan]
) -> Tensor | None:
    """Return the cell of a grid that each position looks at, `[n]`; None if they do not fit it.

    Positions that spread over several cells do not.

    Strided windows look at a place beside the middle of their cell. Many positions show by how
    much: what is left of `exp(2 pi i x)`, x in cells, as they are averaged.
    """
    centre, spread = cells.centre[:, positions], cells.spread[:, positions].median(1).values
    index = torch.zeros(len(positions), dtype=torch.long, device="cpu")
    exacts = list[Tensor]()
    spans = along_axes(span, len(grid))
    for axis, (g, along) in enumerate(zip(grid, spans, strict=True)):
        exact = (centre[axis] - along.start) / along.length * g - 0.5
        if g > 1 and float(spread[axis]) > SHARP * along.length / g:
            return None
        if len(exact) >= _MANY:
            turns = 2 * math.pi * exact
            beside = float(torch.atan2(turns.sin().mean(), turns.cos().mean())) / (2 * math.pi)
            if abs(beside) > _MOST_BESIDE:
                return None
            exact = exact - beside
        place = exact.round().clamp(0, g - 1)
        if g > 1 and float((exact - place).abs().median()) >= IN_CELL:
            return None
        index = index * g + place.long()
        exacts.append(exact)
    return _each_its_own(torch.stack(exacts), index, grid)


#: So many positions show where in their cells they look, and so far from the middle at most, in
#: cells: half a cell off, it could be the next.
_MANY, _MOST_BESIDE = 64, 0.45

#: This share of the positions may look at the cell of another, but for one cell.
_STRAY = 0.02


def _each_its_own(exact: Tensor, index: Tensor, grid: Sequence[int]) -> Tensor | None:
    """Return a cell for each position alone; of two, the farther moves to a free one beside it."""
    apart = (exact - _unravelled(index, grid)).abs().amax(0)
    taken, strays = set[int](), list[int]()
    for position in apart.argsort().tolist():
        cell = int(index[position])
        if cell in taken:
            strays.append(position)
        taken.add(cell)
    if len(strays) > _STRAY * len(index):
        return None
    index = index.clone()
    for position in strays:
        free = torch.tensor(sorted(set(range(math.prod(grid))) - taken), device="cpu")
        away = (_unravelled(free, grid) - exact[:, position, None]).abs().amax(0)
        if float(away.min()) > 1:
            return None
        index[position] = free[away.argmin()]
        taken.add(int(index[position]))
    return index
