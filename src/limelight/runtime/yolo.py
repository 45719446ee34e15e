"""The boxes that a YOLO proposes, read from the form of what it returns, by ultralytics or alike.

In evaluation a YOLO returns its decoded boxes with probabilities, and beside them the raw output of
its head. A score is read from the raw logits, since a sigmoid flattens the gradient of a sure box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: Boxes `[B, N, 4]` as x1, y1, x2, y2 in pixels, logits and probabilities `[B, N, C]`.
Proposed = tuple[Tensor, Tensor, Tensor]


class _RawHead(NamedTuple):
    """The raw output of a head over all cells of all levels.

    Attributes:
        distances: From the cell to the four sides, `[B, 4 R, N]`: R logits each, or one number.
        logits: `[B, C, N]`.
        levels: The sizes of the grids, finest first, whose cells are the N.
        angle: In radians, `[B, 1, N]`; None for boxes that are not rotated.
    """

    distances: Tensor
    logits: Tensor
    levels: list[tuple[int, int]]
    angle: Tensor | None = None


def keeps_anchors(module: nn.Module) -> bool:
    """Return whether a module is a YOLO's head that makes its anchors once for each input shape.

    With `dynamic` it makes them in each pass, whatever the number of images.
    """
    return all(hasattr(module, name) for name in ("anchors", "strides", "dynamic", "shape"))


def read_yolo(output: Any, size: Sequence[int]) -> Proposed | None:
    """Return what a YOLO proposed for images of a size (height, width); None for other outputs.

    These forms are read, with N cells or anchors, C classes, and E numbers beside them (masks,
    keypoints, an angle):

        (y [B, 4 + C + E, N], {"boxes": [B, 4 R, N], "scores": [B, C, N], "feats": levels})
        (y, {"one2many": as above, "one2one": as above}), y as above or [B, boxes, 6 + E]
        (y, levels [B, 4 R + C, h, w]), y as above          before version 8.4
        (y, (levels, beside...))                             the same, with masks, keypoints, angle
        (y [B, N, 5 + C], levels [B, A, h, w, 5 + C])        YOLOv5, whose objectness is a factor
        (y [B, N, ...], (boxes [L, B, N, 4], logits [L, B, N, C], ...))      RT-DETR
        (y [B, 4 + C, N], levels [B, K, h, w])               probabilities alone

    For a segmenter, y is a pair of such a tensor and of mask prototypes.
    """
    if not isinstance(output, list | tuple) or len(output) != 2:
        return None
    decoded, raw = output
    if isinstance(decoded, list | tuple) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, Tensor) or decoded.ndim != 3:
        return None
    for read in (_by_queries, _by_anchors, _by_cells, _by_probabilities):
        proposed = read(decoded, raw, size)
        if proposed is not None:
            return proposed
    return None


def _by_cells(decoded: Tensor, raw: Any, size: Sequence[int]) -> Proposed | None:
    """Read a head that proposes a box for each cell of each level."""
    head = _raw_head(decoded, raw)
    if head is None:
        return None
    logits = head.logits.transpose(1, 2)
    boxes = decoded[:, :4] if _is_dense(decoded, head.logits) else _decode(head, size)
    corners = _corners(boxes.transpose(1, 2), head.angle)
    return corners, logits, logits.detach().sigmoid()


def _by_anchors(decoded: Tensor, raw: Any, size: Sequence[int]) -> Proposed | None:  # noqa: ARG001
    """Read a YOLOv5 of the time before ultralytics' package: an objectness beside the classes."""
    levels = _tensors(raw, 5)
    channels = decoded.shape[2]
    if not levels or channels < 6 or any(level.shape[-1] != channels for level in levels):
        return None
    numbers = torch.cat([level.flatten(1, 3) for level in levels], 1)
    if numbers.shape != decoded.shape:
        return None
    likely = decoded[..., 4:5] * decoded[..., 5:]
    return _corners(decoded[..., :4]), numbers[..., 5:], likely.detach()


def _by_queries(decoded: Tensor, raw: Any, size: Sequence[int]) -> Proposed | None:
    """Read ultralytics' RT-DETR: boxes (as shares) and logits of each layer of its decoder."""
    if not isinstance(raw, list | tuple) or len(raw) < 2:
        return None
    boxes, logits = raw[:2]
    if not isinstance(boxes, Tensor) or not isinstance(logits, Tensor) or boxes.ndim != 4:
        return None
    if boxes.shape[-1] != 4 or boxes.shape[:3] != logits.shape[:3]:
        return None
    if boxes.shape[1] != len(decoded):
        return None
    height, width = size
    corners = _corners(boxes[-1]) * boxes.new_tensor([width, height, width, height])
    return corners, logits[-1], logits[-1].detach().sigmoid()


def _by_probabilities(decoded: Tensor, raw: Any, size: Sequence[int]) -> Proposed | None:  # noqa: ARG001
    """Read boxes and probabilities, where no raw logits stand beside them."""
    levels = _tensors(raw, 4)
    cells = sum(math.prod(level.shape[2:]) for level in levels)
    if len(levels) < 2 or cells != decoded.shape[2] or decoded.shape[1] < 5:
        return None
    likely = decoded[:, 4:].transpose(1, 2)
    if not bool(((likely >= 0) & (likely <= 1)).all()):
        return None
    logits = likely.logit(torch.finfo(likely.dtype).eps)
    return _corners(decoded[:, :4].transpose(1, 2)), logits, likely.detach()


def _raw_head(decoded: Tensor, raw: Any) -> _RawHead | None:
    """Return the raw output of a head; of two heads, that of the one that was decoded."""
    if isinstance(raw, Mapping) and "one2one" in raw and "one2many" in raw:
        many = _raw_head(decoded, raw["one2many"])
        if many is not None and _is_dense(decoded, many.logits):
            return many
        return _raw_head(decoded, raw["one2one"])
    head = _named_parts(raw) if isinstance(raw, Mapping) else _joined_levels(decoded, raw)
    if head is None or head.distances.shape[2] != head.logits.shape[2]:
        return None
    cells = sum(map(math.prod, head.levels))
    return head if cells == head.logits.shape[2] else None


def _named_parts(raw: Mapping[str, Any]) -> _RawHead | None:
    """Read boxes, scores and levels by their names."""
    distances, logits, angle = raw.get("boxes"), raw.get("scores"), raw.get("angle")
    if not isinstance(distances, Tensor) or not isinstance(logits, Tensor) or logits.ndim != 3:
        return None
    return _RawHead(distances, logits, _sizes(_tensors(raw.get("feats"), 4)), angle)


def _joined_levels(decoded: Tensor, raw: Any) -> _RawHead | None:
    """Read levels that hold distances and logits along their channels, as before version 8.4."""
    nested = isinstance(raw, list | tuple) and bool(raw) and isinstance(raw[0], list | tuple)
    levels = _tensors(raw[0] if nested else raw, 4)
    if not levels or len({level.shape[1] for level in levels}) > 1:
        return None
    beside = [part for part in raw[1:] if isinstance(part, Tensor) and part.ndim == 3]
    numbers = torch.cat([level.flatten(2) for level in levels], 2)
    if decoded.shape[2] == numbers.shape[2]:
        classes = decoded.shape[1] - 4 - sum(part.shape[1] for part in beside)
    else:  # the decoded output does not tell C; these versions have R = 16
        classes = numbers.shape[1] - 64
    if classes < 1 or numbers.shape[1] - classes < 4 or (numbers.shape[1] - classes) % 4:
        return None
    angle = next((part for part in beside if part.shape[1] == 1), None)
    return _RawHead(numbers[:, :-classes], numbers[:, -classes:], _sizes(levels), angle)


def _sizes(levels: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return height and width of each level."""
    return [(int(level.shape[2]), int(level.shape[3])) for level in levels]


def _tensors(values: Any, axes: int) -> list[Tensor]:
    """Return a list of tensors with this number of axes; [] if it is anything else."""
    if not isinstance(values, list | tuple):
        return []
    fitting = [v for v in values if isinstance(v, Tensor) and v.ndim == axes]
    return fitting if len(fitting) == len(values) else []


def _is_dense(decoded: Tensor, logits: Tensor) -> bool:
    """Return whether a decoded output holds a box for each of the cells."""
    return decoded.shape[2] == logits.shape[2] and decoded.shape[1] >= 4 + logits.shape[1]


def _decode(head: _RawHead, size: Sequence[int]) -> Tensor:
    """Return centre, width and height of the boxes in pixels, `[B, 4, N]`.

    The distance to a side is a mean over the bins 0 to R - 1, weighted by the softmax of R logits
    (Li et al. 2020, Generalized Focal Loss), in cells.
    """
    batch, bins, cells = len(head.distances), head.distances.shape[1] // 4, head.logits.shape[2]
    distances = head.distances
    if bins > 1:
        values = torch.arange(bins, dtype=distances.dtype, device=distances.device)
        shares = distances.reshape(batch, 4, bins, cells).softmax(2)
        distances = (shares * values[:, None]).sum(2)
    points, strides = list[Tensor](), list[Tensor]()
    for height, width in head.levels:
        rows, columns = torch.meshgrid(
            torch.arange(height, dtype=distances.dtype, device=distances.device) + 0.5,
            torch.arange(width, dtype=distances.dtype, device=distances.device) + 0.5,
            indexing="ij",
        )
        points.append(torch.stack([columns.flatten(), rows.flatten()]))
        stride = distances.new_tensor([round(size[1] / width), round(size[0] / height)])
        strides.append(stride[:, None].expand(2, height * width))
    before, after = distances.chunk(2, 1)
    offset, sides = (after - before) / 2, before + after
    if head.angle is not None:
        cos, sin = head.angle.cos(), head.angle.sin()
        x, y = offset.chunk(2, 1)
        offset = torch.cat([x * cos - y * sin, x * sin + y * cos], 1)
    centres = torch.cat(points, 1) + offset
    return torch.cat([centres, sides], 1) * torch.cat(strides, 1).repeat(2, 1)


def _corners(boxes: Tensor, angle: Tensor | None = None) -> Tensor:
    """Return x1, y1, x2, y2 of boxes given by centre, width and height, `[B, N, 4]`.

    For a box rotated by `angle` `[B, 1, N]` they are those of the upright box around it.
    """
    centre, sides = boxes[..., :2], boxes[..., 2:]
    if angle is not None:
        cos, sin = angle.transpose(1, 2).cos().abs(), angle.transpose(1, 2).sin().abs()
        width, height = sides[..., :1], sides[..., 1:]
        sides = torch.cat([width * cos + height * sin, width * sin + height * cos], -1)
    return torch.cat([centre - sides / 2, centre + sides / 2], -1)
