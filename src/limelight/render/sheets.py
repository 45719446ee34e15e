"""Contact sheets: one photo, many maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from limelight.render.figures import write_note
from limelight.render.measures import shortened
from limelight.render.overlays import Heat, overlay

_SHEET_PANEL_INCHES = 1.55  # inches: the width of a panel


_DEFAULT_COLUMNS = 7


_RANKING_INCHES = 3.0  # inches: the width of a ranking


@dataclass(frozen=True, slots=True)
class Panel:
    """One map `[H, W]` at the photo's size, and words."""

    heatmap: Heat
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


@dataclass(frozen=True, slots=True)
class MetricRanking:
    """Methods ranked by one metric: name, value, random's, centre's, and whether it beats both."""

    title: str
    note: str
    lines: Sequence[tuple[str, str, str, str, bool]]


def sheet(
    blocks: Sequence[Block],
    *,
    colormap: str = "inferno",
    columns: int = _DEFAULT_COLUMNS,
    rankings: Sequence[MetricRanking] = (),
    sentence: str = "",
) -> Figure:
    """Draw the blocks one below the other: the photo first, then its maps, in rows.

    Below them, rankings of the methods, and a sentence.
    """
    shape = max(block.photo.height / block.photo.width for block in blocks)
    most = columns
    if shape < 0.4 or any(block.curve for block in blocks):  # wide ones get more room
        most = max(1, min(3, round(8 * shape)))
    wide = _SHEET_PANEL_INCHES * columns / most
    tall = wide * shape
    columns = min(most, 1 + max(len(block.panels) for block in blocks))
    rows = [math.ceil((1 + len(block.panels)) / columns) for block in blocks]
    titles = [_panel_title(panel, wide) for block in blocks for panel in block.panels]
    lines = 0.08 + 0.14 * max((words.count("\n") + 1 for words in titles), default=1)
    across = columns * (wide + 0.08)
    heights = [count * (tall + lines) + 0.3 for count in rows]
    side_by_side = max(1, int(across / _RANKING_INCHES)) if rankings else 1
    beside = [rankings[i : i + side_by_side] for i in range(0, len(rankings), side_by_side)]
    heights += [0.125 * max(len(one.lines) for one in some) + 0.5 for some in beside]
    words = fill(sentence, max(24, int(11 * across)))
    heights += [0.12 + 0.16 * (words.count("\n") + 1)] if sentence else []
    figure = Figure(figsize=(across, sum(heights)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, some in zip(parts[len(blocks) :], beside, strict=False):
        for axes, ranking in zip(
            part.subplots(1, side_by_side, squeeze=False)[0], some, strict=False
        ):
            _write_ranking(axes, ranking)
        for axes in part.axes:
            axes.set_axis_off()
    if sentence:
        parts[-1].suptitle(words, fontsize=8, fontweight="bold", parse_math=False)
    for part, block, count in zip(parts, blocks, rows, strict=False):
        part.suptitle(block.title, fontsize=9, fontweight="bold", parse_math=False)
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for one in axes:
            one.set_axis_off()
        axes[0].imshow(np.asarray(block.photo.convert("RGB")))
        axes[0].set_title(block.name, fontsize=7)
        for one, panel in zip(axes[1:], block.panels, strict=False):
            laid = overlay(block.photo, panel.heatmap, colormap=colormap, curve=block.curve)
            one.imshow(np.asarray(laid))
            one.set_title(_panel_title(panel, wide), fontsize=7, parse_math=False)
            if panel.note:
                write_note(one, panel.note, width=44, size=6)
    return figure


def _panel_title(panel: Panel, wide: float) -> str:
    """Return what stands over a panel, in lines that fit its width in inches."""
    told = (panel.title, panel.subtitle) if panel.subtitle else (panel.title,)
    return "\n".join(fill(one, int(16 * wide)) for one in told)


def _write_ranking(axes: Axes, ranking: MetricRanking) -> None:
    """Write one metric's methods, best first, with chance beside them; grey is not above chance."""
    axes.set_title(
        f"{ranking.title} ({ranking.note})",
        fontsize=7,
        fontweight="bold",
        loc="left",
        parse_math=False,
    )
    lines = [("", "map", "random", "centre", True), *ranking.lines]
    for number, (name, *values, good) in enumerate(lines):
        y = 1 - (number + 0.5) / len(lines)
        colour = "black" if good else "#8a8a8a"
        for x, word in zip((0, 0.64, 0.8, 0.96), (shortened(name), *values), strict=True):
            axes.text(
                x,
                y,
                word,
                fontsize=6.5,
                color=colour,
                ha="right" if x else "left",
                va="center",
                transform=axes.transAxes,
                parse_math=False,
            )
