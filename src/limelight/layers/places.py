"""Where each number of a layer's output looks: the measurement, read as a layout.

The picture X is changed by `eps w n`, n Gaussian noise and w a weight for each pixel. To first
order a number of the output changes by `J (w n)`, J its derivative, and

    E[(J (w n))^2] = sum_p J_p^2 w_p^2 .

With y from 0 to 1 along an axis of the picture, the weights `sqrt(y)` and `y` give, in proportion
to the weight 1, the first and second moments of `J^2` along this axis: the centre of what the
number looks at, and how far that spreads. `limelight.runtime.places` measures; this module reads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor

from limelight.finish import AxisSpan
from limelight.layers.layouts import Layout, LayoutKind
from limelight.layers.moments import (
    IN_ORDER,
    SHARP,
    SILENT,
    Cells,
    KnownGrid,
    Moments,
    centre_and_spread,
    correlation,
)
from limelight.layers.orders import as_expected, by_cell, by_order
from limelight.packing import KnownOrder

#: The spread of what looks everywhere alike: the standard deviation of a uniform distribution.
UNIFORM = 12**-0.5

#: A position looks everywhere, so it has no place, if it spreads farther than this share of
#: `UNIFORM`, and this many times as far as the typical one.
WIDE, WIDER_THAN_MOST = 0.8, 1.25

#: Along an axis of the output, what another axis goes along moves by less than this share of that
#: axis's step. Within windows that lie in a row it moves by a quarter of the step and more.
_NO_MOVE = 0.125

#: Variances of centres that differ by less are the same, and those of less are none.
_ROUNDING = 1e-6


def read_places(
    moments: Moments, known: Sequence[KnownGrid], expected: Sequence[KnownOrder] = ()
) -> Layout | str:
    """Return the layout that the measurement shows; or, if none, a clause with what was measured.

    1. Take the order that the input says, if the places do not speak against it.
    2. Else read the places themselves.
    3. Else, if they are blurred, take the order that shapes suggest, if the places go with it.

    Args:
        moments: What was measured.
        known: Grids that the output was made of, the latest last.
        expected: Orders in which the positions of such an output may lie.
    """
    shape = moments.energy.shape
    if not bool(moments.energy.amax() > 0):
        return "nothing in the picture changes it"
    if len(shape) < 2:
        return "it has a single position"
    cells = cache(partial(_cells, moments))
    certain = [order for order in expected if order.is_certain]
    suggested = [order for order in expected if not order.is_certain]
    layout = as_expected(cells, shape, known, certain)
    read = layout or _read_places(moments, known, expected)
    if isinstance(read, Layout):
        return read
    return as_expected(cells, shape, known, suggested) or read


def _read_places(
    moments: Moments, known: Sequence[KnownGrid], expected: Sequence[KnownOrder]
) -> Layout | str:
    """Return the layout that the places show by themselves.

    1. Find the axis of the channels: the one over which a sum loses the least of the places.
    2. Find the positions that have a place.
    3. Read each other axis as an axis of the picture, if the places go along it.
    4. Else find the grid on which the positions lie in an order: row by row, by windows.
    5. Else, if the cells are sharp, lay each position in the cell that it looks at.
    """
    # 1. The channels.
    shape = moments.energy.shape
    channels = _channel_axis(moments)
    # 2. The positions.
    cells = _cells(moments, channels)
    sizes = [size for axis, size in enumerate(shape) if axis != channels]
    if len(cells.energy) == 1:
        return "it has a single position"
    if int(cells.placed.sum()) < 2:
        return f"its positions have no place of their own: {_facts(cells)}"
    resolved = _resolved_axes(cells)
    if not resolved:
        return f"its positions have no place of their own: {_facts(cells)}"
    # 3. Axes.
    layout = _by_axes(cells, sizes, shape, channels, resolved)
    # 4., 5. Orders.
    layout = layout or by_order(cells, sizes, shape, channels, resolved, known, expected)
    layout = layout or by_cell(cells, shape, channels, resolved, known)
    if layout is None and len(shape) == 3 and len(cells.centre) > 1:
        cells = _cells(moments, 2)  # no axis is one of places: three axes are most often tokens
    return layout or (
        f"its {len(cells.energy)} positions have no place on a grid over the picture: "
        f"{_facts(cells)}"
    )


def measured_span(moments: Moments, layout: Layout) -> tuple[AxisSpan, ...] | None:
    """Return where a grid lies on the picture, from the centres of its cells; None if they blur.

    The centres of sharp cells lie on a line: `centre_i = start + (i + 0.5) length / g`. Cells at
    the border, whose windows end there, and cells that look at nothing (padding) are left out.
    """
    energy, centres, spread = _on_grid(moments, layout)
    axes = range(len(layout.grid))
    span = []
    for axis, g in enumerate(layout.grid):
        others = [other for other in axes if other != axis]
        weight = energy.sum(others) if others else energy
        if g < 4:
            if g == 1:
                span.append(AxisSpan(0.0, 1.0))
                continue
            return None
        total = weight.clamp(min=1e-300)
        along = (centres[axis] * energy).sum(others) / total if others else centres[axis]
        wide = (spread[axis] * energy).sum(others) / total if others else spread[axis]
        index = torch.arange(g, dtype=torch.float64, device="cpu")
        heard = weight > SILENT * weight.max()
        inner = heard.clone()
        ends = heard.nonzero().flatten()
        inner[ends[0]] = inner[ends[-1]] = False
        if int(inner.sum()) < 3:
            return None
        x, y = index[inner] + 0.5, along[inner]
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
        if slope <= 0 or float(wide[inner].median()) > SHARP * slope:
            return None
        start = float(y.mean() - slope * x.mean())
        end = start + slope * g
        # An edge of less than a cell is no crop.
        seen = (start if start > slope else 0.0, end if end < 1 - slope else 1.0)
        span.append(AxisSpan(start, end, *seen))
    return tuple(span)


def _on_grid(moments: Moments, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Return energy, centres and spreads of the cells, `[*grid]` and `[A, *grid]` twice."""
    energy = layout.to_grid(moments.energy).sum(1)[0]
    first, second = (
        torch.stack([layout.to_grid(part).sum(1)[0] for part in parts])
        for parts in (moments.first, moments.second)
    )
    return energy, *centre_and_spread(_divisor(energy), first, second)


def _channel_axis(moments: Moments) -> int:
    """Return the axis that holds the channels: a sum over it loses the least of the places.

    By the law of total variance, the variance of the centres falls by the variance within what is
    summed. Where several axes lose about nothing, the longest is taken, and of several such the one
    that loses the least: a sum over neighbouring cells loses little. A single channel loses nothing
    at all; it is taken where each longer axis loses something.
    """
    shape = moments.energy.shape
    kept = {axis: _kept(moments, axis) for axis in range(1, len(shape)) if shape[axis] > 1}
    single = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
    if not kept:
        return single[0]
    everything = float(torch.stack([*kept.values()]).amax(0).sum())
    totals = {axis: float(each.sum()) for axis, each in kept.items()}
    enough = 0.9 * (everything if single else max(totals.values())) - _ROUNDING
    least = [axis for axis in totals if totals[axis] >= enough]
    if everything <= _ROUNDING:  # nothing has a place; three axes are most often tokens
        return 2 if len(shape) == 3 else max(kept, key=lambda axis: shape[axis])
    if not least:
        return single[0]
    return max(least, key=lambda axis: (shape[axis], totals[axis]))


def _kept(moments: Moments, axis: int) -> Tensor:
    """Return the variance of the centres along each axis of the picture, `[A]`, after a sum.

    It is the covariance of the centres from one half of what is summed, every other number, with
    those from the other half: the noise of the measurement differs between the halves.
    """
    size = moments.energy.shape[axis]
    halves = [torch.arange(first, size, 2, device="cpu") for first in (0, 1)]
    energies = [moments.energy.index_select(axis, half).sum(axis) for half in halves]
    share = energies[0] + energies[1]
    share = share / share.sum()
    apart = []
    for half, energy in zip(halves, energies, strict=True):
        first = moments.first.index_select(axis + 1, half).sum(axis + 1)
        centre = (first / _divisor(energy)).flatten(1)
        apart.append(centre - (centre * share.flatten()).sum(1, keepdim=True))
    return (apart[0] * apart[1] * share.flatten()).sum(1).clamp(min=0)


def _divisor(energy: Tensor) -> Tensor:
    """Return energies to divide by: what answers to nothing keeps no centre, but rounding."""
    return energy.clamp(min=SILENT * float(energy.max()))


def _cells(moments: Moments, channels: int) -> Cells:
    """Return where the positions look, summed over the channels, and which have a place."""
    energy = moments.energy.sum(channels).flatten()
    first, second = (part.sum(channels + 1).flatten(1) for part in (moments.first, moments.second))
    centre, spread = centre_and_spread(_divisor(energy), first, second)
    heard = energy > SILENT * energy.max()
    wide = (spread / UNIFORM).square().mean(0).sqrt()  # 1 for what looks everywhere
    typical = wide[heard].median()
    everywhere = (wide > WIDE) & (wide > WIDER_THAN_MOST * typical)
    return Cells(energy, centre, spread, heard & ~everywhere)


def _resolved_axes(cells: Cells) -> list[int]:
    """Return the axes of the picture along which the positions look at different places."""
    variance = cells.centre[:, cells.placed].var(1)
    return [a for a, v in enumerate(variance.tolist()) if v > max(0.03 * variance.max(), 1e-5)]


def _by_axes(
    cells: Cells, sizes: Sequence[int], shape: Sequence[int], channels: int, resolved: Sequence[int]
) -> Layout | None:
    """Return the layout if each axis of the output goes along one axis of the picture."""
    long = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(long) != len(resolved) or not bool(cells.placed.any()):
        return None
    weight = cells.placed.double().reshape(sizes)
    for order in itertools.permutations(resolved):
        signs = [
            _along(cells.centre[axis].reshape(sizes), weight, at)
            for at, axis in zip(long, order, strict=True)
        ]
        if all(signs):
            break
    else:
        return None
    grid = [1] * len(cells.centre)
    for at, axis in zip(long, order, strict=True):
        grid[axis] = sizes[at]
    folds, in_order = sizes[0], list(order) == sorted(order) and min(signs) > 0
    if not in_order and _in_windows(cells, weight, long, order):
        return None
    kind: LayoutKind = "channels first" if channels == 1 else "channels last"
    axis_of_channels = None if channels in (1, len(shape) - 1) else channels
    if folds > 1 and channels == 1 and order[0] == 0 and len(long) == 3 and in_order:
        kind, folds = "frames", 1
    if in_order:
        return Layout(kind, tuple(grid), channel_axis=axis_of_channels, folds=folds)
    # The network has swapped or turned axes.
    positions = torch.arange(math.prod(sizes), device="cpu").reshape(sizes)
    positions = positions.flip([at for at, sign in zip(long, signs, strict=True) if sign < 0])
    positions = positions.squeeze().permute(*(order.index(axis) for axis in sorted(order)))
    places = tuple(positions.flatten().tolist())
    return Layout(kind, tuple(grid), order=places, channel_axis=axis_of_channels, folds=folds)


def _in_windows(cells: Cells, weight: Tensor, long: Sequence[int], order: Sequence[int]) -> bool:
    """Return whether what one axis goes along also moves along another one, as within windows."""
    for at, axis in zip(long, order, strict=True):
        centre = cells.centre[axis].reshape(weight.shape)
        along, _ = _profile(centre, weight, at)
        step = float(along.max() - along.min()) / max(len(along) - 1, 1)
        for other in set(long) - {at}:
            across, _ = _profile(centre, weight, other)
            if len(across) > 1 and float(across.std(correction=0)) > _NO_MOVE * step:
                return True
    return False


def _profile(centre: Tensor, weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the mean centres along an axis, where any cell has a place, and how many have one."""
    others = [other for other in range(centre.ndim) if other != axis]
    total = weight.sum(others) if others else weight
    profile = (centre * weight).sum(others) if others else centre * weight
    heard = total > 0
    return profile[heard] / total[heard], total


def _along(centre: Tensor, weight: Tensor, axis: int) -> int:
    """Return 1 if centres grow along an axis and nothing else, -1 if they fall; else 0."""
    profile, total = _profile(centre, weight, axis)
    heard = total > 0
    mean = (centre * weight).sum() / weight.sum()
    whole = ((centre - mean) ** 2 * weight).sum()
    between = ((profile - mean) ** 2 * total[heard]).sum()
    index = torch.arange(len(total), dtype=torch.float64, device="cpu")[heard]
    if len(index) < 2 or float(between) < 0.5 * float(whole):
        return 0
    r = correlation(profile[None], index[None])[0]
    return int(math.copysign(1, r)) if abs(r) >= IN_ORDER else 0


def _facts(cells: Cells) -> str:
    """Return what was measured, in words."""
    parts = []
    for axis, (centre, spread) in enumerate(zip(cells.centre, cells.spread, strict=True)):
        heard = cells.energy > SILENT * cells.energy.max()
        low, high = centre[heard].aminmax()
        name = _AXES[len(cells.centre)][axis]
        parts.append(
            f"along {name} they look at {float(low):.2f} to {float(high):.2f} of the picture, each "
            f"with a spread of {float(spread[heard].median()):.2f}"
        )
    return "; ".join(parts) + f" (what looks everywhere has {UNIFORM:.2f})"


_AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
