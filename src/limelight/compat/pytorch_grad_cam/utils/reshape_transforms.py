"""A layer's output as channels over a grid: `pytorch_grad_cam.utils.reshape_transforms`.

limelight finds the grid by itself; these are for code that passes `reshape_transform`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from limelight.errors import LayerError


def fasterrcnn_reshape_transform(x: Mapping[str, Tensor]) -> Tensor:
    """Return the absolute values of all levels of a feature pyramid as channels of one grid.

    Each level `[B, K, h, w]` is interpolated linearly to the grid of the level `pool`.

    Returns:
        All of them, `[B, levels K, H, W]`.

    Raises:
        LayerError: The output is not a dict with a level named "pool".
    """
    if not isinstance(x, Mapping) or "pool" not in x:
        what = (
            f"a dict with {', '.join(map(str, x))}" if isinstance(x, Mapping) else type(x).__name__
        )
        raise LayerError(
            f"The layer returned {what}; a dict of the levels of a feature pyramid was expected, "
            "one of them named 'pool', as model.backbone of torchvision's Faster R-CNN returns it."
        )
    size = x["pool"].shape[-2:]
    levels = [interpolate(level.abs(), size, mode="bilinear") for level in x.values()]
    return torch.cat(levels, dim=1)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:
    """Return the tokens of a Swin as channels over a grid.

    Args:
        tensor: `[B, height * width, K]`, or already on the grid with the channels last,
            `[B, H, W, K]`, whose size then counts.
        height, width: The grid. If the tokens do not fit it and their number is a square, the grid
            is that square.

    Returns:
        The channels, `[B, K, H, W]`.

    Raises:
        LayerError: The tokens fit no such grid.
    """
    return _on_grid(tensor, height, width, prefix=0)


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Return the tokens of a ViT, without the class token, as channels over a grid.

    Args:
        tensor: `[B, 1 + height * width, K]`.
        height, width: The grid. If the tokens do not fit it and their number without the first one
            is a square, the grid is that square.

    Returns:
        The channels, `[B, K, H, W]`.

    Raises:
        LayerError: The tokens fit no such grid.
    """
    return _on_grid(tensor, height, width, prefix=1)


def _on_grid(tensor: Tensor, height: int, width: int, *, prefix: int) -> Tensor:
    """Return tokens `[B, prefix + N, K]` on a grid, `[B, K, H, W]`.

    Raises:
        LayerError: They fit no such grid.
    """
    if tensor.ndim == 4:
        return tensor.permute(0, 3, 1, 2)
    if tensor.ndim == 3:
        count = tensor.shape[1] - prefix
        side = math.isqrt(max(count, 0))
        grid = (height, width) if height * width == count else (side, side)
        if count > 0 and math.prod(grid) == count:
            return tensor[:, prefix:].reshape(-1, *grid, tensor.shape[2]).permute(0, 3, 1, 2)
    after = " after one class token" if prefix else ""
    raise LayerError(
        f"The layer returned {list(tensor.shape)}; tokens [B, N, K] were expected, with N = height "
        f"* width = {height} * {width} or a square{after}. Pass height and width: "
        "lambda tensor: the_transform(tensor, height=..., width=...). Or pass no "
        "reshape_transform; limelight finds the grid itself."
    )
