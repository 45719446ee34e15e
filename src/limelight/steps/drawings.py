"""The pictures of a walkthrough's page, as data in its HTML."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from limelight.render.maps import SEQUENTIAL, SIGNED
from limelight.runtime.cells import CellPlaces

#: The longest side of a map's picture and of a photo, in pixels.
_MAP_PIXELS, _PHOTO_PIXELS = 256, 448


def map_picture(table: Tensor, low: float, high: float, colormap: str) -> str:
    """Return a table `[rows, columns]` in colours, a pixel for each value; not finite is grey.

    The value `low` has the first colour and `high` the last.
    """
    step = math.ceil(max(table.shape) / _MAP_PIXELS)
    values = table[::step, ::step].double().numpy()
    finite = np.isfinite(values)
    middle = 0.5 if colormap == SIGNED else 0.0
    scaled = (values - low) / (high - low) if high > low else np.full_like(values, middle)
    index = np.where(finite, (np.where(finite, scaled, 0).clip(0, 1) * 254).round(), 255)
    colours = colormaps[colormap](np.linspace(0, 1, 255))[:, :3]
    picture = Image.fromarray(index.astype(np.uint8))
    picture.putpalette([*(colours * 255).round().astype(np.uint8).ravel().tolist(), 128, 128, 128])
    return _data_uri(picture, "PNG", optimize=True)


def photo_picture(photo: Image.Image, pixels: int = _PHOTO_PIXELS, *, exact: bool = False) -> str:
    """Return a photo with no side of more pixels; `exact` keeps the values of a small one."""
    exact = exact and max(photo.size) <= pixels
    options = {"lossless": True} if exact else {"quality": 88}
    return _data_uri(reduced(photo, pixels).convert("RGB"), "WEBP", **options)


def reduced(photo: Image.Image, pixels: int = _PHOTO_PIXELS) -> Image.Image:
    """Return a photo with no side of more pixels."""
    if max(photo.size) <= pixels:
        return photo
    smaller = photo.copy()
    smaller.thumbnail((pixels, pixels))
    return smaller


def region_picture(photo: Image.Image, inside: Tensor) -> str:
    """Return a photo with all darkened that is not `inside` `[H, W]`."""
    shares = inside.detach().float().cpu().numpy()[..., None]
    pixels = np.asarray(photo, dtype=np.float32) * (0.25 + 0.75 * shares)
    return photo_picture(Image.fromarray(pixels.round().astype(np.uint8)))


def bar_chart(values: Tensor) -> dict[str, str]:
    """Return values `[K]` from highest to lowest as the outlines of bars, 1000 x 200.

    The bars above zero are one SVG path and those below another; `zero` is the height of zero.
    """
    heights = values.double().nan_to_num(0, 0, 0).sort(descending=True).values.tolist()
    low, high = min(0.0, heights[-1]), max(0.0, heights[0])
    scale = 200 / (high - low) if high > low else 0.0
    zero, width = high * scale, 1000 / len(heights)
    paths = {}
    for name, clamp in (("above", max), ("below", min)):
        ends = enumerate(clamp(0.0, height) for height in heights)
        bars = (f"V{zero - y * scale:.1f}H{(x + 1) * width:.1f}" for x, y in ends)
        paths[name] = f"M0 {zero:.1f}{''.join(bars)}V{zero:.1f}Z"
    return {"zero": f"{zero:.1f}", **paths}


def cell_outlines(
    cells: CellPlaces, cell: Sequence[int], size: tuple[int, int]
) -> dict[str, object]:
    """Return where a cell lies and what it looks at, as shapes of SVG on a picture of this size."""
    width, height = size
    (y1, y2), (x1, x2) = cells.extent(cell)
    where = tuple(cell)
    (y, x), (down, across) = (
        along.movedim(0, -1)[where].tolist() for along in (cells.centre, cells.spread)
    )
    shapes: dict[str, dict[str, float]] = {
        "square": {
            "x": x1 * width,
            "y": y1 * height,
            "width": (x2 - x1) * width,
            "height": (y2 - y1) * height,
        },
        "ellipse": {
            "cx": x * width,
            "cy": y * height,
            "rx": across * width,
            "ry": down * height,
        },
        "tie": {
            "x1": (x1 + x2) / 2 * width,
            "y1": (y1 + y2) / 2 * height,
            "x2": x * width,
            "y2": y * height,
        },
        "dot": {"cx": x * width, "cy": y * height, "r": max(size) / 80},
    }
    rounded = {
        name: {place: f"{value:.1f}" for place, value in shape.items()}
        for name, shape in shapes.items()
    }
    return {"width": width, "height": height, **rounded}


def bar_styles() -> str:
    """Return the styles of the colour bars."""
    styles = []
    for scale, name in (("signed", SIGNED), ("plain", SEQUENTIAL)):
        stops = (colormaps[name](number / 16)[:3] for number in range(17))
        colours = ", ".join(
            f"rgb({', '.join(str(round(c * 255)) for c in stop)})" for stop in stops
        )
        styles.append(f".bar.{scale} {{ background: linear-gradient(to right, {colours}); }}")
    return "\n".join(styles)


def _data_uri(picture: Image.Image, form: str, **options: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
