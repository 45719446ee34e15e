"""Explanations with maps of our own, photos to them, and slow readers of what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from limelight import Explanation
from limelight.photos.crops import CroppedPhoto
from limelight.status import Status, to_heatmap

Mask = npt.NDArray[np.bool_]

OK = Status("ok")


def explanation(
    raw: Tensor,
    *,
    size: Sequence[int] | None = None,
    crops: Sequence[CroppedPhoto] | None = None,
    status: Sequence[Status] | None = None,
    **fields: Any,
) -> Explanation:
    """Return an explanation with these raw maps `[B, *grid]`."""
    count, size = len(raw), tuple(size or raw.shape[1:])
    states = tuple(status or [OK] * count)
    made: dict[str, Any] = {
        "raw": raw,
        "heatmap": to_heatmap(raw, size, states),
        "score": torch.arange(count).double() + 0.25,
        "index": torch.arange(count),
        "label": tuple(f"class {number}" for number in range(count)),
        "status": states,
        "method": "gradcam",
        "layer": "conv",
        "reason": "",
        "image": torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0)),
        "output": torch.arange(3 * count).reshape(count, 3).double(),
        "crops": None if crops is None else tuple(crops),
    }
    return Explanation(**(made | fields))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))


def pixels_in_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> Mask:
    """Return the pixels whose centres a ray to the left leads out of, an odd number of times.

    Slow and plain: each pixel looks at each edge of each polygon `x, y, x, y, ...`.
    """
    mask = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            x, y, inside = column + 0.5, row + 0.5, False
            for flat in polygons:
                corners = list(zip(flat[::2], flat[1::2], strict=True))
                for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
                    if (y1 <= y) != (y2 <= y):
                        inside ^= x1 + (y - y1) * (x2 - x1) / (y2 - y1) < x
            mask[row, column] = inside
    return mask


def decoded_runs(segmentation: dict[str, Any]) -> Mask:
    """Return the mask of COCO's run lengths: 0 and 1 in turn, down each column."""
    height, width = segmentation["size"]
    values = [bit for n, length in enumerate(segmentation["counts"]) for bit in [n % 2] * length]
    assert len(values) == height * width
    mask = np.zeros((height, width), dtype=bool)
    for place, value in enumerate(values):
        mask[place % height, place // height] = value
    return mask


def segmented(annotation: dict[str, Any], height: int, width: int) -> Mask:
    """Return the mask of a COCO annotation."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        assert segmentation["size"] == [height, width]
        return decoded_runs(segmentation)
    return pixels_in_polygons(segmentation, height, width)
