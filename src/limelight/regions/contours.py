"""The contours of a mask, and the mask of a contour; both run along the edges of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.regions.thresholds import Mask

#: A closed polygon along the edges of pixels, `[N, 2]`: x, y of each corner. Its last corner is
#: joined to its first.
Contour = npt.NDArray[np.int64]

_Corner = tuple[int, int]


def contours(mask: Mask) -> list[Contour]:
    """Return the contours of one connected mask `[H, W]`: the outer one, then those of its holes.

    A pixel in column x and row y reaches from x to x + 1 and from y to y + 1. The outer contour
    runs clockwise as seen on the picture, those of holes counterclockwise. Pixels are connected
    along their edges, and no contour passes a corner twice.
    """
    after = _edges(mask)
    from_the_top = sorted(after, key=lambda corner: (corner[1], corner[0]))
    # The ring with the topmost corner comes first, and that is the outer one.
    return [_ring(after, start) for start in from_the_top if start in after]


def _ring(after: dict[_Corner, list[_Corner]], start: _Corner) -> Contour:
    """Return the ring that begins at its topmost corner; its edges are then used up."""
    corner, came_from = start, (0, 1)
    ring = list[_Corner]()
    while corner != start or not ring:
        following, step = _next_corner(after, corner, came_from)
        if step != came_from or not ring:
            ring.append(corner)
        corner, came_from = following, step
    return np.array(ring, dtype=np.int64)


def _edges(mask: Mask) -> dict[_Corner, list[_Corner]]:
    """Return the steps along the border of a mask from each corner, the mask to their right."""
    padded = np.pad(mask, 1).astype(np.int8)
    after = dict[_Corner, list[_Corner]]()
    down = np.diff(padded, axis=0)  # 1 where the mask begins below an edge, -1 where it ends
    across = np.diff(padded, axis=1)
    for differences, shift, step in (
        (down == 1, (0, 0), (1, 0)),
        (down == -1, (1, 0), (-1, 0)),
        (across == -1, (0, 0), (0, 1)),
        (across == 1, (0, 1), (0, -1)),
    ):
        rows, columns = np.nonzero(differences)
        x_margin = 1 if step[1] == 0 else 0  # the padding on the left, along an axis not diffed
        y_margin = 1 if step[0] == 0 else 0
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            corner = column - x_margin + shift[0], row - y_margin + shift[1]
            after.setdefault(corner, []).append(step)
    return after


def _next_corner(
    after: dict[_Corner, list[_Corner]], corner: _Corner, came_from: _Corner
) -> tuple[_Corner, _Corner]:
    """Follow the border by one edge, which is then used up; return the next corner and the step.

    Where two pixels of the mask meet at a corner, the contour turns left: to the other pixel.
    """
    steps = after[corner]
    left = came_from[1], -came_from[0]
    step = left if left in steps else steps[0]
    steps.remove(step)
    if not steps:
        del after[corner]
    return (corner[0] + step[0], corner[1] + step[1]), step


def in_one_polygon(rings: Sequence[Contour]) -> Contour:
    """Return an outer contour and those of holes as one polygon, as formats without holes have it.

    Each hole is joined to what lies above it by a cut without width along the edges of pixels.
    """
    joined, *holes = (list(map(tuple, ring.tolist())) for ring in rings)
    for hole in sorted(holes, key=lambda ring: min(y for _, y in ring)):
        top = min(range(len(hole)), key=lambda number: (hole[number][1], hole[number][0]))
        turned = hole[top:] + hole[: top + 1]
        x, y = turned[0]
        place, height = _edge_above(joined, x, y)
        entry = (x, height)
        joined[place + 1 : place + 1] = [entry, *turned, entry]
    return np.array(joined, dtype=np.int64)


def _edge_above(ring: Sequence[Any], x: int, y: int) -> tuple[int, int]:
    """Return the number of the lowest horizontal edge above a corner, and its height."""
    following = [*ring[1:], ring[0]]
    above = [
        (start[1], number)
        for number, (start, end) in enumerate(zip(ring, following, strict=True))
        if start[1] == end[1] < y and min(start[0], end[0]) <= x <= max(start[0], end[0])
    ]
    height, number = max(above)
    return number, height


def fill_polygon(mask: Mask, corners: npt.ArrayLike) -> None:
    """Set the pixels of a mask `[H, W]` whose centres lie in a polygon, by the even-odd rule.

    Args:
        mask: The mask, which is changed.
        corners: The corners, `[N, 2]`: x and y, in pixels from the picture's first corner.
    """
    points = np.asarray(corners, dtype=np.float64)
    limits = np.array(mask.shape[::-1])
    (left, top), (right, bottom) = (
        np.clip(np.ceil(ends - 0.5), 0, limits).astype(np.int64)
        for ends in (points.min(0), points.max(0))
    )
    crossed = np.zeros((bottom - top, right - left + 1), dtype=bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        ends = np.clip(np.ceil(np.sort([y1, y2]) - 0.5), top, bottom).astype(np.int64)
        rows = np.arange(*ends)
        if len(rows):
            x = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
            columns = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64)
            crossed[rows - top, columns - left] ^= True
    mask[top:bottom, left:right] |= np.logical_xor.accumulate(crossed, axis=1)[:, :-1]
