"""Detection: the score of one box of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.classes import ClassRule, kth
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected
from limelight.targets.tables import Read

#: Boxes of one class that overlap more than this are one object.
_SAME_OBJECT = 0.5


#: Of this many of the most probable boxes duplicates are taken out.
_CONSIDERED = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """One box of a detector: the logit of its class.

    The detector proposes many boxes, and drops most of them. Of those that it proposed, the score
    is read off the one that overlaps the box asked for by at least `iou` and is most probable.
    Also a box that the detector did not return can be explained, then: an object that it missed.

        Box([30, 40, 200, 220])            the class that is most probable there
        Box([30, 40, 200, 220], "dog")     this class there
        Box(target="dog")                  the most probable dog

    `limelight.top(5)` explains the five most probable objects of each image. `hirescam` and
    `layercam` suit boxes better than `gradcam`, which weighs channels over the whole picture.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the image that was passed in, `[4]` or one per image
            `[B, 4]`; None for the most probable one.
        target: The class, or a `Contrast` or `Counterfactual` of classes; None for the most
            probable one.
        iou: The least overlap with a box that was proposed, intersection over union.
    """

    box: Sequence[float] | Tensor | None = None
    target: ClassRule = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        """Refuse an overlap that means nothing."""
        if not 0 < self.iou <= 1:
            raise TargetError(f"iou is {self.iou}; a share above 0 and up to 1 was expected.")


class Found(NamedTuple):
    """An object in one image: its box, its class, and more probable ones of the same class."""

    box: Tensor
    label: int
    rivals: tuple[Tensor, ...] = ()


class Boxes:
    """What a detector proposed, and the box to read it at."""

    def __init__(self, output: object, box: Box, asked: TargetContext) -> None:
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
        self._found, self._asked, self._iou = output, asked, box.iou
        self._given = None if box.box is None else self._checked(box.box)

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return self._found.logits[0].shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of the object of this rank; at a given box, the class of this rank."""
        if among is not None:  # the most probable box of each
            likely = torch.stack([one.amax(0) for one in self._found.probabilities])
            return kth(likely, rank, among)
        return torch.tensor(
            [self._object(image, rank).label for image in range(self._asked.batch)],
            device=self._found.logits[0].device,
        )

    def read(self, classes: Tensor, rank: int | None) -> Read:
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
        likely = partial(read, what="probabilities")

        boxes = torch.stack([one.box for one in found])
        where = tuple(f" in box [{', '.join(f'{x:.0f}' for x in box)}]" for box in boxes.tolist())
        rows = torch.arange(len(wanted), device="cpu")
        return Read(again(self._found, rows), again, where, self._region(boxes), likely)

    def _wanted(self, image: int, index: int, rank: int | None) -> Found:
        """Return the object asked for, of a class, in one image."""
        likely = self._found.probabilities[image][:, index]
        if not likely.any():
            raise TargetError(f"Class {index} is no object but the background; name another class.")
        if self._given is not None:
            return Found(self._given[image], index)
        if rank is not None:
            return self._object(image, rank)
        return Found(_boxes_of(self._found.boxes[image], index)[likely.argmax()], index)

    def _object(self, image: int, rank: int) -> Found:
        """Return the object of a rank in one image; with a box given, the class of a rank there."""
        probabilities = self._found.probabilities[image]
        if self._given is not None:
            boxes = self._found.boxes[image]
            overlap = _overlaps(boxes, self._given[image])
            close = probabilities * (overlap >= self._iou)
            by_class = close.amax(0)
            if not by_class.any():
                raise self._nothing_near(image, float(overlap.max()))
            return Found(self._given[image], int(kth(by_class, rank)))
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
    def _objects(self) -> list[list[Found]]:
        """The objects in each image, most probable first, without duplicates."""
        both = zip(self._found.boxes, self._found.probabilities, strict=True)
        return [_distinct(boxes, probabilities) for boxes, probabilities in both]

    def _checked(self, given: Sequence[float] | Tensor) -> Tensor:
        """Return the boxes asked for, `[B, 4]`, and check that something was proposed there."""
        first = self._found.boxes[0]
        boxes = torch.as_tensor(given, dtype=first.dtype, device=first.device)
        batch, (height, width) = self._asked.batch, self._asked.size
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
            nearest = float(_overlaps(self._found.boxes[image], boxes[image]).max())
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
        height, width = self._asked.size
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


def _distinct(boxes: Tensor, probabilities: Tensor) -> list[Found]:
    """Return the objects among boxes `[N, 4]` or `[N, C, 4]`, most probable first."""
    from torchvision.ops import batched_nms

    count = min(_CONSIDERED, int((probabilities > 0).sum()))
    values, places = probabilities.flatten().topk(count)
    rows, classes = places // probabilities.shape[1], places % probabilities.shape[1]
    own = boxes if boxes.ndim == 2 else boxes.flatten(0, 1)
    chosen = own[rows] if boxes.ndim == 2 else own[places]
    kept = batched_nms(chosen.float(), values.float(), classes, _SAME_OBJECT)
    labels = classes[kept].tolist()
    return [Found(box, label) for box, label in zip(chosen[kept], labels, strict=True)]


def _boxes_of(boxes: Tensor, index: int) -> Tensor:
    """Return the boxes `[N, 4]` that belong to a class."""
    return boxes if boxes.ndim == 2 else boxes[:, index]


def _place(output: Any, image: int, wanted: Found, iou: float) -> Tensor:
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
