"""Whether a map lies where the network looks: small changes of the picture, found again on the map.

One small patch of the picture is changed a little, at 25 places. What that changes at the layer is
treated as a raw map and laid on the picture as limelight lays every raw map. Where it lies is then
compared with where the patch was. Neither limelight's layouts nor what it measures is read: of
limelight the activations are taken, `[B, K, *grid]`, and the way from a raw map to the picture.

A change spreads. Where everything mixes (squeeze-and-excitation, attention, an average), a patch
changes every cell, and some cells and some patches are louder than others. With `D_pc` the size of
the change of cell c for patch p, summed over channels, each patch and each cell is therefore
divided by its mean, twice in turn. What is left is how much more a cell answers to this patch than
to the others. The place is the centre of it, weighted by its fourth power: the highest value alone
jumps from cell to cell, and the plain centre is drawn to the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt
from statistics import median
from typing import Literal

import torch
from torch import Tensor

import limelight
from limelight.inputs import tensors
from limelight.status import Status

#: Along each of the last two axes the picture is divided into so many parts, with a patch in each.
PARTS = 5
#: A patch is this share of the picture along each axis.
SHARE = 1 / 14
#: By how much a patch is changed, in standard deviations of the picture.
CHANGE = 0.2
#: As long as fewer places than this answer, more are tried, so often in all.
ENOUGH, TRIES = 15, 4

#: How well a map has to lie along every axis: its correlation, as a share of what a grid of so many
#: cells can have; the middle distance, signed, and that of nine places in ten, in cells, with so
#: many more for each cell that a change is wide; how much of the picture's length the map has. What
#: strided convolutions look at is up to half a cell off, of the coarsest grid on the way.
LEAST_CORRELATION = 0.9
MIDDLE_CELLS, MIDDLE_WIDTHS = 0.6, 0.6
MOST_CELLS, MOST_WIDTHS = 0.75, 0.9
SLOPES = (0.65, 1.4)
#: A change that fills more than this share of the cells is everywhere, and does not tell where. So
#: is that of a patch at which no cell looks, since tokens are left out: it arrives by mixing alone.
EVERYWHERE = 0.6
#: What a place is weighted by is the change to this power.
POWER = 4
#: The share by which two passes of the same picture may differ.
ROUNDING = 1e-3
#: Heat of this share of the hottest is none.
FAINT = 0.02


#: What is found: the same place, another, that every change is everywhere, so that nothing tells,
#: or that the same picture gives other activations, so that cells have no place.
Verdict = Literal["same place", "elsewhere", "everywhere", "random"]


@dataclass(frozen=True)
class Placement:
    """Where a map lies, compared with where the network looks.

    Attributes:
        verdict: What is found.
        correlation: Between the places of the patches and where the map has them; the lowest of all
            axes. None if too few places answer.
        distance: The median distance of both along an axis, in cells of the grid; the largest of
            all axes.
        unseen: How many of the patches the network does not see: nothing changes.
        hot: How many of those have heat.
    """

    verdict: Verdict
    correlation: float | None
    distance: float | None
    unseen: int
    hot: int


def placement(cut: limelight.Cut, found: limelight.Explanation) -> Placement:
    """Compare where a map lies with where the network looks.

    Args:
        cut: The network, cut at the layer.
        found: The explanation at that layer, of one picture.
    """
    size = tuple(cut.image.shape[2:])
    again = (cut.on(cut.image).activations - cut.activations).abs().max()
    if again > ROUNDING * cut.activations.abs().max():
        return Placement("random", None, None, 0, 0)
    draw = torch.Generator().manual_seed(0)
    places, changes = list[Tensor](), list[Tensor]()
    unseen, hot = 0, 0
    for _ in range(TRIES):
        for place in drawn_places(size, draw):
            other = cut.on(changed(cut.image, place, draw))
            change = (other.activations - cut.activations).double().square().sum(1).sqrt()[0]
            if change.any():
                places.append(place)
                changes.append(change)
            elif is_same_output(cut.output, other.output):
                unseen += 1
                hot += is_hot(found, place, tuple(change.shape))
        if len(places) >= ENOUGH:
            break
    if len(places) < ENOUGH:
        return Placement("elsewhere", None, None, unseen, hot)
    sharp = sharpened(changes)
    telling = [n for n, each in enumerate(changes) if filled(each) <= EVERYWHERE * each.numel()]
    is_everywhere = len(telling) < ENOUGH
    used = range(len(changes)) if is_everywhere else telling
    centres = torch.stack([centre(found, sharp[n], size) for n in used])
    wide = median(width(sharp[n] ** POWER) for n in used)
    shape = changes[0].shape
    correlation, distance, is_same = compared(torch.stack(places)[used], centres, wide, shape)
    verdict: Verdict = "everywhere" if is_everywhere else "elsewhere"
    if is_same and hot <= 1:
        verdict = "same place"
    return Placement(verdict, correlation, distance, unseen, hot)


def drawn_places(size: Sequence[int], draw: torch.Generator) -> Tensor:
    """Draw the centres of patches, `[25, axes]` in [0, 1]: one in each part of the picture.

    There are 5 x 5 parts along the last two axes, or 25 along the only one; along other axes (time,
    depth) there are 25, in random order.
    """
    count = PARTS**2
    if len(size) == 1:
        parts, counts = torch.arange(count)[:, None], [count]
    else:
        along = torch.arange(PARTS)
        parts, counts = torch.cartesian_prod(along, along), [PARTS, PARTS]
    for _ in size[2:]:
        parts = torch.cat([torch.randperm(count, generator=draw)[:, None], parts], dim=1)
        counts = [count, *counts]
    jitter = 0.2 + 0.6 * torch.rand(parts.shape, generator=draw, dtype=torch.float64)
    return (parts + jitter) / torch.tensor(counts)


def changed(image: Tensor, place: Tensor, draw: torch.Generator) -> Tensor:
    """Return the picture `[1, C, *size]` with a patch that is changed: its colour, and noise."""
    size = image.shape[2:]
    sides = [max(1, round(length * SHARE)) for length in size]
    starts = [
        min(max(round(at * length - side / 2), 0), length - side)
        for at, length, side in zip(place.tolist(), size, sides, strict=True)
    ]
    patch = slice(None), slice(None), *(slice(a, a + n) for a, n in zip(starts, sides, strict=True))
    other = image.clone()
    colour = torch.randn(1, image.shape[1], *(1 for _ in size), generator=draw)
    noise = torch.randn(other[patch].shape, generator=draw)
    other[patch] += (CHANGE * image.std() * (colour + noise)).to(image)
    return other


def is_same_output(output: object, other: object) -> bool:
    """Return whether two outputs hold the same numbers."""
    pairs = zip(tensors(output), tensors(other), strict=False)
    return all(one.shape == two.shape and torch.equal(one, two) for one, two in pairs)


def is_hot(found: limelight.Explanation, place: Tensor, grid: tuple[int, ...]) -> bool:
    """Return whether a place has heat, both on the picture and cell by cell.

    On the picture heat runs over from the next cells. Cell by cell, as many as the grid has, a part
    of the picture may share its cell with one that has heat.
    """
    heats = found.heatmap, found.heatmap_at(grid)
    return all(
        float(heat[(0, *(int(at * n) for at, n in zip(place, heat.shape[1:], strict=True)))])
        > FAINT
        for heat in heats
    )


def sharpened(changes: Sequence[Tensor]) -> Tensor:
    """Divide the changes of each patch, and those of each cell, by their mean, twice in turn."""
    sizes = torch.stack(list(changes))
    cells = tuple(range(1, sizes.ndim))
    for _ in range(2):
        sizes = sizes / sizes.mean(cells, keepdim=True)
        means = sizes.mean(0, keepdim=True)
        sizes = torch.where(means > 0, sizes / torch.where(means > 0, means, 1), 0)
    return sizes


def filled(weights: Tensor) -> float:
    """Return how many cells a map fills, wherever they lie: `(sum w)^2 / sum w^2`."""
    return float(weights.sum() ** 2 / weights.square().sum())


def width(weights: Tensor) -> float:
    """Return how wide a map `[*grid]` is, in cells along an axis, wherever its cells lie.

    It is the deviation s of the Gaussian that fills as many: `(2 sqrt(pi) s)^d`, with d axes.
    """
    axes = max(1, sum(cells > 1 for cells in weights.shape))
    side: float = filled(weights) ** (1 / axes)
    return side / (2 * sqrt(pi))


def centre(found: limelight.Explanation, raw: Tensor, size: Sequence[int]) -> Tensor:
    """Return the centre of a raw map `[*grid]` laid on the picture, in [0, 1] along each axis."""
    raw = raw[None].to(found.raw)
    laid = replace(found, raw=raw, status=(Status("ok"),)).heatmap_at(size)[0].double() ** POWER
    laid = laid if laid.any() else torch.ones_like(laid)
    centres = list[Tensor]()
    for axis, length in enumerate(size):
        along = laid.movedim(axis, 0).reshape(length, -1).sum(1)
        middles = (torch.arange(length, dtype=torch.float64) + 0.5) / length
        centres.append((along * middles).sum() / along.sum())
    return torch.stack(centres)


def compared(
    places: Tensor, centres: Tensor, wide: float, grid: Sequence[int]
) -> tuple[float | None, float | None, bool]:
    """Compare the places of patches with where the map has them, both `[places, axes]` in [0, 1].

    Args:
        places, centres: Both.
        wide: The deviation of what a patch changes, in cells.
        grid: The cells along each axis.

    Returns:
        The correlation and the distance of a `Placement`, and whether the places are the same.
    """
    correlations, distances, is_same = list[float](), list[float](), True
    for axis, cells in enumerate(grid):
        if cells == 1:  # the map says nothing about it
            continue
        apart = (centres[:, axis] - places[:, axis]) * cells
        covariance = torch.cov(torch.stack([places[:, axis], centres[:, axis]]))
        slope = float(covariance[0, 1] / covariance[0, 0])
        correlations.append(float(covariance[0, 1] / covariance.diagonal().prod().sqrt()))
        distances.append(float(apart.abs().median()))
        is_same &= correlations[-1] >= LEAST_CORRELATION * sqrt(1 - 1 / cells**2)
        is_same &= abs(float(apart.median())) <= MIDDLE_CELLS + MIDDLE_WIDTHS * wide
        is_same &= float(apart.abs().quantile(0.9)) <= MOST_CELLS + MOST_WIDTHS * wide
        # Two cells take turns: how much either answers is no length.
        is_same &= cells == 2 or SLOPES[0] <= slope <= SLOPES[1]
    return min(correlations, default=None), max(distances, default=None), is_same
