"""Properties of a network that are read off its modules, without running it."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from limelight.runtime.model_cache import model_cache

#: The method that sorts boxes in each of torchvision's detectors.
SORTS_BOXES = "postprocess_detections"


class Traits(NamedTuple):
    """Properties of a network that are read off its modules.

    Attributes:
        quantised: Whether it computes with integers, through which no gradient flows.
    """

    quantised: bool


def traits_of(model: nn.Module) -> Traits:
    """Return the traits of a network; they are cached, as looking at all modules takes time."""
    cache = model_cache(model)
    traits: Traits | None = cache.get("traits")
    if traits is None:
        traits = cache["traits"] = Traits(
            quantised=any(".quantized" in type(m).__module__ for m in model.modules()),
        )
    return traits


def patch_of(module: nn.Module) -> tuple[int, ...]:
    """Return the sizes of the patches that a convolution cuts side by side; () if they overlap."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return ()
    kernel = tuple(module.kernel_size)
    overlaps = kernel != tuple(module.stride) or any(side != 0 for side in module.padding)
    return () if overlaps or math.prod(kernel) == 1 else kernel
