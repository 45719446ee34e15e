"""Several raw maps of the same images, fused into one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from limelight.errors import unknown
from limelight.finish import normalise, relu, resize

Fusion = Literal["mean", "max", "product"]


def check_fusion(how: str) -> None:
    """Refuse a way to fuse that does not exist.

    Raises:
        UnknownNameError: There is no such way to fuse.
    """
    if how not in get_args(Fusion):
        raise unknown("fusion", how, get_args(Fusion), f"There are {', '.join(get_args(Fusion))}.")


def fuse_maps(maps: Sequence[Tensor], how: Fusion) -> Tensor:
    """Fuse maps `[B, *grid]` of several layers into one, on the finest of their grids.

    The positive part of each map is resized and scaled to [0, 1] first; then `mean`, `max` (Jiang
    et al. 2021, section 3), or `product` (RefineCAM, Domeniconi et al. 2026).

    Raises:
        UnknownNameError: There is no such way to fuse.
    """
    check_fusion(how)
    finest = max((raw.shape[1:] for raw in maps), key=math.prod)
    stacked = torch.stack([normalise(resize(relu(raw), finest)) for raw in maps])
    if how == "max":
        return stacked.amax(0)
    return stacked.mean(0) if how == "mean" else stacked.prod(0)
