"""A map of edges, to compare with: it knows nothing of any network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.errors import InputError

#: What red, green and blue add to a grey level, in parts of 2^15 (ITU-R BT.601).
_GREY = (9798, 19235, 3735)


def sobel_cam(img: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return how strong the edges of a picture are: `(|dx| + |dy|) / 2` by Sobel's filters.

    Both absolute values are rounded to grey levels and end at 255, as is the result.

    Args:
        img: RGB, `[H, W, 3]`, 0 to 255.

    Returns:
        The edges, `[H, W]`, 0 to 255.

    Raises:
        InputError: The picture is not `[H, W, 3]`.
    """
    from scipy.ndimage import sobel

    pixels = np.asarray(img)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"The picture is {list(pixels.shape)}; RGB [H, W, 3] was expected.")
    grey = pixels.astype(np.float64) @ np.array(_GREY) / 2**15
    grey = np.floor(grey + 0.5) if pixels.dtype == np.uint8 else grey
    across, down = (np.abs(sobel(grey, axis=axis, mode="mirror")) for axis in (1, 0))
    return np.rint((_grey_levels(across) + _grey_levels(down)) / 2).astype(np.uint8)


def _grey_levels(strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round to whole grey levels, 255 at most."""
    return np.rint(strength).clip(max=255)
