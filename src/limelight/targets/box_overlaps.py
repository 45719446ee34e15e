"""How far boxes overlap, and which of them show one object: torch alone, without torchvision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: So many boxes are compared with all others at a time: a table of all with all would be as slow as
#: it is large.
_TOGETHER = 32


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
    boxes, classes = boxes[order].cpu(), classes[order].cpu()  # the steps depend on each other
    kept, left = list[int](), np.arange(len(boxes))
    while len(left):
        first = left[:_TOGETHER]
        same = classes[first, None] == classes[left]
        duplicates = (same & (overlaps_of(boxes[first], boxes[left]) > overlap)).numpy()
        dropped = np.zeros(len(left), bool)
        for number, doubled in enumerate(duplicates):
            if not dropped[number]:
                kept.append(int(first[number]))
                dropped |= doubled
        left = left[_TOGETHER:][~dropped[_TOGETHER:]]
    return order[kept]
