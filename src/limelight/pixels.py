"""Pictures of whole numbers, such as bytes: masked in floating point, and rounded again."""

from __future__ import annotations

import torch
from torch import Tensor


def in_floating_point(images: Tensor) -> Tensor:
    """Return images of whole numbers in float32, to be masked, and others as they are."""
    return images if images.is_floating_point() or images.is_complex() else images.float()


def as_pixels(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values as pixels of a dtype: for whole numbers, rounded and kept in its range."""
    if dtype.is_floating_point or dtype.is_complex:
        return values.to(dtype)
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return values.round().clamp(low, high).to(dtype)


def input_problem(image: Tensor, *, requires_grad: bool) -> str:
    """Return why nothing can be explained at the images themselves; "" if it can.

    Whole numbers can be changed, but not differentiated by; hence `requires_grad`.
    """
    problem = (
        f"The input is {image.dtype} {list(image.shape)}; to explain at the input itself, images "
        "[B, C, *image] in floating point were expected. "
    )
    if image.ndim >= 3 and not image.is_complex():
        if image.is_floating_point() or not requires_grad:
            return ""
        problem += (
            "Pass images.float() if the network takes them. If it does not, use a method without "
            "gradients ('occlusion', 'rise', 'kernelshap'), or one that reads a layer: "
        )
        return f"{problem}'gradcam'."
    return f"{problem}Use a method that reads a layer, such as 'gradcam'."
