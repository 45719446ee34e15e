"""Regions drawn on a photo: outline, box, number and share of the heat."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from limelight.regions.heat_regions import HeatRegion, ImageRegions

#: The colours of regions in turn, told apart by colour-blind people too (Okabe and Ito 2008).
_COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#d55e00", "#0072b2")

#: A smaller picture is enlarged by an integer to about this length, so that the numbers fit on it.
_SHORTEST = 400


def overlay(regions: ImageRegions) -> Image.Image:
    """Return the picture with each region outlined, its box, and its number and share of heat."""
    picture = regions.picture.convert("RGB")
    on_picture = [region.at_size((picture.height, picture.width)) for region in regions]
    scale = max(1, round(_SHORTEST / max(picture.size)))
    if scale > 1:
        size = picture.width * scale, picture.height * scale
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    else:
        picture = picture.copy()
    for number, region in enumerate(on_picture):
        _draw_outline(picture, region, scale, _COLOURS[number % len(_COLOURS)])
    pen = ImageDraw.Draw(picture)
    for number, region in reversed(list(enumerate(on_picture))):  # the first lies on top
        colour = _COLOURS[number % len(_COLOURS)]
        _draw_box(pen, region, scale, colour)
        _draw_tag(pen, region, scale, colour, f"{number + 1}  {_share_in_words(region)}")
    return picture


def _line_width(size: tuple[int, int]) -> int:
    return max(1, max(size) // 400)


def _draw_outline(picture: Image.Image, region: HeatRegion, scale: int, colour: str) -> None:
    """Draw the outline of a region on the part of the picture that it lies in."""
    from limelight.render import outlined

    margin = 2 + max(picture.size) // 200
    left, top, right, bottom = (scale * edge for edge in region.box)
    x1, y1 = max(0, left - margin), max(0, top - margin)
    x2, y2 = min(picture.width, right + margin), min(picture.height, bottom + margin)
    inside = np.repeat(np.repeat(region.inside, scale, axis=0), scale, axis=1)
    around = np.pad(inside, ((top - y1, y2 - bottom), (left - x1, x2 - right)))
    part = picture.crop((x1, y1, x2, y2))
    width = max(1, max(picture.size) // 200)
    mask = torch.from_numpy(around).to(torch.float32)
    picture.paste(outlined(part, mask, colour=colour, width=width), (x1, y1))


def _draw_box(pen: ImageDraw.ImageDraw, region: HeatRegion, scale: int, colour: str) -> None:
    """Draw the box of a region, thin: its outer edge is that of the box."""
    left, top, right, bottom = (scale * edge for edge in region.box)
    width = _line_width((scale * region.size[1], scale * region.size[0]))
    pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)


def _share_in_words(region: HeatRegion) -> str:
    return "<1%" if region.share_of_heat < 0.01 else f"{region.share_of_heat:.0%}"


def _draw_tag(
    pen: ImageDraw.ImageDraw, region: HeatRegion, scale: int, colour: str, text: str
) -> None:
    """Write on a ground of the region's colour, above its box or else inside it."""
    height, width = region.size[0] * scale, region.size[1] * scale
    font = ImageFont.load_default(max(11, max(width, height) // 40))
    _, _, right, bottom = map(round, pen.textbbox((0, 0), text, font=font))
    tag_width, tag_height = right + 8, bottom + 6
    left, top = scale * region.box[0], scale * region.box[1]
    left = max(0, min(left, width - tag_width))
    top = top - tag_height if top >= tag_height else top
    pen.rectangle((left, top, left + tag_width - 1, top + tag_height - 1), fill=colour)
    pen.text((left + 4, top + 2), text, fill="black", font=font)
