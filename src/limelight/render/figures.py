"""Figures for print and screen: photo, heatmap with its colour bar, overlay, and all the names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor

from limelight.render.overlays import colourise, overlay

_PANEL = 3.1  # inches: the longer side of a picture
_DPI = 200

#: Of a photo in a figure, more pixels than this on its longer side are not seen.
PANEL_PIXELS = round(_PANEL * _DPI)


@dataclass(frozen=True, slots=True)
class Row:
    """One explained image: the photo, its heatmap `[H, W]` at the photo's size, and words."""

    photo: Image
    heatmap: Tensor
    title: str
    note: str = ""


def as_panel(photo: Image) -> Image:
    """Return a photo with no more pixels than a panel shows: more would only cost memory."""
    return photo.reduce(max(1, max(photo.size) // PANEL_PIXELS))


def figure(rows: Sequence[Row], *, method: str, layer: str, colormap: str = "inferno") -> Figure:
    """Draw a row of photo, heatmap with colour bar, and overlay for each explained image.

    The figure belongs to nobody's window: it is drawn without pyplot, so that it can be made in any
    thread and is freed with its last reference.
    """
    shape = max(row.photo.height / row.photo.width for row in rows)
    wide = _PANEL if shape <= 1 else max(_PANEL / shape, 1.6)
    tall = wide * shape
    sheet = Figure(figsize=(3 * wide + 1.1, len(rows) * (tall + 0.3) + 0.08), dpi=_DPI)
    sheet.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04, wspace=0.02)
    for axes, row in zip(sheet.subplots(len(rows), 3, squeeze=False), rows, strict=True):
        _draw(axes, row, colormap)
        axes[1].set_title(f"{method} at {layer}", fontsize=9, parse_math=False)
    return sheet


def _draw(axes: Sequence[Axes], row: Row, colormap: str) -> None:
    pictures = (
        row.photo,
        colourise(row.heatmap, colormap),
        overlay(row.photo, row.heatmap, colormap=colormap),
    )
    for panel, picture in zip(axes, pictures, strict=True):
        panel.imshow(np.asarray(picture))
        panel.set_axis_off()
    axes[0].set_title("photo", fontsize=9)
    # Class names are names, also with dollar signs in them.
    axes[2].set_title(row.title, fontsize=9, fontweight="bold", parse_math=False)
    scale = ScalarMappable(Normalize(0, 1), colormap)
    bar = axes[1].figure.colorbar(scale, ax=axes[1], fraction=0.046, pad=0.03, ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_linewidth(0.4)
    if row.note:
        axes[1].text(
            0.5,
            0.5,
            fill(row.note, 44),
            transform=axes[1].transAxes,
            ha="center",
            va="center",
            fontsize=6.5,
            color="white",
            bbox={"facecolor": "#8c1c13", "edgecolor": "none", "boxstyle": "round,pad=0.5"},
        )


def encode_figure(sheet: Figure, form: str) -> bytes:
    """Return a figure as the bytes of a file: png, jpg, webp, pdf or svg."""
    buffer = BytesIO()
    sheet.savefig(buffer, format=form, facecolor="white")
    return buffer.getvalue()
