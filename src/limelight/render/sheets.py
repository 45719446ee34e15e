"""Contact sheets: one photo and many maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL.Image import Image

from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.render.figures import plain_photo, write_note
from limelight.render.outlines import Region, draw_outline
from limelight.render.overlays import Heat, is_of_single_pixels, overlay
from limelight.render.pages import GAP, MARGIN, Page, write_title
from limelight.render.rankings import MetricRanking
from limelight.render.scales import ColourBar, HeatColours
from limelight.render.shown import ShownFigure
from limelight.render.texts import (
    TITLE_PAD,
    fitted,
    inches_of,
    line_count,
    line_inches,
    prepare_texts,
)

_DPI = 150


_SHEET_PANEL_INCHES = 1.55  # the width of a panel, unless a width is asked for


_LEAST_PANEL_LETTERS = 8  # the least width of a panel, in sizes of the font


_DEFAULT_COLUMNS = 7


_BAR_INCHES = 2.4


_BESIDE = 0.3  # between two rankings, in inches


_RANKING_LETTERS = 26  # the least width of a ranking, in sizes of the font


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


def sheet(
    blocks: Sequence[Block],
    *,
    colours: HeatColours | None = None,
    style: FigureStyle = USUAL_STYLE,
    columns: int = _DEFAULT_COLUMNS,
    rankings: Sequence[MetricRanking] = (),
    sentence: str = "",
) -> Figure:
    """Draw the blocks one below the other: the photo first, then its maps, in rows.

    A colour bar, rankings of the methods and a sentence follow below them.
    """
    colours = colours or HeatColours()
    grid = _Grid.fit(blocks, columns, style)
    size, inner = style.font_size, grid.page_width - 2 * MARGIN
    laid = [_SheetBlock.fit(block, grid, size) for block in blocks]
    bar = ColourBar.fit(colours, size, min(inner, _BAR_INCHES), inner)
    table = _Rankings(rankings, size, inner)
    words = fitted(sentence, inner, size, bold=True, lines=6) if sentence else ""
    heights = [*(block.height for block in laid), bar.height + GAP, table.height]
    heights += [line_inches(size, line_count(words)) + GAP if words else 0.0]
    total = sum(heights) + 2 * MARGIN - line_inches(size) / 6
    figure = ShownFigure(figsize=(grid.page_width, total), dpi=style.dots(_DPI))
    page, top = Page(figure, grid.page_width, total), MARGIN
    ratios = [*heights[: len(laid)], total - MARGIN - sum(heights[: len(laid)])]
    ratios[0] += MARGIN
    places = GridSpec(len(ratios), 1, figure, height_ratios=ratios, hspace=0, **_WHOLE)
    for number, block in enumerate(laid):
        part = figure.add_subfigure(places[number])
        block.draw(Page(part, grid.page_width, ratios[number]), colours, size, first=number == 0)
        top += block.height
    bar.draw(page, grid.page_width / 2, top + GAP / 2)
    top += bar.height + GAP
    table.draw(page, top)
    page.write(words, grid.page_width / 2, top + table.height + GAP / 2, size, fontweight="bold")
    prepare_texts(figure)
    return figure


#: The sides of a grid of parts that fill the whole figure.
_WHOLE = {"left": 0.0, "right": 1.0, "bottom": 0.0, "top": 1.0}


class _Grid(NamedTuple):
    """How many panels stand in a row of a sheet, and their size; lengths in inches."""

    columns: int
    panel_width: float
    panel_height: float
    page_width: float

    @classmethod
    def fit(cls, blocks: Sequence[Block], columns: int, style: FigureStyle) -> _Grid:
        """Find how many panels fit beside each other; a narrow page takes fewer."""
        shape = max(block.photo.height / block.photo.width for block in blocks)
        most = columns
        if shape < 0.4 or any(block.curve for block in blocks):  # wide pictures get more room
            most = max(1, min(3, round(8 * shape)))
        usual = _SHEET_PANEL_INCHES * columns / most
        needed = min(most, 1 + max(len(block.panels) for block in blocks))
        if style.inches is None:
            width = needed * (usual + GAP) - GAP + 2 * MARGIN
            return cls(needed, usual, usual * shape, width)
        inner = style.inches - 2 * MARGIN
        least = _LEAST_PANEL_LETTERS * style.font_size / 72 * usual / _SHEET_PANEL_INCHES
        fitting = min(needed, max(1, int((inner + GAP) / (least + GAP))))
        width = (inner + GAP) / fitting - GAP
        return cls(fitting, width, width * shape, style.inches)


class _SheetBlock(NamedTuple):
    """A block of a sheet, laid out: its titles in lines that fit; lengths in inches."""

    block: Block
    grid: _Grid
    title: str
    titles: Sequence[str]
    title_inches: float
    above: Sequence[float]

    @classmethod
    def fit(cls, block: Block, grid: _Grid, size: float) -> _SheetBlock:
        """Lay out a block."""
        inner, width = grid.page_width - 2 * MARGIN, grid.panel_width
        title = fitted(block.title, inner, size, bold=True, lines=3)
        titles = [fitted(block.name, width, size, lines=3)]
        titles += [_panel_title(panel, width, size) for panel in block.panels]
        rows = [titles[i : i + grid.columns] for i in range(0, len(titles), grid.columns)]
        above = [line_inches(size, max(map(line_count, row))) + TITLE_PAD for row in rows]
        title_inches = line_inches(size, line_count(title)) + GAP / 2
        return cls(block, grid, title, titles, title_inches, above)

    @property
    def height(self) -> float:
        """The height of all."""
        return self.title_inches + sum(self.above) + len(self.above) * self._picture_inches

    @property
    def _picture_inches(self) -> float:
        """The height of a row without its titles."""
        return self.grid.panel_height + GAP

    def draw(self, page: Page, colours: HeatColours, size: float, *, first: bool) -> None:
        """Draw the block on a page of its own; the first one has the border of the sheet above."""
        block, grid, top = self.block, self.grid, MARGIN if first else 0.0
        page.write(self.title, page.width / 2, top, size, fontweight="bold")
        for number, title in enumerate(self.titles):
            row, column = divmod(number, grid.columns)
            shape = block.photo.height / block.photo.width
            axes = page.add_axes(
                MARGIN + column * (grid.panel_width + GAP),
                top + self.title_inches + sum(self.above[: row + 1]) + row * self._picture_inches,
                grid.panel_width,
                grid.panel_width * shape,
            )
            axes.set_axis_off()
            write_title(axes, title, size)
            if number == 0:
                plain = plain_photo(block.photo, [panel.heatmap for panel in block.panels])
                axes.imshow(np.asarray(plain), aspect="auto")
            else:
                _draw_panel(axes, block, block.panels[number - 1], colours, grid.panel_width, size)


def _draw_panel(
    axes: Axes, block: Block, panel: Panel, colours: HeatColours, width: float, size: float
) -> None:
    """Draw one map over its photo.

    A map of single pixels would hardly be seen over a photo of full brightness. It is drawn as in
    the article, whose sum of photo and colours darkens what is cold.
    """
    in_pixels = not colours.signed and is_of_single_pixels(panel.heatmap)
    drawn = overlay(
        block.photo,
        panel.heatmap,
        colormap=colours.colormap,
        alpha=None if in_pixels else "heat",
        signed=colours.signed,
        curve=block.curve,
    )
    axes.imshow(np.asarray(drawn), aspect="auto")
    if panel.region is not None:
        draw_outline(axes, panel.region)
    if panel.note:
        write_note(axes, panel.note, width=width, size=size)


def _panel_title(panel: Panel, width: float, size: float) -> str:
    """Return the title and subtitle of a panel, in lines that fit its width in inches."""
    titles = (panel.title, panel.subtitle) if panel.subtitle else (panel.title,)
    return "\n".join(fitted(title, width, size, lines=3) for title in titles)


class _Rankings:
    """Rankings of methods beside each other, laid out; lengths in inches."""

    def __init__(self, rankings: Sequence[MetricRanking], size: float, width: float) -> None:
        """Lay out as many beside each other as fit."""
        least = _RANKING_LETTERS * size / 72
        count = max(1, min(len(rankings), int((width + _BESIDE) / (least + _BESIDE))))
        self.rows = [rankings[i : i + count] for i in range(0, len(rankings), count)]
        self.size, self.width = size, min((width + _BESIDE) / count - _BESIDE, 1.2 * least)

    @property
    def height(self) -> float:
        """The height of all."""
        return sum(map(self._row_height, self.rows))

    def draw(self, page: Page, top: float) -> None:
        """Draw them from `top` down."""
        for row in self.rows:
            height = self._row_height(row) - GAP
            for number, ranking in enumerate(row):
                left = MARGIN + number * (self.width + _BESIDE)
                lines = line_inches(self.size, len(ranking.lines) + 1)
                axes = page.add_axes(left, top + height - lines, self.width, lines)
                axes.set_axis_off()
                _write_ranking(axes, ranking, self.width, self.size)
            top += height + GAP

    def _row_height(self, row: Sequence[MetricRanking]) -> float:
        lines = max(len(ranking.lines) for ranking in row) + 2
        return line_inches(self.size, lines) + TITLE_PAD + 2 * GAP


def _write_ranking(axes: Axes, ranking: MetricRanking, width: float, size: float) -> None:
    """Write one metric's methods, best first, beside chance; those not above chance are grey."""
    title = f"{ranking.title} ({ranking.note})"
    axes.set_title(
        fitted(title, width, size, bold=True),
        fontsize=size,
        fontweight="bold",
        loc="left",
        pad=TITLE_PAD * 72,
        parse_math=False,
    )
    # Columns are as wide as their heads, and all numbers are shorter than those.
    step = inches_of("random  ", size) / width
    ends = (0.0, 1 - 2 * step, 1 - step, 1.0)
    lines = [("", "map", "random", "centre", True), *ranking.lines]
    for number, (name, *values, good) in enumerate(lines):
        y = 1 - (number + 0.5) / len(lines)
        short = fitted(name, (1 - 3 * step) * width, size) if name else ""
        for x, word in zip(ends, (short, *values), strict=True):
            axes.text(
                x,
                y,
                word,
                fontsize=size,
                color="black" if good else "#767676",
                ha="right" if x else "left",
                va="center",
                transform=axes.transAxes,
                parse_math=False,
            )
