"""The class scores of one box in a detector's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.box_overlaps import overlaps_of, without_duplicates
from limelight.targets.context import TargetContext
from limelight.targets.mask_sets import mirrored_masks
from limelight.targets.outputs import Detected
from limelight.targets.raw_boxes import advice_on_raw_boxes
from limelight.targets.tables import ClassScores, kth

#: Boxes of one class that overlap more than this count as one object.
_SAME_OBJECT = 0.5


#: How many of the most probable boxes are kept for non-maximum suppression.
_CONSIDERED = 2000


#: x1, y1, x2, y2 in pixels of the image, `[4]`, or `[B, 4]` for one box per image.
BoxCorners = Sequence[float] | Tensor


class Object(NamedTuple):
    """An object in one image.

    Attributes:
        box: Its box.
        label: Its class.
        rivals: The boxes of more probable objects of the same class.
        probability: How probable it is, where it was found, and not asked for by its box.
    """

    box: Tensor
    label: int
    rivals: tuple[Tensor, ...] = ()
    probability: float = 0.0


class BoxTable:
    """The proposals of a detector, read at one box per image."""

    def __init__(
        self,
        output: object,
        context: TargetContext,
        box: BoxCorners | None = None,
        iou: float = 0.5,
    ) -> None:
        """Read the output and the box.

        Raises:
            TargetError: The model is not a detector, or the box is not valid.
        """
        if not isinstance(output, Detected):
            raise TargetError(
                advice_on_raw_boxes(output)
                or "A box needs a detector: one of torchvision, a YOLO, or a model that returns "
                "`pred_boxes` beside its logits, as DETR does. This model returned "
                f"{type(output).__name__}. For another detector let a wrapper of the model return "
                "limelight.Detected(logits, boxes), or pass a callable from its output to scores "
                "[B]."
            )
        if len(output.logits) != context.batch:
            raise TargetError(
                f"The detector returned proposals for {len(output.logits)} images; "
                f"{context.batch} were passed in."
            )
        if not all(len(boxes) for boxes in output.boxes):
            raise TargetError("The detector proposed no box at all in one of the images.")
        # Objects are kept for later outputs, and should not keep the graph of their boxes.
        boxes = tuple(boxes.detach() for boxes in output.boxes)
        self._detected, self._context, self._iou = replace(output, boxes=boxes), context, iou
        self._output = output
        self._box = None if box is None else self._check_box(box)

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return self._detected.logits[0].shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of the object of this rank; in a given box, the class of this rank.

        With `among`, each class counts by its most probable box.
        """
        if among is not None:
            likely = torch.stack([boxes.amax(0) for boxes in self._detected.probabilities])
            return kth(likely, rank, among)
        return torch.tensor(
            [self._object(image, rank).label for image in range(self._context.batch)],
            device=self._detected.logits[0].device,
        )

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return the logits `[B, C]` of one box of each image."""
        objects, iou = self._all_wanted(classes, rank), self._iou

        def read(output: Any, rows: Tensor, what: str) -> Tensor:
            rows_read = [
                getattr(output, what)[m][_matching_box(output, m, objects[image], iou)]
                for m, image in enumerate(rows.tolist())
            ]
            return torch.stack(rows_read)

        read_again = partial(read, what="logits")
        probability = partial(read, what="probabilities")

        boxes = torch.stack([obj.box for obj in objects])
        rows = torch.arange(len(objects), device="cpu")
        return ClassScores(
            read_again(self._detected, rows),
            read_again,
            _in_words(boxes),
            self._region(boxes),
            probability,
            at_one_place=True,
        )

    def read_corners(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return x1, y1, x2, y2 of one box of each image, `[B, 4]`, in place of class scores."""
        objects, iou = self._all_wanted(classes, rank), self._iou

        def read_again(output: Any, rows: Tensor) -> Tensor:
            corners = list[Tensor]()
            for m, image in enumerate(rows.tolist()):
                number = _matching_box(output, m, objects[image], iou)
                corners.append(_boxes_of_class(output.boxes[m], objects[image].label)[number])
            return torch.stack(corners)

        boxes = torch.stack([obj.box for obj in objects])
        rows = torch.arange(len(objects), device="cpu")
        values = read_again(self._output, rows)
        region = self._region(boxes)
        return ClassScores(values, read_again, _in_words(boxes), region, at_one_place=True)

    def _all_wanted(self, classes: Tensor, rank: int | None) -> list[Object]:
        """Return the object that is explained in each image."""
        return [self._wanted(image, index, rank) for image, index in enumerate(classes.tolist())]

    def _wanted(self, image: int, index: int, rank: int | None) -> Object:
        """Return the object that is explained in one image, for a class."""
        probabilities = self._detected.probabilities[image][:, index]
        if not probabilities.any():
            raise TargetError(f"Class {index} is no object but the background; name another class.")
        if self._box is not None:
            return Object(self._box[image], index)
        if rank is not None:
            return self._object(image, rank)
        return Object(
            _boxes_of_class(self._detected.boxes[image], index)[probabilities.argmax()], index
        )

    def _object(self, image: int, rank: int) -> Object:
        """Return the object of a rank in one image; in a given box, the class of this rank."""
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
        chosen = objects[rank - 1]
        rivals = [obj.box for obj in objects[: rank - 1] if obj.label == chosen.label]
        return chosen._replace(rivals=tuple(rivals))

    @cached_property
    def _objects(self) -> list[list[Object]]:
        """The objects in each image, most probable first, without duplicates."""
        both = zip(self._detected.boxes, self._detected.probabilities, strict=True)
        return [_distinct(boxes, probabilities) for boxes, probabilities in both]

    def _check_box(self, box: Sequence[float] | Tensor) -> Tensor:
        """Return the given boxes as `[B, 4]`, after checking that something was proposed there."""
        boxes = checked_boxes(box, self._detected.boxes[0], self._context)
        for image in range(self._context.batch):
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


def check_iou(iou: float) -> None:
    """Refuse an overlap outside (0, 1].

    Raises:
        TargetError: It is outside.
    """
    if not 0 < iou <= 1:
        raise TargetError(f"iou is {iou}; a share above 0 and up to 1 was expected.")


def checked_boxes(box: BoxCorners, like: Tensor, context: TargetContext) -> Tensor:
    """Return given boxes as `[B, 4]`, of the type and on the device of `like`.

    Raises:
        TargetError: They have another shape, or lie outside the image.
    """
    boxes = torch.as_tensor(box, dtype=like.dtype, device=like.device)
    batch, (height, width) = context.batch, context.size
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.shape not in ((1, 4), (batch, 4)):
        raise TargetError(
            f"The box has shape {list(as_tensor(box).shape)}; x1, y1, x2, y2 were "
            f"expected, or one such row per image [{batch}, 4]."
        )
    inside = (boxes >= -1).all() and (boxes[:, 2::2] <= width + 1).all()
    inside = inside and (boxes[:, 3] <= height + 1).all()
    if not bool(inside and (boxes[:, 2:] > boxes[:, :2]).all()):
        raise TargetError(
            f"The box is {boxes.tolist()}; x1 < x2 and y1 < y2 in pixels of the image were "
            f"expected, which is {width} wide and {height} high."
        )
    return boxes.expand(batch, 4)


def mirrored(detected: Detected, axes: Sequence[int], size: Sequence[int]) -> Detected:
    """Return the proposals of a detector for flipped images, with boxes and masks flipped back.

    Args:
        detected: What the detector proposed.
        axes: The image axes along which the images were flipped, counted from the end.
        size: The shape of the images; its last two sizes are height and width.
    """
    boxes = list(detected.boxes)
    for axis in axes:
        low, high = (0, 2) if axis == -1 else (1, 3)
        for image, box in enumerate(boxes):
            turned = box.clone()
            turned[..., low], turned[..., high] = (
                size[axis] - box[..., high],
                size[axis] - box[..., low],
            )
            boxes[image] = turned
    output = mirrored_masks(detected.output, axes)
    return replace(detected, boxes=tuple(boxes), output=output)


def find_objects(detected: Detected, image: int) -> list[Object]:
    """Return the objects that a detector found in an image, most probable first.

    Boxes of one class that overlap by more than half count as one object.
    """
    return _distinct(detected.boxes[image].detach(), detected.probabilities[image].detach())


def largest_logits(detected: Detected) -> list[Tensor]:
    """Return the highest logit of a small, a medium and a large box in the first image."""
    boxes, probabilities = detected.boxes[0].detach(), detected.probabilities[0]
    sides = boxes[..., 2:] - boxes[..., :2]
    area = sides.prod(-1).reshape(len(boxes), -1).amax(1)
    order = area.argsort()
    chosen = {int(order[round(share * (len(order) - 1))]) for share in (0, 0.5, 1)}
    return [detected.logits[0][i, probabilities[i].argmax()] for i in sorted(chosen)]


def _in_words(boxes: Tensor) -> tuple[str, ...]:
    """Return what each box adds to a label."""
    return tuple(f" in box [{', '.join(f'{x:.0f}' for x in box)}]" for box in boxes.tolist())


def _distinct(boxes: Tensor, probabilities: Tensor) -> list[Object]:
    """Return the objects among boxes `[N, 4]` or `[N, C, 4]`, most probable first."""
    count = min(_CONSIDERED, int((probabilities > 0).sum()))
    values, places = probabilities.flatten().topk(count)
    rows, classes = places // probabilities.shape[1], places % probabilities.shape[1]
    candidates = boxes if boxes.ndim == 2 else boxes.flatten(0, 1)
    top_boxes = candidates[rows] if boxes.ndim == 2 else candidates[places]
    kept = without_duplicates(top_boxes.float(), values.float(), classes, _SAME_OBJECT)
    found = zip(top_boxes[kept], classes[kept].tolist(), values[kept].tolist(), strict=True)
    return [Object(box, label, (), likely) for box, label, likely in found]


def _boxes_of_class(boxes: Tensor, index: int) -> Tensor:
    """Return the boxes `[N, 4]` that belong to a class."""
    return boxes if boxes.ndim == 2 else boxes[:, index]


def _matching_box(output: Any, image: int, wanted: Object, iou: float) -> Tensor:
    """Return the number of the most probable box near the wanted object, or of the nearest box.

    A box that is nearer to one of the object's rivals does not count as near.
    """
    if not isinstance(output, Detected) or not len(output.boxes[image]):
        raise TargetError("The detector proposed no box when it was run once more.")
    boxes = _boxes_of_class(output.boxes[image], wanted.label)
    overlap = _overlap(boxes, wanted.box)
    near = overlap >= iou
    for rival in wanted.rivals:
        near &= overlap > _overlap(boxes, rival)
    probabilities = output.probabilities[image][:, wanted.label] * near
    return probabilities.argmax() if bool(probabilities.any()) else overlap.argmax()


def _overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    """Return the overlap of boxes with one box, `[N, C]`; `[N, 1]` if classes share boxes."""
    by_class = boxes if boxes.ndim == 3 else boxes[:, None]
    return _overlap(by_class.flatten(0, 1), box).reshape(by_class.shape[:2])


def _overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """Return the overlap (intersection over union) of boxes `[N, 4]` with one box, `[N]`."""
    return overlaps_of(boxes.float(), box[None].float())[:, 0]
