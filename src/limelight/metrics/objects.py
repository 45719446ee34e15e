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

ImageBoxes = Tensor | Sequence[Sequence[float]]


#: Masks `[B, *image]`, or for each image boxes `[n, 4]`: x1, y1, x2, y2 in its pixels.
MasksOrBoxes = Tensor | Sequence[ImageBoxes]


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in B images.

    Attributes:
        mask: Which pixels belong to one, `[B, *image]`; none where there is no object.
        boxes: For each image, boxes `[n, 2 * axes]`: where each begins along every axis (x first,
            as in x1, y1, x2, y2), then where it ends, in pixels from the image's first corner.
    """

    mask: Tensor
    boxes: tuple[Tensor, ...]

    @classmethod
    def of(cls, objects: MasksOrBoxes | Objects, images: Tensor) -> Objects:
        """Read masks or boxes.

        Every connected part of a mask is an object. A box that holds no pixel's centre has the
        pixel nearest to its middle; what lies outside the image is cut off, and a box that lies
        outside altogether is dropped.

        Raises:
            InputError: They do not fit the images.
        """
        size, batch = tuple(images.shape[2:]), len(images)
        if isinstance(objects, Objects):
            if tuple(objects.mask.shape) == (batch, *size):
                return cls(objects.mask.to(images.device), objects.boxes)
            given: Any = objects.mask
        else:
            given = _as_masks(objects)
        masks = isinstance(given, Tensor)
        if len(given) != batch or (masks and tuple(given.shape[1:]) != size):
            shape = list(given.shape) if masks else f"{len(given)} images"
            raise InputError(
                f"The objects are given as {shape}, for images {list(images.shape)}. Masks "
                f"{[batch, *size]} were expected, or a list with the boxes [n, {2 * len(size)}] of "
                "each image."
            )
        if masks:
            marked = given != 0
            return cls(marked.to(images.device), tuple(map(_part_boxes, marked)))
        boxes = [_cropped_boxes(of_image, size, number) for number, of_image in enumerate(given)]
        marked = torch.stack([_mask_of(of_image, size) for of_image in boxes])
        return cls(marked.to(images.device), tuple(boxes))


def _as_masks(objects: Any) -> Any:
    """Return masks as one tensor, from an array or a list of boolean ones; boxes as they are."""
    if hasattr(objects, "__array__"):
        return as_tensor(objects)
    tensors = [as_tensor(item) if hasattr(item, "__array__") else None for item in objects]
    masks = [tensor for tensor in tensors if tensor is not None and tensor.dtype == torch.bool]
    same_shape = len({tuple(mask.shape) for mask in masks}) == 1
    return torch.stack(masks) if len(masks) == len(tensors) and same_shape else objects


def _cropped_boxes(given: ImageBoxes, size: tuple[int, ...], image: int) -> Tensor:
    """Return boxes `[n, 2 * axes]`, cut off at the edges of the image, without those outside."""
    axes = len(size)
    boxes = torch.as_tensor(given, dtype=torch.float32, device="cpu")
    boxes = boxes if boxes.numel() else boxes.new_zeros(0, 2 * axes)
    fits = boxes.ndim == 2 and boxes.shape[1] == 2 * axes and bool(boxes.isfinite().all())
    low, high = boxes[..., :axes], boxes[..., axes:]
    if not fits or not bool((high >= low).all()):
        shown = boxes.tolist() if boxes.numel() <= 40 else f"of shape {list(boxes.shape)}"
        raise InputError(
            f"The boxes of image {image} are {shown}; a row x1, y1, x2, y2 for each was expected, "
            "in pixels, with x1 <= x2 and y1 <= y2."
        )
    end = torch.tensor(size[::-1], dtype=boxes.dtype, device="cpu")
    cut = torch.cat([low.clamp(min=0).minimum(end), high.clamp(min=0).minimum(end)], 1)
    # A box without extent is inside if its corner is.
    inside = ((low < end) & ((high > 0) | ((low == high) & (low == 0)))).all(1)
    return cut[inside]


def _mask_of(boxes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the pixels `[*image]` whose centres lie in one of the boxes."""
    mask = torch.zeros(size, dtype=torch.bool, device="cpu")
    axes = len(size)
    for box in boxes.tolist():
        slices = []
        for length, low, high in zip(size, box[axes - 1 :: -1], box[: axes - 1 : -1], strict=True):
            start, stop = math.ceil(low - 0.5), math.ceil(high - 0.5)
            if stop <= start:  # no centre inside
                start = min(length - 1, int((low + high) / 2))
                stop = start + 1
            slices.append(slice(max(0, start), stop))
        mask[tuple(slices)] = True
    return mask


def _part_boxes(mask: Tensor) -> Tensor:
    """Return the boxes `[n, 2 * axes]` of the connected parts of a mask `[*image]`."""
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask.cpu().numpy())
    return _as_boxes(find_objects(parts), mask.ndim)


def _as_boxes(regions: Sequence[tuple[slice, ...]], axes: int) -> Tensor:
    """Return the boxes `[n, 2 * axes]` of regions, each a slice along every image axis."""
    boxes = [
        [*(along.start for along in region[::-1]), *(along.stop for along in region[::-1])]
        for region in regions
    ]
    return torch.tensor(boxes, dtype=torch.float32, device="cpu").reshape(-1, 2 * axes)


def largest_part_box(inside: Tensor) -> Tensor:
    """Return the box `[2 * axes]` of the largest connected part of a mask `[*image]`.

    Among equally large parts it is that of the first; pixels that share an edge are connected.
    """
    from scipy.ndimage import find_objects, label

    parts, count = label(inside.cpu().numpy())
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    region = find_objects(parts)[int(sizes.argmax())]
    return _as_boxes([region], inside.ndim)[0]


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

    nearby = []
    for inside in mask.cpu().numpy():
        if not inside.any():
            nearby.append(torch.zeros(inside.shape, dtype=torch.bool, device="cpu"))
        else:
            nearby.append(torch.from_numpy(distance_transform_edt(~inside) <= tolerance))
    return torch.stack(nearby).to(mask.device)
