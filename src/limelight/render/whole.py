"""The part of a photo that the network saw, on the whole photo: its heat, and what is beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from limelight.photos.pieces import pieces

if TYPE_CHECKING:
    from torch import Tensor

Rgb = npt.NDArray[np.floating[Any]]

Array = npt.NDArray[Any]


class Pieces(Protocol):
    """A map `[H, W]` whose parts are computed when they are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """H and W."""

    def __getitem__(self, where: tuple[slice, slice], /) -> Tensor | Array:
        """Return `map[top:bottom, left:right]`."""


def as_array(values: Tensor | Array) -> Array:
    """Return a tensor as an array of 32-bit floats; an array as it is."""
    return values if isinstance(values, np.ndarray) else values.detach().float().cpu().numpy()


class HeatOnPhoto:
    """The heatmap of the part that the network saw, laid on the whole photo; 0 beside it.

    `heat[top:bottom, left:right]` is computed when it is read.

    Attributes:
        shape: H and W of the whole photo.
        box: Left, top, right and bottom of the seen part, which may reach past the photo.
    """

    def __init__(
        self,
        heatmap: Tensor | Array | Pieces,
        box: tuple[int, int, int, int],
        shape: Sequence[int],
    ) -> None:
        """Lay a heatmap of the size of the box at the box."""
        self.heatmap, self.box, self.shape = heatmap, box, tuple(shape)

    def __getitem__(self, where: tuple[slice, slice]) -> Array:
        """Return a part of the heatmap, in [0, 1]."""
        (top, bottom, _), (left, right, _) = (
            part.indices(n) for part, n in zip(where, self.shape, strict=True)
        )
        laid = np.zeros((bottom - top, right - left), dtype=np.float32)
        rows, columns = self.seen_in((left, top, right, bottom))
        if laid[rows, columns].size:
            down, across = top - self.box[1], left - self.box[0]
            part = self.heatmap[
                rows.start + down : rows.stop + down, columns.start + across : columns.stop + across
            ]
            laid[rows, columns] = as_array(part)
        return laid

    @property
    def all_seen(self) -> bool:
        """Whether the network saw the whole photo, with a border around it."""
        height, width = self.shape
        left, top, right, bottom = self.box
        return min(left, top) <= 0 and right >= width and bottom >= height

    def seen_in(self, piece: tuple[int, int, int, int]) -> tuple[slice, slice]:
        """Return the rows and columns of a piece of the photo that the network saw."""
        left, top, right, bottom = piece
        x1, y1, x2, y2 = self.box
        rows = slice(max(0, y1 - top), max(0, min(bottom, y2) - top))
        columns = slice(max(0, x1 - left), max(0, min(right, x2) - left))
        return rows, columns


def in_one_array(heatmap: Tensor | Array | Pieces) -> Array:
    """Return a heatmap `[H, W]` as one array, with 0 where the network did not see."""
    if isinstance(heatmap, np.ndarray):
        return heatmap
    height, width = heatmap.shape
    whole = np.zeros((height, width), dtype=np.float32)
    for left, top, right, bottom in pieces(width, height):
        whole[top:bottom, left:right] = as_array(heatmap[top:bottom, left:right])
    return whole


def unseen(pixels: Rgb, left: int, top: int, step: int) -> Rgb:
    """Return pixels `[H, W, 3]` in [0, 1] as not seen by the network: pale grey, with stripes.

    The stripes run on from piece to piece: `left` and `top` are where the pixels begin.
    """
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=pixels.dtype)
    pale = _DARKEST + (_LIGHTEST - _DARKEST) * grey
    rows, columns = np.ogrid[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    striped = (rows + columns) % step < max(1, step // 8)
    return np.repeat(np.where(striped, 0.7 * pale, pale)[..., None], 3, axis=2)


#: The greys of what is black and what is white in the photo and was not seen.
_DARKEST, _LIGHTEST = 0.45, 0.9


def stripe_step(size: tuple[int, int]) -> int:
    """Return how many pixels lie between the stripes on a picture of a width and height."""
    return max(4, max(size) // 40)


def framed(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Draw a thin frame, white beside black, around a box on a picture, and return it."""
    width = max(1, max(picture.size) // 400)
    pen = ImageDraw.Draw(picture)
    for colour, gap in (("black", 2 * width), ("white", width)):
        left, top, right, bottom = box
        edges = (left - gap, top - gap, right - 1 + gap, bottom - 1 + gap)
        pen.rectangle(edges, outline=colour, width=width)
    return picture
