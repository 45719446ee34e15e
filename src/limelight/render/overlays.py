"""The colours of a heatmap, and colours laid over a photo. Everything is RGB."""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.errors import OutputError, unknown
from limelight.photos.pieces import pieces
from limelight.render.whole import (
    Array,
    HeatOnPhoto,
    Pieces,
    as_array,
    framed,
    stripe_step,
    unseen,
)

if TYPE_CHECKING:
    from torch import Tensor

Pixels = npt.NDArray[np.floating[Any]]


#: A heatmap `[H, W]` in [0, 1], whole or computed in pieces, or laid on a whole photo.
Heat: TypeAlias = "Tensor | Array | Pieces | HeatOnPhoto"


#: How opaque colours lie over a photo: as hot as they are, "heat"; a share, the same everywhere;
#: None for the Grad-CAM article's sum of both.
Alpha = float | Literal["heat"] | None


#: How opaque the hottest colour is, and the heat from which on all are that opaque.
_MOST_OPAQUE, _OPAQUE_FROM = 0.75, 0.6


#: A map is one of single pixels from this share of its heat on that a blur takes away. Of the maps
#: of layers down to a stride of 4 it was at most 0.15 on two photos, of gradients at the input at
#: least 0.34.
_SINGLE_PIXELS = 0.25

#: How many times the blur's window fits into the shorter side of a map: slices stand side by side.
_BLURS = 32


def is_of_single_pixels(heatmap: Heat) -> bool:
    """Return whether the heat `[H, W]` jumps from pixel to pixel, as gradients at the input do.

    `mean |h - blur(h)| > 0.25 mean h`, with the mean over a window of a 32nd of the shorter side.
    In a map whose shorter side has less than 64 pixels, these cannot be told from cells: False.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    heat = torch.as_tensor(heatmap[:, :], device="cpu").abs().nan_to_num(0)
    window = max(3, 2 * (round(min(heat.shape) / _BLURS) // 2) + 1)
    padding = window // 2
    if min(heat.shape) < 2 * _BLURS:  # a cell of so small a map is hardly more than a pixel
        return False
    blurred = avg_pool2d(heat[None, None], window, 1, padding, count_include_pad=False)[0, 0]
    return bool((heat - blurred).abs().mean() > _SINGLE_PIXELS * heat.mean())


def highest_heat(heatmaps: Sequence[Heat]) -> Heat:
    """Return the highest heat at each pixel of heatmaps of the same part of the same photo."""
    first = heatmaps[0]
    if len(heatmaps) == 1:
        return first
    if isinstance(first, HeatOnPhoto):
        inside = [each.heatmap for each in heatmaps if isinstance(each, HeatOnPhoto)]
        return HeatOnPhoto(_highest(inside), first.box, first.shape)
    return _highest(heatmaps)


def _highest(heatmaps: Sequence[Heat]) -> Array:
    return np.asarray(np.maximum.reduce([as_array(each[:, :]) for each in heatmaps]))


def colours_of(heatmap: Tensor | Array, colormap: str, signed: bool = False) -> Pixels:
    """Return the colours `[..., 3]` in [0, 1] of a heatmap in [0, 1], or a signed map in [-1, 1].

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    return _look_up(as_array(heatmap), _colour_table(colormap), signed=signed)


def _colour_table(colormap: str) -> Pixels:
    """Return all colours of a colour map, `[N, 3]` in [0, 1]."""
    from matplotlib import colormaps

    if colormap not in colormaps:
        known = [name for name in colormaps if not name.endswith("_r")]
        raise unknown("colour map", colormap, known, "'inferno', 'viridis' and 'jet' are some.")
    colour_of = colormaps[colormap]
    return np.asarray(colour_of(np.arange(colour_of.N))[:, :3], dtype=np.float32)


def _look_up(heatmap: Array, table: Pixels, *, signed: bool = False) -> Pixels:
    """Return the colours `[..., 3]` of heat in [0, 1], or in [-1, 1] if it is signed."""
    heatmap = (heatmap + 1) / 2 if signed else heatmap
    index = (_without_nan(heatmap) * len(table)).clip(0, len(table) - 1).astype(np.int32)
    return np.asarray(table[index])


def _without_nan(heat: Array) -> Array:
    return np.where(np.isnan(heat), np.zeros_like(heat), heat)


def colourise(heatmap: Heat, colormap: str = "inferno", *, signed: bool = False) -> Image.Image:
    """Return a heatmap `[H, W]` in [0, 1] as a picture of its colours; a signed map in [-1, 1]."""
    table = _colour_table(colormap)
    height, width = heatmap.shape
    drawn = Image.new("RGB", (width, height))
    for box in pieces(width, height):
        coloured = _look_up(_crop(heatmap, box), table, signed=signed)
        if isinstance(heatmap, HeatOnPhoto):
            coloured = _mark_unseen(coloured, np.ones_like(coloured), heatmap, box)
        drawn.paste(_to_picture(coloured), box)
    return framed(drawn, heatmap.box) if isinstance(heatmap, HeatOnPhoto) else drawn


def _mark_unseen(
    drawn: Pixels, pixels: Pixels, heatmap: HeatOnPhoto, box: tuple[int, int, int, int]
) -> Pixels:
    """Return a piece as drawn, with the photo's pixels paled where the network did not see."""
    height, width = heatmap.shape
    marked = unseen(pixels, box[0], box[1], stripe_step((width, height)))
    seen = heatmap.seen_in(box)
    marked[seen] = drawn[seen]
    return marked


def _crop(heatmap: Heat, box: tuple[int, int, int, int]) -> Array:
    left, top, right, bottom = box
    return as_array(heatmap[top:bottom, left:right])


def overlay_colours(colormap: str = "inferno") -> npt.NDArray[np.uint8]:
    """Return colour and opacity of 256 heats from 0 to 1, `[256, 4]`, as `overlay` lays them.

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    rgba = np.concatenate([_look_up(heat, _colour_table(colormap)), _opacity(heat)], axis=-1)
    return np.asarray((rgba[0] * 255).round(), dtype=np.uint8)


def overlay(
    photo: Image.Image,
    heatmap: Heat,
    *,
    colormap: str = "inferno",
    alpha: Alpha = "heat",
    curve: bool = False,
    signed: bool = False,
) -> Image.Image:
    """Lay a heatmap `[H, W]` in [0, 1], or a signed map in [-1, 1], over a photo of W x H pixels.

    The result is `(1 - a) photo + a colours`. With `alpha` "heat", the opacity a grows with the
    heat, or the size of a signed value: without heat the photo stays as it is. Else a is a number.
    With None it is the overlay of the Grad-CAM article: `(photo + colours) / max(photo + colours)`.
    A curve, white on black, is drawn on the colours (times `alpha`, if that is a number) in white
    or black, whichever has more contrast there. What the network did not see of a photo is pale
    grey with stripes, and a frame is drawn around what it saw.

    Raises:
        UnknownNameError: matplotlib has no such colour map.
    """
    table = _colour_table(colormap)
    boxes = list(pieces(*photo.size))

    def photo_and_heat(box: tuple[int, int, int, int]) -> tuple[Pixels, Array]:
        pixels = np.asarray(photo.crop(box).convert("RGB"), dtype=np.float32) / 255
        return pixels, _crop(heatmap, box)

    def brightest_sum(box: tuple[int, int, int, int]) -> float:
        pixels, heat = photo_and_heat(box)
        sums = pixels + _look_up(heat, table, signed=signed)
        seen = sums[heatmap.seen_in(box)] if isinstance(heatmap, HeatOnPhoto) else sums
        return float(seen.max(initial=0))

    def combine(pixels: Pixels, heat: Array) -> Pixels:
        coloured = _look_up(heat, table, signed=signed)
        if curve:
            background = alpha * coloured if isinstance(alpha, int | float) else coloured
            return (1 - pixels) * background + pixels * is_dark(background)[..., None]
        if alpha is None:
            return (pixels + coloured) / brightest
        share = _opacity(heat) if alpha == "heat" else alpha
        return (1 - share) * pixels + share * coloured

    if not curve and alpha is None:
        brightest = max(map(brightest_sum, boxes), default=0.0) or 1.0
    drawn = Image.new("RGB", photo.size)
    for box in boxes:
        pixels, heat = photo_and_heat(box)
        piece = combine(pixels, heat)
        if isinstance(heatmap, HeatOnPhoto):
            piece = _mark_unseen(piece, pixels, heatmap, box)
        drawn.paste(_to_picture(piece), box)
    return framed(drawn, heatmap.box) if isinstance(heatmap, HeatOnPhoto) else drawn


def _opacity(heat: Array) -> Pixels:
    """Return how opaque the colours of heat `[H, W]` are, `[H, W, 1]`: it grows with the heat."""
    share = (np.abs(_without_nan(heat)) / _OPAQUE_FROM).clip(0, 1) * _MOST_OPAQUE
    return np.asarray(share[..., None], dtype=np.float32)


def is_dark(rgb: Pixels) -> npt.NDArray[np.bool_]:
    """Return where white has more contrast than black on colours `[..., 3]` in [0, 1]."""
    luminance: Pixels = rgb @ np.array([0.2126, 0.7152, 0.0722])
    return luminance < 0.5


def stretched(image: Tensor | Array) -> npt.NDArray[np.uint8]:
    """Return an image `[C, *image]` as bytes `[*image, 3]`, stretched to the full range."""
    numbers = image if isinstance(image, np.ndarray) else image.detach().float().cpu()
    if len(numbers) != 3:  # depth, infrared, many bands: their mean, as grey
        numbers = numbers.mean(0)[None]
    rgb = as_array(numbers)
    low, high = rgb.min(), rgb.max()
    scaled = (rgb - low) / (high - low if high > low else np.float32(1))
    shown = np.moveaxis((scaled * 255).round().astype(np.uint8), 0, -1)
    return np.broadcast_to(shown, (*image.shape[1:], 3))


def write(picture: Image.Image, form: str, file: IO[bytes]) -> None:
    """Write a picture to a file: png, jpg, webp or pdf; an svg file holds it as a png.

    Raises:
        OutputError: The format does not hold so large a one.
    """
    _check_size(picture, form)
    if form == "svg":
        size = f'width="{picture.width}" height="{picture.height}"'
        begin = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><image {size} href="'
        file.write(f"{begin}data:image/png;base64,".encode())
        text = _Base64(file)
        picture.save(cast(IO[bytes], text), "PNG")
        text.end()
        file.write(b'"/></svg>\n')
        return
    # In photos, PNG's search for repetitions finds little and takes most of the time.
    options: dict[str, object] = {"png": {"compress_type": Image.RLE}, "pdf": {}}.get(
        form, {"quality": 92}
    )
    picture.save(file, "JPEG" if form == "jpg" else form.upper(), **options)


#: The longest side that a format can hold, and the most pixels that its encoder takes.
_FORMAT_LIMITS = {
    "jpg": (65_500, math.inf),
    "jpeg": (65_500, math.inf),
    "pdf": (65_500, math.inf),
    "webp": (16_383, 90_000_000),
}


def _check_size(picture: Image.Image, form: str) -> None:
    width, height = picture.size
    side, pixels = _FORMAT_LIMITS.get(form, (math.inf, math.inf))
    if max(width, height) > side or width * height > pixels:
        raise OutputError(
            f"Cannot write a picture of {width} x {height} pixels as {form}, which holds sides of "
            f"up to {side} pixels"
            + (f", {pixels / 1e6:.0f} million in all" if pixels < math.inf else "")
            + ". Write it as png."
        )


class _Base64:
    """A file that writes bytes to another file as base64 text."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, b""

    def write(self, data: bytes) -> int:
        """Write whole groups of three bytes, and keep the rest."""
        ready = self._left + bytes(data)
        whole = len(ready) // 3 * 3
        self._file.write(b2a_base64(ready[:whole], newline=False))
        self._left = ready[whole:]
        return len(data)

    def end(self) -> None:
        """Write what is left."""
        self._file.write(b2a_base64(self._left, newline=False))


def _to_picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
