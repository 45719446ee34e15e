"""Contact sheets: one photo and many maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from limelight.render.figures import plain_photo, write_note
from limelight.render.measures import shortened
from limelight.render.outlines import Region, draw_outline
from limelight.render.overlays import Heat, overlay
from limelight.render.shown import ShownFigure

_SHEET_PANEL_INCHES = 1.55  # the width of a panel


_DEFAULT_COLUMNS = 7


_RANKING_INCHES = 3.0  # the width of a ranking


@dataclass(frozen=True, slots=True)
class Panel:
    """One map `[H, W]` at the photo's size, words, and the region that is outlined."""

    heatmap: Heat
    title: str
    subtitle: str = ""
    note: str = ""
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One photo and its maps.

    Attributes:
        photo: The photo, or a picture of the input.
        title: What is explained.
        panels: The maps.
        name: What the photo is: a photo, a signal, which slices.
        curve: Whether the photo is a curve, white on black.
    """

    photo: Image
    title: str
    panels: Sequence[Panel]
    name: str = "photo"
    curve: bool = False


@dataclass(frozen=True, slots=True)
class MetricRanking:
    """Methods ranked by one metric.

    Attributes:
        title: The metric.
        note: Whether lower or higher is better.
        lines: For each method its name, its value, the values of the random and the centre map, and
            whether it beats both.
    """

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

    Rankings of the methods and a sentence follow below them.
    """
    shape = max(block.photo.height / block.photo.width for block in blocks)
    most = columns
    if shape < 0.4 or any(block.curve for block in blocks):  # wide pictures get more room
        most = max(1, min(3, round(8 * shape)))
    panel_width = _SHEET_PANEL_INCHES * columns / most
    panel_height = panel_width * shape
    columns = min(most, 1 + max(len(block.panels) for block in blocks))
    rows = [math.ceil((1 + len(block.panels)) / columns) for block in blocks]
    titles = [_panel_title(panel, panel_width) for block in blocks for panel in block.panels]
    title_height = 0.08 + 0.14 * max((title.count("\n") + 1 for title in titles), default=1)
    width = columns * (panel_width + 0.08)
    heights = [count * (panel_height + title_height) + 0.3 for count in rows]
    per_row = max(1, int(width / _RANKING_INCHES)) if rankings else 1
    ranking_rows = [rankings[i : i + per_row] for i in range(0, len(rankings), per_row)]
    heights += [0.125 * max(len(ranking.lines) for ranking in row) + 0.5 for row in ranking_rows]
    words = fill(sentence, max(24, int(11 * width)))
    heights += [0.12 + 0.16 * (words.count("\n") + 1)] if sentence else []
    figure = ShownFigure(figsize=(width, sum(heights)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, row in zip(parts[len(blocks) :], ranking_rows, strict=False):
        every = part.subplots(1, per_row, squeeze=False)[0]
        for axes, ranking in zip(every, row, strict=False):
            _write_ranking(axes, ranking)
        for axes in part.axes:
            axes.set_axis_off()
    if sentence:
        parts[-1].suptitle(words, fontsize=8, fontweight="bold", parse_math=False)
    for part, block, count in zip(parts, blocks, rows, strict=False):
        part.suptitle(block.title, fontsize=9, fontweight="bold", parse_math=False)
        every = part.subplots(count, columns, squeeze=False).ravel()
        for axes in every:
            axes.set_axis_off()
        plain = plain_photo(block.photo, [panel.heatmap for panel in block.panels])
        every[0].imshow(np.asarray(plain))
        every[0].set_title(block.name, fontsize=7)
        for axes, panel in zip(every[1:], block.panels, strict=False):
            drawn = overlay(block.photo, panel.heatmap, colormap=colormap, curve=block.curve)
            axes.imshow(np.asarray(drawn))
            axes.set_title(_panel_title(panel, panel_width), fontsize=7, parse_math=False)
            if panel.region is not None:
                draw_outline(axes, panel.region)
            if panel.note:
                write_note(axes, panel.note, width=44, size=6)
    return figure


def _panel_title(panel: Panel, width: float) -> str:
    """Return the title and subtitle of a panel, in lines that fit its width in inches."""
    titles = (panel.title, panel.subtitle) if panel.subtitle else (panel.title,)
    return "\n".join(fill(title, int(16 * width)) for title in titles)


def _write_ranking(axes: Axes, ranking: MetricRanking) -> None:
    """Write one metric's methods, best first, beside chance; those not above chance are grey."""
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
