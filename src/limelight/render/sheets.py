"""Contact sheets: one photo, many maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor

from limelight.render.figures import write_note
from limelight.render.overlays import overlay

_WIDE = 1.55  # inches: the width of a panel
_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One map `[H, W]` at the photo's size, and words."""

    heatmap: Tensor
    title: str
    subtitle: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """One photo, what is explained of it, the maps; what the photo is, and whether a curve."""

    photo: Image
    title: str
    panels: Sequence[Panel]
    name: str = "photo"
    curve: bool = False


def sheet(blocks: Sequence[Block], *, colormap: str = "inferno") -> Figure:
    """Draw the blocks one below the other: the photo first, then its maps, in rows."""
    shape = max(block.photo.height / block.photo.width for block in blocks)
    most = _COLUMNS
    if shape < 0.4 or any(block.curve for block in blocks):  # wide ones get more room
        most = max(1, min(3, round(8 * shape)))
    wide = _WIDE * _COLUMNS / most
    tall = wide * shape
    columns = min(most, 1 + max(len(block.panels) for block in blocks))
    rows = [math.ceil((1 + len(block.panels)) / columns) for block in blocks]
    lines = 0.36 if any(panel.subtitle for block in blocks for panel in block.panels) else 0.22
    size = (columns * (wide + 0.08), sum(rows) * (tall + lines) + len(blocks) * 0.3)
    figure = Figure(figsize=size, dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=rows)[:, 0]
    for part, block, count in zip(parts, blocks, rows, strict=True):
        part.suptitle(block.title, fontsize=9, fontweight="bold", parse_math=False)
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for one in axes:
            one.set_axis_off()
        axes[0].imshow(np.asarray(block.photo.convert("RGB")))
        axes[0].set_title(block.name, fontsize=7)
        for one, panel in zip(axes[1:], block.panels, strict=False):
            laid = overlay(block.photo, panel.heatmap, colormap=colormap, curve=block.curve)
            one.imshow(np.asarray(laid))
            words = f"{panel.title}\n{panel.subtitle}" if panel.subtitle else panel.title
            one.set_title(words, fontsize=7, parse_math=False)
            if panel.note:
                write_note(one, panel.note, width=44, size=6)
    return figure
