"""Figures for print and screen: photo, heatmap with its colour bar, overlay, and all the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL.Image import Image
from torch import Tensor

from limelight import files
from limelight.photos.geometry import Geometry
from limelight.plain import visible
from limelight.render.geometry import draw_geometry, shape_in_figure
from limelight.render.outlines import Region, draw_outline
from limelight.render.overlays import Heat, colourise, overlay
from limelight.render.whole import HeatOnPhoto, framed

_PHOTO_INCHES = 3.1  # the longer side of a picture


_DPI = 200


#: The formats of picture files that figures are written in.
PICTURES = ("png", "jpg", "jpeg", "webp", "pdf", "svg")


#: The longest side of a photo in a figure, in pixels; more would not be seen.
PANEL_PIXELS = round(_PHOTO_INCHES * _DPI)


@dataclass(frozen=True, slots=True)
class ExplainedPhoto:
    """One explained image: the photo, its heatmap `[H, W]` at the photo's size, and words.

    The region that the score is about, `[H, W]`, is outlined; None for the whole photo. Geometry,
    where it is known, gives the photo its true proportions, the sides of the body and a scale.
    """

    photo: Image
    heatmap: Heat
    title: str
    note: str = ""
    region: Region | None = None
    geometry: Geometry | None = None


@dataclass(frozen=True, slots=True)
class ExplainedInput:
    """One explained signal or volume: `[C, *image]`, its heatmap `[*image]`, and words.

    The region that the score is about, `[*image]`, is outlined on the slices of a volume. Geometry,
    where it is known, gives slices their true proportions, the sides of the body and a scale.
    """

    image: Tensor
    heatmap: Tensor
    title: str
    note: str = ""
    region: Tensor | None = None
    geometry: Geometry | None = None


class InputPicture(NamedTuple):
    """An input as a picture, and heatmaps of it `[H, W]` at the picture's size.

    Attributes:
        name: What the picture is: a photo, a signal, which slices.
        photo: The picture.
        heatmaps: The heatmaps.
        regions: For each heatmap the region that its score is about, at the picture's size; None
            where nothing is outlined.
        curve: Whether the picture is a curve, white on black.
        geometry: The size of its pixels, and how it lies in the body; None if not known.
    """

    name: str
    photo: Image
    heatmaps: Sequence[Heat]
    regions: Sequence[Region | None]
    curve: bool = False
    geometry: Geometry | None = None


def plain_photo(photo: Image, heatmaps: Sequence[Heat]) -> Image:
    """Return a photo without its heatmaps, and with a frame around what the network saw of it."""
    rgb = photo.convert("RGB")
    boxes = [heatmap.box for heatmap in heatmaps if isinstance(heatmap, HeatOnPhoto)]
    return framed(rgb.copy(), boxes[0]) if boxes else rgb


def photo_figure(
    rows: Sequence[ExplainedPhoto], *, method: str, layer: str, colormap: str = "inferno"
) -> Figure:
    """Draw a row of photo, heatmap with colour bar, and overlay for each explained image.

    The figure is drawn without pyplot, so it can be made in any thread and is freed with its last
    reference.
    """
    shapes = [shape_in_figure(row.photo.height, row.photo.width, row.geometry) for row in rows]
    width = min(_PHOTO_INCHES, max(_PHOTO_INCHES / max(shapes), 1.6))
    bottom = _MARGIN_INCHES + sum(width * shape + _TITLE_INCHES for shape in shapes)
    sheet = Figure(figsize=(3 * width + _BESIDE_INCHES, bottom), dpi=_DPI)
    for row, shape in zip(rows, shapes, strict=True):
        bottom -= width * shape + _TITLE_INCHES
        axes, bar = _add_panels(sheet, width, width * shape, bottom)
        _draw_row(axes, row, colormap)
        _draw_bar(sheet.colorbar(_scale(colormap), cax=bar, ticks=_TICKS))
        axes[1].set_title(f"{method} at {layer}", fontsize=9, parse_math=False)
    return sheet


#: Space in inches: over a row, for its titles; around a figure; between two panels; left of the
#: colour bar; the bar; right of the bar, for its numbers.
_TITLE_INCHES, _MARGIN_INCHES, _GAP_INCHES = 0.3, 0.06, 0.11
_BAR_PAD_INCHES, _BAR_INCHES, _BAR_LABEL_INCHES = 0.1, 0.15, 0.36

#: All of it, in a row of three panels.
_BESIDE_INCHES = (
    2 * _MARGIN_INCHES + _GAP_INCHES + _BAR_PAD_INCHES + _BAR_INCHES + _BAR_LABEL_INCHES
)


def _add_panels(
    sheet: Figure, width: float, height: float, bottom: float
) -> tuple[Sequence[Axes], Axes]:
    """Add the axes of three pictures, and of a colour bar behind the second, at known places.

    To let matplotlib find the places takes as long as to draw the figure.
    """
    second = _MARGIN_INCHES + width + _GAP_INCHES
    bar = second + width + _BAR_PAD_INCHES
    third = bar + _BAR_INCHES + _BAR_LABEL_INCHES
    across, up = sheet.get_size_inches()

    def add(left: float, inches: float, **options: Any) -> Axes:
        place = (left / across, bottom / up, inches / across, height / up)
        return sheet.add_axes(place, **options)

    panels = [add(left, width, xticks=[], yticks=[]) for left in (_MARGIN_INCHES, second, third)]
    return panels, add(bar, _BAR_INCHES)


def _draw_row(axes: Sequence[Axes], row: ExplainedPhoto, colormap: str) -> None:
    pictures = (
        plain_photo(row.photo, [row.heatmap]),
        colourise(row.heatmap, colormap),
        overlay(row.photo, row.heatmap, colormap=colormap),
    )
    for panel, picture in zip(axes, pictures, strict=True):
        panel.imshow(np.asarray(picture), aspect="auto")
        panel.set_axis_off()
    for panel in (axes[0], axes[2]):
        draw_geometry(panel, row.photo.width, row.geometry)
    if row.region is not None:
        for panel in (axes[0], axes[2]):
            draw_outline(panel, row.region)
    cropped = isinstance(row.heatmap, HeatOnPhoto) and not row.heatmap.all_seen
    axes[0].set_title("photo, seen in the frame" if cropped else "photo", fontsize=9)
    # A dollar sign in the name of a class is no formula.
    axes[2].set_title(row.title, fontsize=9, fontweight="bold", parse_math=False)
    if row.note:
        write_note(axes[1], row.note, width=44)


def add_bar(
    axes: Axes | Sequence[Axes],
    colormap: str,
    *,
    pad: float,
    fraction: float = 0.02,
    aspect: float = 20,
) -> None:
    """Draw the colour bar of heatmaps, which are in [0, 1], beside the axes."""
    first = axes if isinstance(axes, Axes) else axes[0]
    bar = first.figure.colorbar(
        _scale(colormap),
        ax=axes,
        fraction=fraction,
        aspect=aspect,
        pad=pad,
        panchor=False,  # the pictures stay in the middle of their place
        ticks=_TICKS,
    )
    _draw_bar(bar)


#: The numbers at a colour bar.
_TICKS = (0, 0.5, 1)


def _scale(colormap: str) -> ScalarMappable:
    return ScalarMappable(Normalize(0, 1), colormap)


def _draw_bar(bar: Colorbar) -> None:
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_linewidth(0.4)


def add_titles(axes: Axes, left: str, right: str) -> None:
    """Write what is explained on the left over the axes, and how on the right."""
    axes.set_title(left, loc="left", fontsize=9, fontweight="bold", parse_math=False)
    axes.set_title(right, loc="right", fontsize=9, parse_math=False)


def write_note(axes: Axes, note: str, *, width: int, size: float = 6.5) -> None:
    """Write a note over the middle of the axes, wrapped to `width` letters."""
    axes.text(
        0.5,
        0.5,
        fill(note, width),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=size,
        color="white",
        bbox={"facecolor": "#8c1c13", "edgecolor": "none", "boxstyle": "round,pad=0.5"},
    )


def save_figure(path: str | Path, draw: Callable[[], Figure]) -> Path:
    """Draw a figure and write it, whole or not at all, in the format of the suffix.

    Raises:
        OutputError: The format is unknown, or the file cannot be written there.
    """
    path = Path(path)
    form = files.known_suffix(path, PICTURES)
    return files.write_whole(path, encode_figure(draw(), form))


def save_figure_or_arrays(
    path: str | Path,
    draw: Callable[[], Figure],
    arrays: Callable[[], tuple[Mapping[str, Tensor], object]],
) -> Path:
    """Write a figure as `save_figure` does, or with the suffix .npz the arrays and their names.

    Raises:
        OutputError: The format is unknown, or the file cannot be written there.
    """
    path = Path(path)
    if files.known_suffix(path, (*PICTURES, "npz")) == "npz":
        return files.write_arrays(path, *arrays())
    return save_figure(path, draw)


def encode_figure(sheet: Figure, form: str) -> bytes:
    """Return a figure as the bytes of a file: png, jpg, webp, pdf or svg."""
    buffer = BytesIO()
    for text in sheet.findobj(Text):  # names of classes and files may hold any character
        text.set_text(visible(text.get_text()))
    if form == "png":
        _write_png(sheet, buffer)
    else:
        sheet.savefig(buffer, format=form, facecolor="white")
    return buffer.getvalue()


def _write_png(sheet: Figure, buffer: BytesIO) -> None:
    """Write a figure as savefig does, but draw it once, and leave out opacity.

    The file becomes as large as savefig's, whose search for repetitions takes four times as long.
    """
    sheet.set_facecolor("white")
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    drawn = PIL.Image.fromarray(pixels).convert("RGB")
    drawn.save(buffer, "PNG", compress_level=2, dpi=(sheet.dpi, sheet.dpi))
