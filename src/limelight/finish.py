"""From a raw map to a heatmap: relu, resize, normalise. Three steps, each visible and optional."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def relu(raw: Tensor) -> Tensor:
    """Keep what speaks for the score: `max(raw, 0)` (Selvaraju et al. 2017, eq. 2).

    NaN becomes 0 here, so that a heatmap never holds one; the status says it happened.
    """
    return raw.nan_to_num(0, 0, 0).relu()


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate maps `[B, *grid]` linearly to `[B, *size]`, cell centres over pixel centres."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    mode = _MODES[len(size)]
    larger = interpolate(maps[:, None], size=tuple(size), mode=mode, align_corners=False)[:, 0]
    # Rounding must not add what the map has not: a constant one stays constant.
    axes = tuple(range(1, maps.ndim))
    return larger.clamp(maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True))


def normalise(maps: Tensor) -> Tensor:
    """Scale each map `[B, *size]` to [0, 1]: `(m - min m) / max (m - min m)`.

    The article's overlay does the same. A map that is the same everywhere becomes 0 everywhere.
    There is no epsilon: a score times 1e-5 gives the same heatmap.
    """
    axes = tuple(range(1, maps.ndim))
    maps = maps - maps.amin(axes, keepdim=True)
    largest = maps.amax(axes, keepdim=True)
    return maps / torch.where(largest > 0, largest, torch.ones_like(largest))


def finish(raw: Tensor, size: Sequence[int]) -> Tensor:
    """Turn raw maps `[B, *grid]` into heatmaps `[B, *size]` in [0, 1]: the three steps in order."""
    return normalise(resize(relu(raw), size))
