"""The class scores of one mask of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.box_overlaps import overlaps_of
from limelight.targets.box_table import BoxCorners, checked_boxes
from limelight.targets.context import TargetContext
from limelight.targets.mask_sets import MaskSet, read_masks
from limelight.targets.tables import ClassScores, kth

#: The number of a mask, a pixel `(row, column)` or a box; None for the most probable mask.
MaskPlace = int | BoxCorners | None

#: Masks that overlap by this are of one object, in a later run or in a box.
_SAME_OBJECT = 0.5

#: A mask found again in a later run has at least this share of the probability that it had.
_AS_PROBABLE = 0.5


class Wanted(NamedTuple):
    """The mask that is explained in one image.

    Attributes:
        number: Its number.
        label: Its class.
        mask: Its share of each cell, `[h, w]`.
        probability: How probable its class is.
    """

    number: int
    label: int
    mask: Tensor
    probability: float


class MaskTable:
    """The masks of a model, read at one of each image."""

    def __init__(self, output: object, where: MaskPlace, context: TargetContext) -> None:
        """Read the masks.

        Raises:
            TargetError: The model proposes no masks, or none there.
        """
        self._output, self._context, self._where = output, context, where
        self._set = read_masks(output)
        if not all(len(masks) for masks in self._set.masks):
            raise TargetError(
                "The model returned no mask at all in one of the images. For a detector, `Box` "
                "explains what it proposed before it dropped most boxes."
            )
        self._is_number = isinstance(where, int)
        self._fit = [self._fits(image) for image in range(context.batch)]

    @property
    def count(self) -> int:
        """C, the number of classes; 1 for a model without classes."""
        return self._set.likely[0].shape[1]

    @property
    def scores_masks(self) -> bool:
        """Whether the score is that of the mask itself rather than of its class."""
        return self._set.logits is None

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of the mask of this rank; in a given place, the class of this rank.

        With `among`, each class counts by its most probable mask.
        """
        by_image = [
            self._best_of_image(likely * fit[:, None], rank, among)
            for likely, fit in zip(self._set.likely, self._fit, strict=True)
        ]
        return torch.stack(by_image)

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return the class scores of one mask of each image, `[B, C]`.

        For masks that are scored themselves, all C are the mean logit over the mask's own pixels.
        """
        wanted = [self._wanted(image, label, rank) for image, label in enumerate(classes.tolist())]
        cells = torch.stack([_cells_of(mask.mask) for mask in wanted])

        def read(output: Any, rows: Tensor, what: str) -> Tensor:
            read_set = read_masks(output)
            values = getattr(read_set, what)
            numbers = [
                self._find_again(read_set, m, wanted[image])
                for m, image in enumerate(rows.tolist())
            ]
            return torch.stack([values[m][number] for m, number in enumerate(numbers)])

        def read_again(output: Any, rows: Tensor) -> Tensor:
            if not self.scores_masks:
                return read(output, rows, "logits")
            inside = cells[rows.to(cells.device)].flatten(1)
            masks = read(output, rows, "masks").flatten(1)
            means = (masks * inside.to(masks)).sum(1) / inside.sum(1)
            return means[:, None].expand(-1, self.count)

        def probability(output: Any, rows: Tensor) -> Tensor:
            return read(output, rows, "likely")

        region = torch.nn.functional.interpolate(cells[:, None].float(), size=self._context.size)
        return ClassScores(
            read_again(self._output, torch.arange(len(wanted), device="cpu")),
            read_again,
            tuple(f" in mask {mask.number}" for mask in wanted),
            region[:, 0] > 0,
            None if self.scores_masks else probability,
            at_one_place=True,
        )

    def _best_of_image(self, likely: Tensor, rank: int, among: Sequence[int] | None) -> Tensor:
        """Return the class of a rank among masks `[N, C]`, each with how it fits the place."""
        if among is not None or self._where is not None:
            return kth(likely.amax(0), rank, among)
        return likely.argmax(1)[self._number_of_rank(likely, rank)]

    def _number_of_rank(self, likely: Tensor, rank: int) -> Tensor:
        """Return the number of the mask of a rank, given how probable classes are, `[N, C]`."""
        if rank > len(likely):
            raise TargetError(
                f"The mask of rank {rank} was asked for; the model returned {len(likely)} masks."
            )
        return kth(likely.amax(1), rank)

    def _wanted(self, image: int, label: int, rank: int | None) -> Wanted:
        """Return the mask that is explained in one image, for a class."""
        likely = self._set.likely[image] * self._fit[image][:, None]
        if rank is not None and self._where is None:
            number = int(self._number_of_rank(likely, rank))
        else:
            number = int(likely[:, label].argmax())
            if not self._is_number and not likely[number, label]:
                raise TargetError(f"No mask in image {image} is of class {label}; name another.")
        if isinstance(self._where, int):
            number = self._where
        probability = float(self._set.likely[image][number, label])
        mask = self._set.masks[image][number].detach().sigmoid()
        return Wanted(number, label, mask, probability)

    def _find_again(self, masks: MaskSet, row: int, wanted: Wanted) -> int:
        """Return the number of a mask in another run.

        This is the number that it had. But a mask that was found by its place or its class is the
        one that overlaps it most, if there is one as probable.
        """
        if masks.keeps_numbers and (self._is_number or masks.logits is None):
            return wanted.number
        if not len(masks.masks[row]):
            raise TargetError("The model returned no mask when it was run once more.")
        overlap = _overlaps(masks.masks[row].detach().sigmoid(), wanted.mask)
        probable = masks.likely[row][:, wanted.label] >= _AS_PROBABLE * wanted.probability
        near = overlap * (probable & (overlap >= _SAME_OBJECT))
        if near.any():
            return int(near.argmax())
        return wanted.number if masks.keeps_numbers else int(overlap.argmax())

    def _fits(self, image: int) -> Tensor:
        """Return how far each mask of an image fits the place that was asked for, `[N]`."""
        masks, where = self._set.masks[image].detach(), self._where
        if where is None:
            return masks.new_ones(len(masks))
        if isinstance(where, int):
            return self._by_number(masks, where)
        if isinstance(where, Sequence) and len(where) == 2:
            return self._at_pixel(masks, where)
        box = checked_boxes(where, masks.float(), self._context)[image]
        overlap = self._box_overlaps(masks, box)
        if not (overlap >= _SAME_OBJECT).any():
            raise TargetError(
                f"No mask in image {image} fills the box asked for: the boxes around masks overlap "
                f"it by {float(overlap.max()):.2f} at most (intersection over union), and "
                f"{_SAME_OBJECT:.2f} was expected. Pass a pixel (row, column) of the object, or "
                "the number of a mask."
            )
        return (overlap >= _SAME_OBJECT).to(masks)

    def _by_number(self, masks: Tensor, number: int) -> Tensor:
        if isinstance(number, bool) or not 0 <= number < len(masks):
            raise TargetError(
                f"The mask is {number!r}; a number from 0 to {len(masks) - 1} was expected, or a "
                "pixel (row, column), or a box x1, y1, x2, y2."
            )
        fit = masks.new_zeros(len(masks))
        fit[number] = 1
        return fit

    def _at_pixel(self, masks: Tensor, where: Sequence[float] | Tensor) -> Tensor:
        """Return the share of each mask in the cell of a pixel, `[N]`."""
        size = self._context.size
        fits = all(isinstance(at, int) and 0 <= at < s for at, s in zip(where, size, strict=True))
        if not fits:
            raise TargetError(
                f"The pixel is {tuple(where)}; an index along each axis of {list(size)} was "
                "expected, from the top left: (row, column)."
            )
        cell = [
            math.floor(at * g / s) for at, g, s in zip(where, masks.shape[1:], size, strict=True)
        ]
        return masks[(slice(None), *cell)].sigmoid()

    def _box_overlaps(self, masks: Tensor, box: Tensor) -> Tensor:
        """Return the overlap of a box with the box around each mask, `[N]`."""
        inside, (height, width) = masks > 0, self._context.size
        left, right = _ends(inside.any(1))
        top, bottom = _ends(inside.any(2))
        around = torch.stack([left * width, top * height, right * width, bottom * height], 1)
        return overlaps_of(around.to(box), box[None])[:, 0]


def _ends(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return where rows `[N, n]` of truth values begin and end, as shares; 0 and 0 if all false."""
    size = inside.shape[1]
    filled = inside.float()
    first, last = filled.argmax(1), size - filled.flip(1).argmax(1)
    anywhere = inside.any(1) / size
    return first * anywhere, last * anywhere


def _cells_of(shares: Tensor) -> Tensor:
    """Return the cells that are inside a mask, `[h, w]`; all cells if none is."""
    inside = shares > 0.5
    return inside if bool(inside.any()) else torch.ones_like(inside)


def _overlaps(masks: Tensor, mask: Tensor) -> Tensor:
    """Return the overlap of shares `[N, h, w]` with those of one mask, `[N]`."""
    both, either = masks.minimum(mask), masks.maximum(mask)
    return both.flatten(1).sum(1) / either.flatten(1).sum(1)
