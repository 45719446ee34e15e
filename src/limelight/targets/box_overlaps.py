"""How far boxes overlap, and which of them show one object: torch alone, without torchvision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def overlaps_of(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the overlap of boxes `[N, 4]` with others `[M, 4]`, `[N, M]`.

    It is the area of the intersection divided by that of the union. Corners are (x1, y1, x2, y2).
    """
    upper_left = torch.max(boxes[:, None, :2], others[:, :2])
    lower_right = torch.min(boxes[:, None, 2:], others[:, 2:])
    inside = (lower_right - upper_left).clamp(min=0).prod(-1)
    return inside / (_areas(boxes)[:, None] + _areas(others) - inside)


def _areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes `[N, 4]`, `[N]`."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def without_duplicates(boxes: Tensor, scores: Tensor, classes: Tensor, overlap: float) -> Tensor:
    """Return the numbers of the boxes that are kept, highest score first: `[kept]` of `[N, 4]`.

    Non-maximum suppression: a box is dropped if one with a higher score, of the same class and
    itself kept, overlaps with it more than `overlap`.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, classes = boxes[order], classes[order]
    same = (classes[:, None] == classes) & (overlaps_of(boxes, boxes) > overlap)
    duplicates = same.numpy(force=True)  # one transfer; the steps depend on each other
    kept = list[int]()
    dropped = np.zeros(len(duplicates), bool)
    for number, doubled in enumerate(duplicates):
        if not dropped[number]:
            kept.append(number)
            dropped |= doubled
    return order[kept]
