"""Figures of activations and gradients at layers, each panel with its own colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from torch import Tensor

from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.plain import MINUS
from limelight.render.maps import SEQUENTIAL, SIGNED, laid_out, limits
from limelight.render.pages import GAP, MARGIN, Page, label_axes
from limelight.render.shown import ShownFigure
from limelight.render.texts import (
    TITLE_PAD,
    fitted,
    inches_of,
    line_count,
    line_inches,
    prepare_texts,
)

_PANEL_WIDTH = 2.6  # inches: a panel with its bar, unless a width is asked for


_LEAST_PANEL = 1.5  # inches: the least width of a panel


_BAR, _DPI = 0.08, 150


class TracedLayer(NamedTuple):
    """Activations and gradients at one layer: `[K, *grid]`, or any shape when `channel` is None."""

    title: str
    activations: Tensor
    gradients: Tensor
    channel: int | None


def trace_figure(
    rows: Sequence[TracedLayer], title: str, *, style: FigureStyle = USUAL_STYLE
) -> Figure:
    """Draw a row of panels for each layer; on a narrow page, two rows of two."""
    across, size = style.inches or 4 * _PANEL_WIDTH, style.font_size
    inner = across - 2 * MARGIN
    words = fitted(title, inner, size, bold=True, lines=3)
    fits = max(inches_of(_plain(name), size) for name in _NAMES) < inner / 4 - 2 * GAP
    columns = 4 if fits and inner / 4 > _LEAST_PANEL else 2
    place = (inner + GAP) / columns - GAP
    heights = [_row_height(row, place, columns, size) for row in rows]
    heights[0] += MARGIN + line_inches(size, line_count(words)) + GAP
    sheet = ShownFigure(figsize=(across, sum(heights) + MARGIN - 2 * GAP), dpi=style.dots(_DPI))
    page = Page(sheet, across, sum(heights) + MARGIN - 2 * GAP)
    page.write(words, across / 2, MARGIN, size, fontweight="bold")
    ratios = [*heights[:-1], heights[-1] + MARGIN - 2 * GAP]
    places = GridSpec(
        len(rows), 1, sheet, height_ratios=ratios, hspace=0, left=0, right=1, bottom=0, top=1
    )
    for number, row in enumerate(rows):
        part = Page(sheet.add_subfigure(places[number]), across, ratios[number])
        top = heights[0] - _row_height(rows[0], place, columns, size) if number == 0 else 0.0
        part.write(fitted(row.title, inner, size), MARGIN, top, size, align="left")
        panels = _draw_values if row.channel is None else _draw_maps
        panels(part, row, top + line_inches(size) + GAP / 2, place, columns, size)
    prepare_texts(sheet)
    return sheet


#: What the panels of a layer show; the channel is added to the first two.
_NAMES = (
    "$A_k$, channel {k}",
    r"$\partial y_c / \partial A_k$, channel {k}",
    r"$\mathrm{max}_k\,|\partial y_c / \partial A_k|$",
    r"$\Sigma_k\,\alpha_k A_k$",
)


def _plain(name: str) -> str:
    """Return about as many letters as the formula in a name takes."""
    return "".join(letter for letter in name.replace(r"\partial", "d") if letter not in "$_{}\\")


def _panel_height(row: TracedLayer, place: float, size: float) -> float:
    """Return the height of a panel with its title, in inches."""
    shape = laid_out(row.activations[0]).shape if row.channel is not None else (1, 2)
    picture = (place - _bar_width(size)) * (shape[0] / shape[1] if min(shape) > 1 else 0.5)
    return min(picture, place) + line_inches(size) + TITLE_PAD + GAP


def _row_height(row: TracedLayer, place: float, columns: int, size: float) -> float:
    count = 4 // columns if row.channel is not None else 1
    below = line_inches(size) if row.channel is None else 0.0
    panels = count * _panel_height(row, place, size)
    return line_inches(size) + GAP / 2 + panels + below + GAP


def _bar_width(size: float) -> float:
    """Return what the colour bar beside a panel takes, with its numbers, in inches."""
    return 0.04 + _BAR + inches_of(f"{MINUS}4.8e{MINUS}05", size) + 4 / 72


def _draw_maps(
    page: Page, row: TracedLayer, top: float, place: float, columns: int, size: float
) -> None:
    """Draw one channel, and the maximum and the weighted sum over all channels."""
    assert row.channel is not None
    k = row.channel
    alpha = row.gradients.flatten(1).mean(1)
    weighted = torch.tensordot(alpha, row.activations, 1)
    panels = (
        (row.activations[k], False),
        (row.gradients[k], True),
        (row.gradients.abs().amax(0), False),
        (weighted, True),
    )
    each = _panel_height(row, place, size)
    for number, ((values, signed), name) in enumerate(zip(panels, _NAMES, strict=True)):
        line, column = divmod(number, columns)
        left = MARGIN + column * (place + GAP)
        above = top + line * each + line_inches(size) + TITLE_PAD
        width, height = place - _bar_width(size), each - line_inches(size) - TITLE_PAD - GAP
        panel = page.add_axes(left, above, width, height)
        beside = page.add_axes(left + width + 0.04, above, _BAR, height)
        shown = laid_out(values).numpy()
        low, high = limits(values, signed=signed)
        picture = panel.imshow(
            shown,
            cmap=SIGNED if signed or low < 0 else SEQUENTIAL,
            norm=Normalize(low, high) if high else Normalize(-1 if signed else 0, 1),
            interpolation="nearest",
            aspect="auto",
        )
        panel.set_title(name.replace("{k}", str(k)), fontsize=size, pad=TITLE_PAD * 72)
        panel.set_xticks([])
        panel.set_yticks([])
        _draw_bar(page.figure.colorbar(picture, cax=beside), size)


def _draw_bar(bar: Colorbar, size: float) -> None:
    """Write three numbers at a colour bar, short enough for their place."""
    low, high = bar.ax.get_ylim()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks)
    bar.set_ticklabels([f"{value:.2g}".replace("-", MINUS) for value in ticks])
    bar.ax.tick_params(labelsize=size, length=2, pad=1.5)
    first, _, last = bar.ax.get_yticklabels()
    first.set_verticalalignment("bottom")
    last.set_verticalalignment("top")
    bar.outline.set_linewidth(0.4)


def _draw_values(
    page: Page, row: TracedLayer, top: float, place: float, columns: int, size: float
) -> None:
    """Draw all values one after the other, as curves."""
    panels = (("A", row.activations), (r"$\partial y_c / \partial A$", row.gradients))
    width = (place + GAP) * columns / 2 - GAP
    height = _panel_height(row, place, size) - line_inches(size) - TITLE_PAD - GAP
    above = top + line_inches(size) + TITLE_PAD
    for number, (name, values) in enumerate(panels):
        left = MARGIN + number * (width + GAP)
        panel = page.add_axes(left, above, width, height)
        flat = values.flatten().numpy()
        panel.plot(np.arange(len(flat)), flat, linewidth=0.6, color="#3b4cc0")
        panel.axhline(0, linewidth=0.4, color="grey")
        panel.set_title(name, fontsize=size, pad=TITLE_PAD * 72)
        panel.margins(x=0.01)
        panel.locator_params(nbins=4)
        beside, _ = label_axes(panel, size)
        page.place(panel, left + beside, above, width - beside, height)
