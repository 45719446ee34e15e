"""What is known of a network by the modules that it is built of."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from limelight.runtime.model_cache import model_cache

#: The method that sorts boxes, in every detector of torchvision.
SORTS_BOXES = "postprocess_detections"


class Traits(NamedTuple):
    """What is known of a network by the modules that it is built of.

    Attributes:
        quantised: Whether it computes with integers, through which no gradient flows.
        sorts_boxes: Whether it is a detector of torchvision.
        cuts_patches: Whether it cuts something into patches side by side.
    """

    quantised: bool
    sorts_boxes: bool
    cuts_patches: bool


def traits_of(model: nn.Module) -> Traits:
    """Return the traits of a network; to look at all its modules takes its time."""
    facts = model_cache(model)
    known: Traits | None = facts.get("traits")
    if known is None:
        modules = list(model.modules())
        known = facts["traits"] = Traits(
            quantised=any(".quantized" in type(one).__module__ for one in modules),
            sorts_boxes=any(hasattr(type(one), SORTS_BOXES) for one in modules),
            cuts_patches=any(patch_of(one) for one in modules),
        )
    return known


def patch_of(module: nn.Module) -> tuple[int, ...]:
    """Return the sizes of the patches that a convolution cuts side by side; () if it slides."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return ()
    kernel = tuple(module.kernel_size)
    slides = kernel != tuple(module.stride) or any(side != 0 for side in module.padding)
    return () if slides or math.prod(kernel) == 1 else kernel
