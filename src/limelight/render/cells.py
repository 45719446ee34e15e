"""Where the cells of a layer look, drawn on a photo."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.photos.crops import CroppedPhoto
from limelight.render.figures import save_figure_or_arrays
from limelight.render.pages import GAP, MARGIN, Page, write_title
from limelight.render.shown import ShownFigure
from limelight.render.texts import TITLE_PAD, fitted, line_count, line_inches, prepare_texts
from limelight.render.whole import framed, stripe_step, unseen
from limelight.runtime.cells import CellPlaces

_PANEL_INCHES, _DPI = 3.6, 150

#: The colours of the cells that are drawn, told apart also by those who are colour-blind.
_COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#ffffff")

#: The most lines of the net of centres along each axis.
_MOST_LINES = 16

#: How much of the photo's colour is left below the drawings.
_DIMMED = 0.6


def save_cells(
    path: str | Path, cells: CellPlaces, photo: CroppedPhoto, *, style: FigureStyle = USUAL_STYLE
) -> Path:
    """Draw where cells look on a photo, and write the picture; with the suffix .npz the arrays.

    Raises:
        OutputError: The format is unknown, or the file cannot be written there.
    """
    arrays = {"centre": cells.centre, "spread": cells.spread, "energy": cells.energy}
    return save_figure_or_arrays(
        path,
        lambda: cells_figure(cells, photo, style=style),
        lambda: (arrays, {"layer": cells.layer}),
    )


def cells_figure(
    cells: CellPlaces, photo: CroppedPhoto, *, style: FigureStyle = USUAL_STYLE
) -> Figure:
    """Draw where cells `[h, w]` look on a photo, in two panels.

    Left, the cells in the corners and in the middle: each as a square where it lies, tied to the
    centre of what it looks at, with an ellipse of one standard deviation around that. Right, a net
    with a knot at the centre of each cell, neighbours tied.
    """
    background, size = _background(photo), style.font_size
    shape = background.height / background.width
    across = style.inches or 2 * _PANEL_INCHES / max(1.0, shape) + GAP + 2 * MARGIN
    width, inner = (across - 2 * MARGIN - GAP) / 2, across - 2 * MARGIN
    grid = " x ".join(map(str, cells.energy.shape))
    heading = fitted(f"Where cells of {cells.layer} look", inner, size, bold=True, lines=2)
    titles = [
        fitted(title, width, size, lines=5)
        for title in (
            "cells (dotted); the centre and the spread of what each looks at",
            f"the centres of what all {grid} cells look at",
        )
    ]
    above = MARGIN + line_inches(size, line_count(heading)) + GAP / 2
    above += line_inches(size, max(map(line_count, titles))) + TITLE_PAD
    height = above + width * shape + MARGIN
    figure = ShownFigure(figsize=(across, height), dpi=style.dots(_DPI))
    page = Page(figure, across, height)
    page.write(heading, across / 2, MARGIN, size, fontweight="bold")
    left = page.add_axes(MARGIN, above, width, width * shape)
    right = page.add_axes(MARGIN + width + GAP, above, width, width * shape)
    for axes, title in zip((left, right), titles, strict=True):
        axes.imshow(np.asarray(background), aspect="auto")
        axes.set(xlim=(-0.5, background.width - 0.5), ylim=(background.height - 0.5, -0.5))
        axes.set_axis_off()
        write_title(axes, title, size)
    for cell, colour in zip(_few(cells), _COLOURS, strict=False):
        _draw_cell(left, cells, cell, photo, colour)
    _draw_net(right, cells, photo)
    prepare_texts(figure)
    return figure


def _background(photo: CroppedPhoto) -> Image.Image:
    """Return the photo, dimmed; what the network did not see is pale, with a frame around it."""
    pixels = np.asarray(photo.photo.convert("RGB"), dtype=np.float32) / 255
    dimmed = _DIMMED * pixels
    if not photo.all_seen:
        marked = unseen(pixels, 0, 0, stripe_step(photo.photo.size))
        seen = photo.seen().numpy()
        dimmed = np.where(seen[..., None], dimmed, marked)
    picture = Image.fromarray((dimmed * 255).round().astype(np.uint8))
    return picture if photo.all_seen else framed(picture, photo.view_box)


def _few(cells: CellPlaces) -> list[tuple[int, int]]:
    """Return the cells in the corners and in the middle that answer to something."""
    h, w = cells.energy.shape
    corners = list(product((0, h - 1), (0, w - 1)))
    few = dict.fromkeys([*corners, (h // 2, w // 2)])
    return [cell for cell in few if float(cells.energy[cell]) > 0]


def _to_pixels(photo: CroppedPhoto, y: float, x: float) -> tuple[float, float]:
    """Return x and y in pixels of the photo for a place on the picture that the network saw."""
    left, top, right, bottom = photo.box
    return left + x * (right - left) - 0.5, top + y * (bottom - top) - 0.5


def _draw_cell(
    axes: Axes, cells: CellPlaces, cell: tuple[int, int], photo: CroppedPhoto, colour: str
) -> None:
    """Draw a cell where it lies, and the centre and the spread of what it looks at."""
    (y1, y2), (x1, x2) = cells.extent(cell)
    corner, opposite = _to_pixels(photo, y1, x1), _to_pixels(photo, y2, x2)
    size = (opposite[0] - corner[0], opposite[1] - corner[1])
    y, x = (float(along[cell]) for along in cells.centre)
    centre = _to_pixels(photo, y, x)
    down, across = (float(along[cell]) for along in cells.spread)
    ends = [_to_pixels(photo, y + sign * down, x + sign * across) for sign in (-1, 1)]
    reach = (ends[1][0] - ends[0][0], ends[1][1] - ends[0][1])
    dark = [withStroke(linewidth=3.2, foreground="black")]
    middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    axes.add_patch(Ellipse(centre, *reach, facecolor=colour, alpha=0.25))
    axes.add_patch(Ellipse(centre, *reach, fill=False, edgecolor=colour, lw=1.6, path_effects=dark))
    axes.add_patch(
        Rectangle(corner, *size, fill=False, edgecolor=colour, lw=1.4, ls=":", path_effects=dark)
    )
    axes.plot(*zip(middle, centre, strict=True), color=colour, lw=1.2, path_effects=dark)
    axes.plot(*centre, "o", color=colour, ms=4.5, mec="black", mew=0.8)


def _draw_net(axes: Axes, cells: CellPlaces, photo: CroppedPhoto) -> None:
    """Draw the centres of all cells, those of neighbours tied."""
    silent = (cells.energy <= 0).numpy()
    y, x = (np.where(silent, np.nan, along.numpy()) for along in cells.centre)
    left, top, right, bottom = photo.box
    across, down = left + x * (right - left) - 0.5, top + y * (bottom - top) - 0.5
    rows, columns = (range(0, g, math.ceil(g / _MOST_LINES)) for g in x.shape)
    line: dict[str, Any] = {
        "color": "#56b4e9",
        "lw": 0.9,
        "path_effects": [withStroke(linewidth=2, foreground="k")],
    }
    for i in rows:
        axes.plot(across[i, :], down[i, :], **line)
    for j in columns:
        axes.plot(across[:, j], down[:, j], **line)
    knots = np.ix_(rows, columns)
    axes.plot(
        across[knots].ravel(), down[knots].ravel(), "o", color="white", ms=2.6, mec="k", mew=0.5
    )
