"""Colours for a heatmap, and colours laid over a photo. Everything is RGB."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from limelight.errors import unknown

Pixels = npt.NDArray[np.floating[Any]]


def colours(heatmap: Tensor, colormap: str) -> Pixels:
    """Return the colours `[H, W, 3]` in [0, 1] of a heatmap `[H, W]` in [0, 1].

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    if colormap not in colormaps:
        known = [name for name in colormaps if not name.endswith("_r")]
        raise unknown("colour map", colormap, known, "'inferno', 'viridis' and 'jet' are some.")
    rgba = colormaps[colormap](heatmap.numpy())
    return np.asarray(rgba[..., :3], dtype=np.float32)


def colourise(heatmap: Tensor, colormap: str = "inferno") -> Image.Image:
    """Return a heatmap `[H, W]` in [0, 1] as a picture of its colours."""
    return _picture(colours(heatmap, colormap))


def overlay(
    photo: Image.Image, heatmap: Tensor, *, colormap: str = "inferno", alpha: float | None = None
) -> Image.Image:
    """Lay a heatmap `[H, W]` in [0, 1] over a photo of W x H pixels.

    With `alpha` None, as the article does it: `(photo + colours) / max(photo + colours)`. Else a
    blend: `(1 - alpha) photo + alpha colours`.

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    pixels = np.asarray(photo.convert("RGB"), dtype=np.float32) / 255
    heat = colours(heatmap, colormap)
    if alpha is not None:
        return _picture((1 - alpha) * pixels + alpha * heat)
    total = pixels + heat
    brightest = float(total.max())
    return _picture(total / brightest if brightest > 0 else total)


def encode(picture: Image.Image, form: str) -> bytes:
    """Return a picture as the bytes of a file: png, jpg, webp or pdf; svg holds it as a png."""
    buffer = BytesIO()
    if form == "svg":
        from base64 import b64encode

        picture.save(buffer, "PNG")
        size = f'width="{picture.width}" height="{picture.height}"'
        data = b64encode(buffer.getvalue()).decode()
        image = f'<image {size} href="data:image/png;base64,{data}"/>'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{image}</svg>\n'.encode()
    options: dict[str, object] = {"quality": 92} if form in ("jpg", "jpeg", "webp") else {}
    picture.save(buffer, "JPEG" if form == "jpg" else form.upper(), **options)
    return buffer.getvalue()


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
