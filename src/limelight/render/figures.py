"""Figures for print and screen: photo, heatmap with its colour bar, overlay, and all the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from limelight import files
from limelight.errors import OutputError
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.photos.geometry import Geometry
from limelight.render.geometry import draw_geometry, shape_in_figure
from limelight.render.outlines import Region, draw_outline
from limelight.render.overlays import Heat, colourise, overlay
from limelight.render.pages import GAP, MARGIN, Page, write_title
from limelight.render.scales import ColourBar, HeatColours
from limelight.render.shown import ShownFigure, figure_picture
from limelight.render.texts import (
    fitted,
    inches_of,
    line_count,
    line_inches,
    prepare_texts,
    titles_inches,
)
from limelight.render.whole import HeatOnPhoto, framed

if TYPE_CHECKING:
    from torch import Tensor

_PHOTO_INCHES = 3.1  # the longer side of a picture, unless a width is asked for


_DPI = 200


_TITLE_LINES, _NOTE_LINES = 3, 6  # at most


#: The formats of picture files that figures are written in.
PICTURES = ("png", "jpg", "jpeg", "webp", "pdf", "svg")


#: The longest side of a photo in a figure, in pixels; more would not be seen.
PANEL_PIXELS = round(_PHOTO_INCHES * _DPI)


def panel_pixels(style: FigureStyle) -> int:
    """Return the longest side of a photo in a figure of a style, in pixels."""
    return max(PANEL_PIXELS, round(_PHOTO_INCHES * style.dots(_DPI)))


@dataclass(frozen=True, slots=True)
class ExplainedPhoto:
    """One explained image: the photo, its heatmap `[H, W]` at the photo's size, and words.

    Attributes:
        photo, heatmap: What is drawn.
        title: What is explained, with its score.
        note: The status and its message, where the heatmap shows nothing.
        region: What the score is about, `[H, W]`, to be outlined; None for the whole photo.
        name: What the photo is called.
        geometry: The size of the photo's pixels and the sides of the body, where known: the photo
            gets its true proportions, letters and a scale.
    """

    photo: Image
    heatmap: Heat
    title: str
    note: str = ""
    region: Region | None = None
    name: str = "photo"
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
    rows: Sequence[ExplainedPhoto],
    *,
    how: str,
    colours: HeatColours | None = None,
    style: FigureStyle = USUAL_STYLE,
) -> Figure:
    """Draw a row of photo, heatmap and overlay for each explained image, over a colour bar.

    Everything has a known place, since to let matplotlib find places takes as long as to draw. The
    figure is drawn without pyplot, so it can be made in any thread and is freed with its last
    reference.

    Args:
        rows: The images.
        how: By what method and at which layer; written once.
        colours: What the colours stand for.
        style: The width, the resolution and the size of text.
    """
    colours = colours or HeatColours()
    shapes = [shape_in_figure(row.photo.height, row.photo.width, row.geometry) for row in rows]
    usual = min(_PHOTO_INCHES, max(_PHOTO_INCHES / max(shapes), 1.6))
    across = style.inches or 3 * usual + 2 * GAP + 2 * MARGIN
    width, size = (across - 2 * GAP - 2 * MARGIN) / 3, style.font_size
    laid = [
        _PhotoRow.fit(row, how if number == 0 else "", width, size, across - 2 * MARGIN)
        for number, row in enumerate(rows)
    ]
    bar = ColourBar.fit(colours, size, width, across - 2 * MARGIN)
    height = MARGIN + sum(row.height + GAP for row in laid) + bar.height + 0.75 * MARGIN
    sheet = ShownFigure(figsize=(across, height), dpi=style.dots(_DPI))
    page, top = Page(sheet, across, height), MARGIN
    for row in laid:
        row.draw(page, top, colours, size)
        top += row.height + GAP
    bar.draw(page, across / 2, top)
    prepare_texts(sheet)
    return sheet


class _PhotoRow(NamedTuple):
    """A row of a figure of photos, laid out: three titles, and the note below, in lines that fit.

    Lengths are in inches.
    """

    row: ExplainedPhoto
    titles: tuple[str, str, str]
    note: str
    width: float
    above: float
    below: float

    @classmethod
    def fit(
        cls, row: ExplainedPhoto, how: str, width: float, size: float, page_width: float
    ) -> _PhotoRow:
        """Lay out a row of pictures of a width."""
        cropped = isinstance(row.heatmap, HeatOnPhoto) and not row.heatmap.all_seen
        name = f"{row.name}, seen in the frame" if cropped else row.name
        titles = (
            fitted(name, width, size, lines=_TITLE_LINES),
            fitted(how, width, size, lines=_TITLE_LINES),
            fitted(row.title, width, size, bold=True, lines=_TITLE_LINES),
        )
        note = fitted(row.note, page_width, size, lines=_NOTE_LINES) if row.note else ""
        above = titles_inches(titles, size)
        below = line_inches(size, line_count(note)) + GAP / 2 if note else 0.0
        return cls(row, titles, note, width, above, below)

    @property
    def pictures_height(self) -> float:
        """The height of the pictures."""
        photo = self.row.photo
        return self.width * shape_in_figure(photo.height, photo.width, self.row.geometry)

    @property
    def height(self) -> float:
        """The height of all."""
        return self.above + self.pictures_height + self.below

    def draw(self, page: Page, top: float, colours: HeatColours, size: float) -> None:
        """Draw the row from `top` down."""
        row, (colormap, signed) = self.row, (colours.colormap, colours.signed)
        pictures = (
            plain_photo(row.photo, [row.heatmap]),
            colourise(row.heatmap, colormap, signed=signed),
            overlay(row.photo, row.heatmap, colormap=colormap, signed=signed),
        )
        for number, (picture, title) in enumerate(zip(pictures, self.titles, strict=True)):
            left = MARGIN + number * (self.width + GAP)
            panel = page.add_axes(left, top + self.above, self.width, self.pictures_height)
            panel.imshow(np.asarray(picture), aspect="auto")
            panel.set_axis_off()
            write_title(panel, title, size, bold=number == 2)
            if number != 1:
                draw_geometry(panel, row.photo.width, row.geometry, size)
            if row.region is not None and number != 1:
                draw_outline(panel, row.region)
            if self.note and number == 1:
                write_note(panel, row.note.partition(":")[0], width=self.width, size=size)
        if self.note:
            below = top + self.above + self.pictures_height + GAP / 2
            page.write(self.note, MARGIN, below, size, align="left", color=_NOTE_COLOUR)


_NOTE_COLOUR = "#8c1c13"


def write_note(axes: Axes, note: str, *, width: float, size: float) -> None:
    """Write a note over the middle of axes of a width in inches, in lines that fit it."""
    axes.text(
        0.5,
        0.5,
        fitted(note, max(width - 2 * size / 72, inches_of("M", size)), size, lines=_NOTE_LINES),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=size,
        color="white",
        parse_math=False,
        bbox={"facecolor": _NOTE_COLOUR, "edgecolor": "none", "boxstyle": "round,pad=0.4"},
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


#: The longest side of a figure that matplotlib can draw in pixels.
_MOST_PIXELS = 65_535

#: Letters as letters in pdf and svg, which can be searched, edited and embedded as TrueType.
_TEXT_AS_TEXT = {"pdf.fonttype": 42, "svg.fonttype": "none"}


def encode_figure(sheet: Figure, form: str) -> bytes:
    """Return a figure as the bytes of a file: png, jpg, webp, pdf or svg.

    Raises:
        OutputError: It has too many pixels.
    """
    buffer = BytesIO()
    prepare_texts(sheet)
    longest = max(sheet.get_size_inches()) * sheet.dpi
    if form not in ("pdf", "svg") and longest > _MOST_PIXELS:
        raise OutputError(
            f"The figure would have sides of {longest:.0f} pixels; at most {_MOST_PIXELS} can be "
            "drawn. Take a lower dpi, a smaller width, or write it as pdf."
        )
    if form == "png":
        _write_png(sheet, buffer)
    else:
        with rc_context(_TEXT_AS_TEXT):  # type: ignore[arg-type]
            sheet.savefig(buffer, format=form, facecolor="white", dpi=sheet.dpi)
    return buffer.getvalue()


def _write_png(sheet: Figure, buffer: BytesIO) -> None:
    """Write a figure as savefig does, but draw it once, and leave out opacity.

    The file becomes as large as savefig's, whose search for repetitions takes four times as long.
    """
    drawn = figure_picture(sheet)
    drawn.save(buffer, "PNG", compress_level=2, dpi=(sheet.dpi, sheet.dpi))
