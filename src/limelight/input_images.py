"""Which of a model's input tensors holds the images, and whether they can be used."""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.packing import are_patches_in_a_row


def first_images(all_tensors: list[Tensor]) -> int:
    """Return the number of the first tensor of images: floating point, with three axes or more.

    Without one it is the first that may be packed patches `[N, D]`, or the first of all.
    """
    floating = [i for i, t in enumerate(all_tensors) if t.is_floating_point()]
    images = [i for i in floating if all_tensors[i].ndim >= 3]
    packed = [i for i in floating if are_patches_in_a_row(all_tensors[i], all_tensors)]
    return next(iter((*images, *packed)), 0)


def is_frames(images: Tensor) -> bool:
    """Return whether images are video in the order `[B, T, C, H, W]`: colours third, not second."""
    return images.ndim == 5 and images.shape[2] in (1, 3) and images.shape[1] not in (1, 3)


def stacked_images(images: list[Tensor]) -> Tensor:
    """Return a list of images `[C, *image]` as one tensor `[B, C, *image]`."""
    if not images or not all(isinstance(image, Tensor) for image in images):
        kinds = sorted({type(image).__name__ for image in images}) or ["nothing"]
        raise InputError(
            f"The inputs are a list of {', '.join(kinds)}; a list of images [C, H, W] was "
            "expected. What a model takes as several arguments is passed as a tuple."
        )
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise InputError(
            f"The images in the list have shapes {sorted(map(list, shapes))}; one shape was "
            "expected, as their maps are one tensor. Explain them one by one, or resize them."
        )
    with torch.inference_mode(False), torch.no_grad():
        return torch.stack(images)


NO_BATCH = "The inputs hold no tensor with a batch axis; a tensor [B, C, H, W] was expected."


def check_images(image: Tensor) -> None:
    """Check that images can be explained.

    Raises:
        InputError: They have no batch axis, are empty or not finite, or are true and false.
    """
    if not image.ndim:
        raise InputError(NO_BATCH)
    if image.numel() == 0:
        raise InputError(f"The images are empty: their shape is {list(image.shape)}.")
    if image.dtype == torch.bool and image.ndim >= 3:
        raise InputError(
            f"The images {list(image.shape)} are torch.bool, which no small change can be made to; "
            "pass images.float(), or images.byte() for a network that takes whole numbers."
        )
    # The sum is cheap, and not finite if any value is not; it may also overflow by itself.
    if image.is_floating_point() and not image.sum().isfinite():
        bad = (~image.isfinite()).reshape(len(image), -1).sum(1).tolist()
        which = ", ".join(f"{count} in image {i}" for i, count in enumerate(bad) if count)
        if which:
            raise InputError(
                f"The images hold values that are NaN or infinite ({which}). Check the "
                "preprocessing: dividing by a standard deviation of zero does this."
            )
