"""The maps of all pieces of a photo, laid together on the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.finish import AxisSpan, at_places, onto_picture
from limelight.status import zero_unless_ok
from limelight.vision_language.places import PieceBox

Cells = npt.NDArray[np.float32]

#: The most cells of a canvas: with a limit for each side, a piece of a long and narrow photo would
#: lose its cells, or lie between two of the canvas.
_MOST_CELLS = 64 * 64


def on_photo(explanation: Explanation, boxes: Sequence[PieceBox | None]) -> Cells:
    """Return the raw map of a word on a coarse canvas of the whole photo, `[h, w]`.

    A cell of the canvas holds the mean of the maps of all pieces that lie there, each interpolated
    linearly; 0 where no piece lies. The canvas has as many cells as the finest piece would have
    over the whole photo.

    Args:
        explanation: The word's map, `[1, *grid]`.
        boxes: Where each piece lies on the photo.

    Raises:
        InputError: The layer has other pieces than the model's input.
    """
    raw = onto_picture(zero_unless_ok(explanation.raw, explanation.status), explanation.span)
    pieces = raw[0][None] if raw.ndim == 3 else raw[0]
    pieces = pieces.detach().float().cpu()
    if len(pieces) != len(boxes):
        raise InputError(
            f"The layer {explanation.layer!r} has {len(pieces)} grids, and the photo became "
            f"{len(boxes)} pieces. Take another layer."
        )
    placed = [(piece, box) for piece, box in zip(pieces, boxes, strict=True) if box is not None]
    height, width = _bounded(
        max(piece.shape[0] / (box.y1 - box.y0) for piece, box in placed),
        max(piece.shape[1] / (box.x1 - box.x0) for piece, box in placed),
    )
    total, covered = torch.zeros(2, height, width, dtype=torch.float32, device="cpu")
    for piece, box in placed:
        rows, inside_rows = _samples(height, box.y0, box.y1)
        columns, inside_columns = _samples(width, box.x0, box.x1)
        span = (AxisSpan(box.y0, box.y1), AxisSpan(box.x0, box.x1))
        values = at_places(_pooled(piece, height, width, box)[None], (rows, columns), span)[0]
        inside = (inside_rows[:, None] & inside_columns).float()
        total += values * inside
        covered += inside
    laid: Cells = (total / covered.clamp(min=1)).numpy()
    return laid


def _bounded(height: float, width: float) -> tuple[int, int]:
    """Return how many rows and columns a canvas has that should have so many; not too many."""
    scale = min(1.0, math.sqrt(_MOST_CELLS / (height * width)))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return min(rows, _MOST_CELLS), min(columns, _MOST_CELLS)


def _samples(count: int, start: float, end: float) -> tuple[Tensor, Tensor]:
    """Return the centres of cells, in photo lengths, and which of them a piece covers."""
    places = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count
    return places, (places >= start) & (places <= end)


def _pooled(piece: Tensor, height: int, width: int, box: PieceBox) -> Tensor:
    """Return a piece with no more cells than the canvas has under it: means of its cells."""
    rows = max(1, min(piece.shape[0], round(height * (box.y1 - box.y0))))
    columns = max(1, min(piece.shape[1], round(width * (box.x1 - box.x0))))
    if (rows, columns) == tuple(piece.shape):
        return piece
    return adaptive_avg_pool2d(piece[None, None], (rows, columns))[0, 0]


def scaled(maps: Sequence[Cells]) -> tuple[Cells, ...]:
    """Return maps of one word over several photos divided by their largest size: in [-1, 1]."""
    largest = max(float(np.abs(each).max()) for each in maps)
    return tuple((each / largest if largest > 0 else each).astype(np.float32) for each in maps)


def heat_of(signed: Sequence[Cells]) -> tuple[Cells, ...]:
    """Return heatmaps in [0, 1]: relu, divided by the highest value of all photos together."""
    heat: list[npt.NDArray[Any]] = [np.maximum(each, 0) for each in signed]
    highest = max(float(each.max()) for each in heat)
    return tuple((each / highest if highest > 0 else each).astype(np.float32) for each in heat)
