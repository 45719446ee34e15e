"""The gradients of operators that resample a grid: average pools, resizing, replicated borders.

Such an operator is linear, and works along one axis after the other: `y = M x` along each, with a
matrix `M` `[out, in]` of constants. Its gradient at the input is `M^T` along each axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import _disable_current_modes

aten = torch.ops.aten


def resampling_decompositions() -> dict[Any, Callable[..., Tensor]]:
    """Return for the backward operator of each kind of resampling what to run in its place."""
    kinds: dict[str, Callable[..., Tensor]] = {
        "avg_pool2d_backward": _average_pool,
        "avg_pool3d_backward": _average_pool,
        "_adaptive_avg_pool2d_backward": _adaptive_pool,
        "_adaptive_avg_pool3d_backward": _adaptive_pool,
        "replication_pad1d_backward": _replicate,
        "replication_pad2d_backward": _replicate,
        "replication_pad3d_backward": _replicate,
    }
    resizes = {
        f"{forward}_backward": partial(_resize, forward, has_corners=has_corners)
        for forward, has_corners in _RESIZES.items()
    }
    return {getattr(aten, name).default: function for name, function in (kinds | resizes).items()}


#: The operators that resize, and whether they are told if corners are aligned.
_RESIZES = {
    "upsample_nearest1d": False,
    "upsample_nearest2d": False,
    "upsample_nearest3d": False,
    "_upsample_nearest_exact1d": False,
    "_upsample_nearest_exact2d": False,
    "_upsample_nearest_exact3d": False,
    "upsample_linear1d": True,
    "upsample_bilinear2d": True,
    "upsample_trilinear3d": True,
    "upsample_bicubic2d": True,
}


def _average_pool(
    gradient: Tensor,
    values: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    _ceil_mode: object,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:
    """Return the gradient of an average pool."""
    axes = values.ndim - 2
    kernel, stride, padding = (
        _for_each(axes, given) for given in (kernel, stride or kernel, padding)
    )
    matrices = [
        _pool_matrix(n, m, k, step, p, include=count_include_pad, sums=divisor is not None)
        for n, m, k, step, p in zip(
            values.shape[2:], gradient.shape[2:], kernel, stride, padding, strict=True
        )
    ]
    back = _back_along_axes(gradient, matrices)
    return back / divisor if divisor else back


def _for_each(axes: int, given: Sequence[int]) -> Sequence[int]:
    """Return a number for each axis, where one may be given for all."""
    return list(given) * axes if len(given) == 1 else given


def _pool_matrix(
    n: int, m: int, kernel: int, stride: int, padding: int, *, include: bool, sums: bool
) -> list[list[float]]:
    """Return the matrix of an average pool along an axis, from `n` cells to `m`."""
    rows = []
    for place in range(m):
        start = place * stride - padding
        end = min(start + kernel, n + padding)
        inside = range(max(start, 0), min(end, n))
        count = 1 if sums else end - start if include else len(inside)
        rows.append([(cell in inside) / count for cell in range(n)])
    return rows


def _adaptive_pool(gradient: Tensor, values: Tensor) -> Tensor:
    """Return the gradient of an average pool to a given size."""
    matrices = []
    for n, m in zip(values.shape[2:], gradient.shape[2:], strict=True):
        cells = [range(o * n // m, math.ceil((o + 1) * n / m)) for o in range(m)]
        matrices.append([[(cell in inside) / len(inside) for cell in range(n)] for inside in cells])
    return _back_along_axes(gradient, matrices)


def _resize(
    forward: str,
    gradient: Tensor,
    output_size: Sequence[int],
    input_size: Sequence[int],
    *settings: Any,
    has_corners: bool,
) -> Tensor:
    """Return the gradient of an operator that resizes.

    Each axis is resized alone, with one cell along the others: from each cell of it in turn.
    """
    corners, scales = (settings[:1], settings[1:]) if has_corners else ((), settings)
    axes = len(output_size)
    scales = scales or (None,) * axes
    matrices = []
    with _disable_current_modes():
        for axis, (n, m, scale) in enumerate(zip(input_size[2:], output_size, scales, strict=True)):
            cells = [n if other == axis else 1 for other in range(axes)]
            size = [m if other == axis else 1 for other in range(axes)]
            alone = [scale if other == axis else None for other in range(axes)]
            each = torch.eye(n, dtype=torch.float32, device="cpu").reshape(1, n, *cells)
            resized = getattr(aten, forward).default(each, size, *corners, *alone)
            matrices.append(resized.reshape(n, m).T.tolist())
    return _back_along_axes(gradient, matrices)


def _replicate(gradient: Tensor, values: Tensor, padding: Sequence[int]) -> Tensor:
    """Return the gradient of a padding that repeats the outermost values."""
    by_axis = list(zip(padding[::2], padding[1::2], strict=True))[::-1]  # the last axis comes first
    axes = values.shape[-len(by_axis) :]
    with _disable_current_modes():
        matrices = [
            pad(torch.eye(n, device="cpu")[None], sides, mode="replicate")[0].T.tolist()
            for n, sides in zip(axes, by_axis, strict=True)
        ]
    return _back_along_axes(gradient, matrices)


def _back_along_axes(gradient: Tensor, matrices: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """Return `M^T g` along each of the last axes of a gradient, `[B, K, *grid]`."""
    for number, rows in enumerate(matrices):
        axis = number - len(matrices)
        with _disable_current_modes():
            matrix = torch.tensor(rows, dtype=gradient.dtype, device=gradient.device)
        gradient = (gradient.movedim(axis, -1) @ matrix).movedim(-1, axis)
    return gradient
