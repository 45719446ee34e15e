"""Pictures alone: a list of them as HTML, one as a small PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from limelight.notebook.encoding import MOST_PNG, data_uri, filled, fitting, reduced

#: How many pictures of a list are shown.
_MOST_PICTURES = 12


def pictures_html(pictures: Sequence[Image.Image]) -> str:
    """Return the first pictures of a list, and how many more there are."""
    shown = pictures[:_MOST_PICTURES]

    def draw(side: int) -> str:
        small = [reduced(picture, side) for picture in shown]
        sources = [(data_uri(picture, "jpeg", 85), picture.width) for picture in small]
        return filled("pictures.html", pictures=sources, more=len(pictures) - len(shown))

    return fitting(draw)


def small_png(picture: Image.Image, most_bytes: int = MOST_PNG) -> bytes:
    """Return a picture as a PNG of at most so many bytes.

    First it gets a palette of 256 colours, then it becomes smaller.
    """
    width, height = picture.size
    small = picture.convert("RGB")
    while True:
        buffer = BytesIO()
        _with_palette(small).save(buffer, "PNG", optimize=True)
        size = buffer.tell()
        if size <= most_bytes or max(small.size) <= 64:
            return buffer.getvalue()
        share = max(0.5, min(0.9, (most_bytes / size) ** 0.5))
        width, height = max(1, round(width * share)), max(1, round(height * share))
        small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _with_palette(picture: Image.Image) -> Image.Image:
    """Return a picture in 256 colours, rare ones among them, such as those of a colour bar."""
    half = (max(1, picture.width // 2), max(1, picture.height // 2))
    some = picture.resize(half, Image.Resampling.NEAREST)  # a palette of all pixels takes a second
    palette = some.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
