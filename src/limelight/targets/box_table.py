"""A table of class scores of one box of a detector's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected
from limelight.targets.tables import ClassScores, kth

#: Boxes of one class that overlap more than this are one object.
_SAME_OBJECT = 0.5


#: How many of the most probable boxes are kept for non-maximum suppression.
_CONSIDERED = 2000


#: x1, y1, x2, y2 in pixels of the image, `[4]`, or `[B, 4]` for one box per image.
BoxCorners = Sequence[float] | Tensor


class Object(NamedTuple):
    """An object in one image: its box, its class, and more probable ones of the same class."""

    box: Tensor
    label: int
    rivals: tuple[Tensor, ...] = ()


class BoxTable:
    """What a detector proposed, and the box to read it at."""

    def __init__(
        self,
        output: object,
        context: TargetContext,
        box: BoxCorners | None = None,
        iou: float = 0.5,
    ) -> None:
        """Read the output and the box.

        Raises:
            TargetError: The model is no detector, or the box is none.
        """
        if not isinstance(output, Detected):
            raise TargetError(
                "A box needs a detector: one of torchvision, or a model that returns `pred_boxes` "
                "beside its logits, as DETR does. This model returned "
                f"{type(output).__name__}. For another detector pass a callable from its output to "
                "scores [B]."
            )
        if not all(len(boxes) for boxes in output.boxes):
            raise TargetError("The detector proposed no box at all in one of the images.")
        self._detected, self._context, self._iou = output, context, iou
        self._box = None if box is None else self._checked(box)

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return self._detected.logits[0].shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of the object of this rank; at a given box, the class of this rank."""
        if among is not None:  # the most probable box of each
            likely = torch.stack([one.amax(0) for one in self._detected.probabilities])
            return kth(likely, rank, among)
        return torch.tensor(
            [self._object(image, rank).label for image in range(self._context.batch)],
            device=self._detected.logits[0].device,
        )

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return the logits `[B, C]` of one box of each image."""
        wanted = classes.tolist()
        found = [self._wanted(image, index, rank) for image, index in enumerate(wanted)]
        iou = self._iou

        def read(output: Any, rows: Tensor, what: str) -> Tensor:
            each = [
                getattr(output, what)[m][_place(output, m, found[image], iou)]
                for m, image in enumerate(rows.tolist())
            ]
            return torch.stack(each)

        again = partial(read, what="logits")
        probability = partial(read, what="probabilities")

        boxes = torch.stack([one.box for one in found])
        where = tuple(f" in box [{', '.join(f'{x:.0f}' for x in box)}]" for box in boxes.tolist())
        rows = torch.arange(len(wanted), device="cpu")
        return ClassScores(
            again(self._detected, rows), again, where, self._region(boxes), probability
        )

    def _wanted(self, image: int, index: int, rank: int | None) -> Object:
        """Return the object asked for, of a class, in one image."""
        likely = self._detected.probabilities[image][:, index]
        if not likely.any():
            raise TargetError(f"Class {index} is no object but the background; name another class.")
        if self._box is not None:
            return Object(self._box[image], index)
        if rank is not None:
            return self._object(image, rank)
        return Object(_boxes_of(self._detected.boxes[image], index)[likely.argmax()], index)

    def _object(self, image: int, rank: int) -> Object:
        """Return the object of a rank in one image; with a box given, the class of a rank there."""
        probabilities = self._detected.probabilities[image]
        if self._box is not None:
            boxes = self._detected.boxes[image]
            overlap = _overlaps(boxes, self._box[image])
            close = probabilities * (overlap >= self._iou)
            by_class = close.amax(0)
            if not by_class.any():
                raise self._nothing_near(image, float(overlap.max()))
            return Object(self._box[image], int(kth(by_class, rank)))
        objects = self._objects[image]
        if rank > len(objects):
            raise TargetError(
                f"The object of rank {rank} was asked for; in image {image} the detector proposed "
                f"{len(objects)}."
            )
        found = objects[rank - 1]
        rivals = [one.box for one in objects[: rank - 1] if one.label == found.label]
        return found._replace(rivals=tuple(rivals))

    @cached_property
    def _objects(self) -> list[list[Object]]:
        """The objects in each image, most probable first, without duplicates."""
        both = zip(self._detected.boxes, self._detected.probabilities, strict=True)
        return [_distinct(boxes, probabilities) for boxes, probabilities in both]

    def _checked(self, given: Sequence[float] | Tensor) -> Tensor:
        """Return the boxes asked for, `[B, 4]`, and check that something was proposed there."""
        first = self._detected.boxes[0]
        boxes = torch.as_tensor(given, dtype=first.dtype, device=first.device)
        batch, (height, width) = self._context.batch, self._context.size
        boxes = boxes[None] if boxes.ndim == 1 else boxes
        if boxes.shape not in ((1, 4), (batch, 4)):
            raise TargetError(
                f"The box has shape {list(as_tensor(given).shape)}; x1, y1, x2, y2 were "
                f"expected, or one such row per image [{batch}, 4]."
            )
        inside = (boxes >= -1).all() and (boxes[:, 2::2] <= width + 1).all()
        inside = inside and (boxes[:, 3] <= height + 1).all()
        if not bool(inside and (boxes[:, 2:] > boxes[:, :2]).all()):
            raise TargetError(
                f"The box is {boxes.tolist()}; x1 < x2 and y1 < y2 in pixels of the image were "
                f"expected, which is {width} wide and {height} high."
            )
        boxes = boxes.expand(batch, 4)
        for image in range(batch):
            nearest = float(_overlaps(self._detected.boxes[image], boxes[image]).max())
            if nearest < self._iou:
                raise self._nothing_near(image, nearest)
        return boxes

    def _nothing_near(self, image: int, nearest: float) -> TargetError:
        return TargetError(
            f"No box that the detector proposed in image {image} overlaps the box asked for by "
            f"{self._iou:.2f} (intersection over union); the nearest has {nearest:.2f}. Ask for "
            "less with Box(..., iou=...), or for a box that it returned."
        )

    def _region(self, boxes: Tensor) -> Tensor:
        """Return the pixels inside the boxes, `[B, H, W]`."""
        height, width = self._context.size
        x = torch.arange(width, dtype=torch.float32, device=boxes.device) + 0.5
        y = torch.arange(height, dtype=torch.float32, device=boxes.device) + 0.5
        across = (x >= boxes[:, :1]) & (x <= boxes[:, 2:3])
        down = (y >= boxes[:, 1:2]) & (y <= boxes[:, 3:4])
        return down[:, :, None] & across[:, None, :]


def mirrored(found: Detected, axes: Sequence[int], size: Sequence[int]) -> Detected:
    """Return what a detector proposed in flipped images, with its boxes flipped back.

    Args:
        found: What it proposed.
        axes: The image axes along which the images were flipped, from the end.
        size: Height and width of the images.
    """
    boxes = list(found.boxes)
    for axis in axes:
        low, high = (0, 2) if axis == -1 else (1, 3)
        for image, one in enumerate(boxes):
            turned = one.clone()
            turned[..., low], turned[..., high] = (
                size[axis] - one[..., high],
                size[axis] - one[..., low],
            )
            boxes[image] = turned
    return replace(found, boxes=tuple(boxes))


def largest_logits(found: Detected) -> list[Tensor]:
    """Return the highest logit of a small, a middling and a large box of the first image."""
    boxes, likely = found.boxes[0], found.probabilities[0]
    sides = boxes[..., 2:] - boxes[..., :2]
    area = sides.prod(-1).reshape(len(boxes), -1).amax(1)
    order = area.argsort()
    at = {int(order[round(share * (len(order) - 1))]) for share in (0, 0.5, 1)}
    return [found.logits[0][i, likely[i].argmax()] for i in sorted(at)]


def _distinct(boxes: Tensor, probabilities: Tensor) -> list[Object]:
    """Return the objects among boxes `[N, 4]` or `[N, C, 4]`, most probable first."""
    from torchvision.ops import batched_nms

    count = min(_CONSIDERED, int((probabilities > 0).sum()))
    values, places = probabilities.flatten().topk(count)
    rows, classes = places // probabilities.shape[1], places % probabilities.shape[1]
    own = boxes if boxes.ndim == 2 else boxes.flatten(0, 1)
    chosen = own[rows] if boxes.ndim == 2 else own[places]
    kept = batched_nms(chosen.float(), values.float(), classes, _SAME_OBJECT)
    labels = classes[kept].tolist()
    return [Object(box, label) for box, label in zip(chosen[kept], labels, strict=True)]


def _boxes_of(boxes: Tensor, index: int) -> Tensor:
    """Return the boxes `[N, 4]` that belong to a class."""
    return boxes if boxes.ndim == 2 else boxes[:, index]


def _place(output: Any, image: int, wanted: Object, iou: float) -> Tensor:
    """Return which box is the most probable near the one wanted, else which is the nearest.

    What is nearer to a rival is not near.
    """
    if not isinstance(output, Detected) or not len(output.boxes[image]):
        raise TargetError("The detector proposed no box when it was run once more.")
    boxes = _boxes_of(output.boxes[image], wanted.label)
    overlap = _overlap(boxes, wanted.box)
    near = overlap >= iou
    for rival in wanted.rivals:
        near &= overlap > _overlap(boxes, rival)
    likely = output.probabilities[image][:, wanted.label] * near
    return likely.argmax() if bool(likely.any()) else overlap.argmax()


def _overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    """Return the intersection over union of boxes with one, `[N, C]`, or `[N, 1]` for all C."""
    each = boxes if boxes.ndim == 3 else boxes[:, None]
    return _overlap(each.flatten(0, 1), box).reshape(each.shape[:2])


def _overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """Return the intersection over union of boxes `[N, 4]` with one, `[N]`."""
    from torchvision.ops import box_iou

    overlap: Tensor = box_iou(boxes.float(), box[None].float())[:, 0]
    return overlap
