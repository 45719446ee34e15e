"""Volumes in another size: resized, and cropped or padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Volume = npt.NDArray[np.float32]


def resized_volume(volume: Volume, size: Sequence[int], filter_: Image.Resampling) -> Volume:
    """Return a volume `[D, H, W]` in another size, resized along one axis after the other."""
    depth, height, width = size
    if volume.shape[1:] != (height, width):
        slices = (Image.fromarray(each).resize((width, height), filter_) for each in volume)
        volume = np.stack([np.asarray(each) for each in slices])
    if len(volume) != depth:
        # Each row of this picture is a slice, so only the slices are mixed.
        flat = Image.fromarray(volume.reshape(len(volume), -1))
        volume = np.asarray(flat.resize((height * width, depth), filter_))
    return volume.reshape(depth, height, width)


def cut_or_padded(volume: Volume, size: Sequence[int]) -> Volume:
    """Return the middle `[C, *size]` of a volume `[C, D, H, W]`, with 0 around a smaller one."""
    padded = np.zeros((len(volume), *size), dtype=np.float32)
    starts = [margin(whole, part) for whole, part in zip(volume.shape[1:], size, strict=True)]
    inside, seen = (
        tuple(
            slice(max(0, sign * start), max(0, sign * start) + min(whole, part))
            for start, whole, part in zip(starts, volume.shape[1:], size, strict=True)
        )
        for sign in (-1, 1)
    )
    padded[:, *inside] = volume[:, *seen]
    return padded


def margin(whole: int, part: int) -> int:
    """Return where a centred part begins; negative when the part is larger than the whole."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
