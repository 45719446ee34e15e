"""Contact sheets: one photo, many maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor

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
    """One photo, what is explained of it, and the maps."""

    photo: Image
    title: str
    panels: Sequence[Panel]


def sheet(blocks: Sequence[Block], *, colormap: str = "inferno") -> Figure:
    """Draw the blocks one below the other: the photo first, then its maps, in rows."""
    columns = min(_COLUMNS, 1 + max(len(block.panels) for block in blocks))
    rows = [math.ceil((1 + len(block.panels)) / columns) for block in blocks]
    shape = max(block.photo.height / block.photo.width for block in blocks)
    tall = _WIDE * shape
    lines = 0.36 if any(panel.subtitle for block in blocks for panel in block.panels) else 0.22
    size = (columns * (_WIDE + 0.08), sum(rows) * (tall + lines) + len(blocks) * 0.3)
    figure = Figure(figsize=size, dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=rows)[:, 0]
    for part, block, count in zip(parts, blocks, rows, strict=True):
        part.suptitle(block.title, fontsize=9, fontweight="bold", parse_math=False)
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for one in axes:
            one.set_axis_off()
        axes[0].imshow(np.asarray(block.photo.convert("RGB")))
        axes[0].set_title("photo", fontsize=7)
        for one, panel in zip(axes[1:], block.panels, strict=False):
            one.imshow(np.asarray(overlay(block.photo, panel.heatmap, colormap=colormap)))
            words = f"{panel.title}\n{panel.subtitle}" if panel.subtitle else panel.title
            one.set_title(words, fontsize=7, parse_math=False)
            if panel.note:
                one.text(
                    0.5,
                    0.5,
                    panel.note,
                    transform=one.transAxes,
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white",
                    bbox={"facecolor": "#8c1c13", "edgecolor": "none", "boxstyle": "round,pad=0.4"},
                )
    return figure
