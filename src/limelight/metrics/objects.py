"""Where the objects are: masks and boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.inputs import as_tensor

Boxes = Tensor | Sequence[Sequence[float]]


#: Masks `[B, *image]`, or for each image boxes `[n, 4]`: x1, y1, x2, y2 in its pixels.
Where = Tensor | Sequence[Boxes]


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in B images.

    Attributes:
        mask: Which pixels belong to one, `[B, *image]`; none where there is no object.
        boxes: For each image, boxes `[n, 2 * axes]`: where each begins along every axis (x first,
            as in x1, y1, x2, y2), then where it ends, in pixels from the corner of the first.
    """

    mask: Tensor
    boxes: tuple[Tensor, ...]

    @classmethod
    def of(cls, where: Where | Objects, images: Tensor) -> Objects:
        """Read masks or boxes.

        Of masks, every connected part is an object. A box that holds no pixel's centre has the
        pixel nearest to its middle; what lies outside the image is cut off, and a box that lies
        outside altogether is none.

        Raises:
            InputError: They do not fit the images.
        """
        size, batch = tuple(images.shape[2:]), len(images)
        if isinstance(where, Objects):
            if tuple(where.mask.shape) == (batch, *size):
                return cls(where.mask.to(images.device), where.boxes)
            given: Any = where.mask
        else:
            given = _as_masks(where)
        masks = isinstance(given, Tensor)
        if len(given) != batch or (masks and tuple(given.shape[1:]) != size):
            told = list(given.shape) if masks else f"{len(given)} images"
            raise InputError(
                f"The objects are given as {told}, for images {list(images.shape)}. Masks "
                f"{[batch, *size]} were expected, or a list with the boxes [n, {2 * len(size)}] of "
                "each image."
            )
        if masks:
            marked = given != 0
            return cls(marked.to(images.device), tuple(map(_boxes_of, marked)))
        each = [_checked(own, size, number) for number, own in enumerate(given)]
        marked = torch.stack([_mask_of(own, size) for own in each])
        return cls(marked.to(images.device), tuple(each))


def _as_masks(where: Any) -> Any:
    """Return masks as one tensor: an array, or a list of tensors of True and False."""
    if hasattr(where, "__array__"):
        return as_tensor(where)
    each = [as_tensor(one) if hasattr(one, "__array__") else None for one in where]
    marks = [one for one in each if one is not None and one.dtype == torch.bool]
    alike = len(marks) == len(each) and len({tuple(one.shape) for one in marks}) == 1
    return torch.stack(marks) if alike else where


def _checked(given: Boxes, size: tuple[int, ...], image: int) -> Tensor:
    """Return boxes `[n, 2 * axes]`, cut off at the edges of the image, without those outside."""
    axes = len(size)
    boxes = torch.as_tensor(given, dtype=torch.float32, device="cpu")
    boxes = boxes if boxes.numel() else boxes.new_zeros(0, 2 * axes)
    fits = boxes.ndim == 2 and boxes.shape[1] == 2 * axes and bool(boxes.isfinite().all())
    low, high = boxes[..., :axes], boxes[..., axes:]
    if not fits or not bool((high >= low).all()):
        told = boxes.tolist() if boxes.numel() <= 40 else f"of shape {list(boxes.shape)}"
        raise InputError(
            f"The boxes of image {image} are {told}; a row x1, y1, x2, y2 for each was expected, "
            "in pixels, with x1 <= x2 and y1 <= y2."
        )
    end = torch.tensor(size[::-1], dtype=boxes.dtype, device="cpu")
    cut = torch.cat([low.clamp(min=0).minimum(end), high.clamp(min=0).minimum(end)], 1)
    # One without extent counts as inside where it begins.
    inside = ((low < end) & ((high > 0) | ((low == high) & (low == 0)))).all(1)
    return cut[inside]


def _mask_of(boxes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the pixels `[*image]` whose centres lie in one of the boxes."""
    mask = torch.zeros(size, dtype=torch.bool, device="cpu")
    axes = len(size)
    for box in boxes.tolist():
        places = []
        for length, low, high in zip(size, box[axes - 1 :: -1], box[: axes - 1 : -1], strict=True):
            start, stop = math.ceil(low - 0.5), math.ceil(high - 0.5)
            if stop <= start:  # no centre inside
                start = min(length - 1, int((low + high) / 2))
                stop = start + 1
            places.append(slice(max(0, start), stop))
        mask[tuple(places)] = True
    return mask


def _boxes_of(mask: Tensor) -> Tensor:
    """Return the boxes `[n, 2 * axes]` of the connected parts of a mask `[*image]`."""
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask.cpu().numpy())
    return _as_boxes(find_objects(parts), mask.ndim)


def _as_boxes(places: Sequence[tuple[slice, ...]], axes: int) -> Tensor:
    boxes = [
        [*(part.start for part in place[::-1]), *(part.stop for part in place[::-1])]
        for place in places
    ]
    return torch.tensor(boxes, dtype=torch.float32, device="cpu").reshape(-1, 2 * axes)


def largest_part(inside: Tensor) -> Tensor:
    """Return the box `[2 * axes]` of the largest connected part of a mask `[*image]`.

    Of several that are equally large, the first; parts that touch along an edge are connected.
    """
    from scipy.ndimage import find_objects, label

    parts, count = label(inside.cpu().numpy())
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    place = find_objects(parts)[int(sizes.argmax())]
    return _as_boxes([place], inside.ndim)[0]


def overlaps(box: Tensor, boxes: Tensor) -> Tensor:
    """Return the intersection over union of a box `[2 * axes]` with others, `[n]`."""
    axes = len(box) // 2
    low = torch.maximum(box[:axes], boxes[:, :axes])
    high = torch.minimum(box[axes:], boxes[:, axes:])
    both = (high - low).clamp(min=0).prod(1)
    areas = (boxes[:, axes:] - boxes[:, :axes]).prod(1)
    union = (box[axes:] - box[:axes]).prod() + areas - both
    return torch.where(union > 0, both / union, 0)


def near(mask: Tensor, tolerance: float) -> Tensor:
    """Return the pixels `[B, *image]` no farther than `tolerance` from a mask's nearest one.

    The distance is that between the centres of pixels.
    """
    from scipy.ndimage import distance_transform_edt

    found = []
    for one in mask.cpu().numpy():
        if not one.any():
            found.append(torch.zeros(one.shape, dtype=torch.bool, device="cpu"))
        else:
            found.append(torch.from_numpy(distance_transform_edt(~one) <= tolerance))
    return torch.stack(found).to(mask.device)
