"""The outline of the region that a score is about, on figures and on pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from limelight.photos.pieces import pieces
from limelight.render.overlays import Heat
from limelight.render.whole import Array, HeatOnPhoto, as_array, in_one_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

#: The colours of an outline, light on dark, so that it shows on any photo.
_LIGHT, _DARK = "#7fff00", "black"


class ScaledRegion:
    """A region `[h, w]` at another size, each pixel by the nearest one of the region.

    `region[top:bottom, left:right]` is computed when it is read: 1 in the region, 0 outside.

    Attributes:
        shape: H and W.
    """

    def __init__(self, region: Tensor | Array, size: Sequence[int]) -> None:
        """Keep the region, and the size that it is read at."""
        self.shape, self._region = tuple(size), as_array(region) > 0

    def __getitem__(self, where: tuple[slice, slice]) -> Array:
        """Return a part of the region."""
        rows, columns = (
            np.arange(*part.indices(n)) * pixels // n
            for part, n, pixels in zip(where, self.shape, self._region.shape, strict=True)
        )
        return np.asarray(self._region[rows][:, columns], dtype=np.float32)


#: A region `[H, W]` at the size of a picture: 1 inside, 0 outside.
Region: TypeAlias = "Tensor | Array | ScaledRegion | HeatOnPhoto"


def region_on(region: Tensor | Array | None, heat: Heat) -> Region | None:
    """Return a region `[h, w]` of the input at the size of its map; None stays None."""
    if region is None:
        return None
    if isinstance(heat, HeatOnPhoto):
        return HeatOnPhoto(ScaledRegion(region, heat.heatmap.shape), heat.box, heat.shape)
    return ScaledRegion(region, heat.shape)


def draw_outline(panel: Axes, region: Region) -> None:
    """Draw the outline of a region `[H, W]` on a panel of a figure."""
    # With a margin, so that there is an outline along the edge of the picture too.
    inside = np.pad(in_one_array(region).astype(float), 1)
    height, width = region.shape
    x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
    for colour, linewidth in ((_DARK, 2.2), (_LIGHT, 1.1)):
        panel.contour(x, y, inside, levels=[0.5], colors=colour, linewidths=linewidth)
    panel.set_xlim(-0.5, width - 0.5)
    panel.set_ylim(height - 0.5, -0.5)


def outlined(
    picture: Image.Image, region: Region, *, colour: str = _LIGHT, width: int | None = None
) -> Image.Image:
    """Draw the outline of a region `[H, W]` on a picture of W x H pixels, and return it.

    A light line lies just inside the region and a dark one just outside, each one pixel wide, or a
    200th of a large picture, as in figures.

    Args:
        picture: The picture.
        region: The region.
        colour: The colour of the light line.
        width: The width of each line, in pixels; None for that above.
    """
    width = width or max(1, max(picture.size) // 200)
    for box in pieces(*picture.size):
        inside = _surrounded(region, box, width)
        if not inside.any() or inside.all():
            continue
        near = _sums_around(inside, width)
        within = inside[width:-width, width:-width] > 0
        lines = ((_DARK, (near > 0) & ~within), (colour, (near < (2 * width + 1) ** 2) & within))
        for shade, line in lines:
            picture.paste(shade, box[:2], Image.fromarray(255 * line.astype(np.uint8)))
    return picture


def _surrounded(region: Region, box: tuple[int, int, int, int], margin: int) -> Array:
    """Return a box of a region with a margin; nothing beyond the picture is in the region."""
    height, width = region.shape
    left, top, right, bottom = box
    x1, y1 = max(0, left - margin), max(0, top - margin)
    x2, y2 = min(width, right + margin), min(height, bottom + margin)
    beyond = (
        (margin - (top - y1), margin - (y2 - bottom)),
        (margin - (left - x1), margin - (x2 - right)),
    )
    return np.pad(as_array(region[y1:y2, x1:x2]).astype(np.float32), beyond)


def _sums_around(values: Array, by: int) -> Array:
    """Return the sums of values `[H + 2 by, W + 2 by]` up to a distance of each place, `[H, W]`."""
    length = 2 * by + 1
    down = np.pad(values.cumsum(0), ((1, 0), (0, 0)))
    down = down[length:] - down[:-length]
    across = np.pad(down.cumsum(1), ((0, 0), (1, 0)))
    return np.asarray(across[:, length:] - across[:, :-length])
