"""Colours for a heatmap, and colours laid over a photo. Everything is RGB."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
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
    photo: Image.Image,
    heatmap: Tensor,
    *,
    colormap: str = "inferno",
    alpha: float | None = None,
    curve: bool = False,
) -> Image.Image:
    """Lay a heatmap `[H, W]` in [0, 1] over a photo of W x H pixels.

    With `alpha` None, as the article does it: `(photo + colours) / max(photo + colours)`. Else a
    blend: `(1 - alpha) photo + alpha colours`. A curve, white on black, is no photo: it is drawn on
    the colours (times `alpha`) in white or black, whichever is seen there.

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    pixels = np.asarray(photo.convert("RGB"), dtype=np.float32) / 255
    heat = colours(heatmap, colormap)
    if curve:
        paper = heat if alpha is None else alpha * heat
        return _picture((1 - pixels) * paper + pixels * is_dark(paper)[..., None])
    if alpha is not None:
        return _picture((1 - alpha) * pixels + alpha * heat)
    total = pixels + heat
    brightest = float(total.max())
    return _picture(total / brightest if brightest > 0 else total)


def is_dark(rgb: Pixels) -> npt.NDArray[np.bool_]:
    """Return whether white is seen better than black on colours `[..., 3]` in [0, 1]."""
    luminance: Pixels = rgb @ np.array([0.2126, 0.7152, 0.0722])
    return luminance < 0.5


def stretched(image: Tensor) -> Tensor:
    """Return an image `[C, *image]` as bytes `[*image, 3]`, stretched to the full range."""
    rgb = image.detach().float().cpu()
    if len(rgb) != 3:  # depth, infrared, many bands: their mean, in grey
        rgb = rgb.mean(0, keepdim=True)
    low, high = rgb.aminmax()
    scaled = (rgb - low) / torch.where(high > low, high - low, 1)
    return (scaled * 255).round().to(torch.uint8).movedim(0, -1).expand(*image.shape[1:], 3)


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
    # Of photos, PNG's search for repetitions finds little and takes most of the time.
    options: dict[str, object] = {"png": {"compress_type": Image.RLE}, "pdf": {}}.get(
        form, {"quality": 92}
    )
    picture.save(buffer, "JPEG" if form == "jpg" else form.upper(), **options)
    return buffer.getvalue()


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
