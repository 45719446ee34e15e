"""Pictures of measurements: each method's mean and interval beside chance, and mean curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.plain import visible
from limelight.render.pages import MARGIN
from limelight.render.shown import ShownFigure
from limelight.render.texts import fitted, line_count, line_inches, prepare_texts

#: A mean with the ends of its interval, which are NaN without one.
Interval = tuple[float, float, float]


_CONTROL_COLOURS = {"chance: random": "#8a8a8a", "chance: centre": "#c08a2b"}


_CONTROL_MARKS = {"chance: random": "x", "chance: centre": "+"}


_CONTROL_OFFSETS = {"chance: random": 0.18, "chance: centre": 0.34}


_PANEL_INCHES, _DPI = 4.6, 150  # the width of a panel, unless a width is asked for


_LEAST_PANEL_LETTERS = 26  # the least width of a panel, in sizes of the font


def shortened(name: str, most: int = 28) -> str:
    """Return the first letters of a name, at most so many, with control characters spelled out."""
    name = visible(name)  # here, because tick labels are made anew when they are drawn
    return name if len(name) <= most else f"{name[: most - 1]}…"


@dataclass(frozen=True, slots=True)
class Bars:
    """The panel of a metric's means, the best method first, beside the controls."""

    title: str
    note: str
    means: Mapping[str, Interval]
    controls: Mapping[str, Mapping[str, Interval]]  # by method and then by control


@dataclass(frozen=True, slots=True)
class Curves:
    """The panel of a metric's mean curves, by method; the controls have colours of their own."""

    title: str
    x_label: str
    y_label: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def measurement_figure(
    panels: Sequence[Bars | Curves], *, title: str, style: FigureStyle = USUAL_STYLE
) -> Figure:
    """Draw panels in rows of three, or as many as fit a width, with one legend."""
    size, columns = style.font_size, min(3, len(panels))
    if style.inches is not None:
        columns = max(1, min(columns, int(style.inches / (_LEAST_PANEL_LETTERS * size / 72))))
    across = style.inches or _PANEL_INCHES * columns
    panel_width = across / columns
    rows = math.ceil(len(panels) / columns)
    most_rows = max((len(panel.means) for panel in panels if isinstance(panel, Bars)), default=8)
    height = max(2.6, 0.9 + 0.2 * most_rows * max(1, size / 8))
    names = dict.fromkeys(
        name
        for panel in panels
        for name in (panel.means if isinstance(panel, Bars) else panel.curves)
        if name not in _CONTROL_COLOURS
    )
    longest = max(len(shortened(name)) for name in (*names, *_CONTROL_COLOURS))
    entry = (5 + longest) * size / 72 * 0.6  # the mark and its space, and the name, in inches
    entries = max(1, min(len(names) + 2, int(across / entry)))
    legend = 1.15 * line_inches(size) * math.ceil((len(names) + 2) / entries)
    words = fitted(title, across - 2 * MARGIN, size, bold=True, lines=6)
    heading = line_inches(size, line_count(words))
    total = height * rows + heading + 0.3 + legend
    sheet = ShownFigure(figsize=(across, total), dpi=style.dots(_DPI))
    sheet.set_layout_engine("constrained", w_pad=MARGIN, h_pad=MARGIN)
    sheet.suptitle(words, fontsize=size, fontweight="bold", parse_math=False)
    grid = sheet.subplots(rows, columns, squeeze=False).ravel()
    palette = colormaps["tab20" if len(names) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    colours = {name: palette[i % len(palette)] for i, name in enumerate(names)} | _CONTROL_COLOURS
    for axes, panel in zip(grid, panels, strict=False):
        if isinstance(panel, Bars):
            _draw_bars(axes, panel, colours, panel_width, size)
        else:
            _draw_mean_curves(axes, panel, colours, size)
        axes.set_title(
            fitted(panel.title, panel_width / 2, size, bold=True, lines=3),
            fontsize=size,
            fontweight="bold",
            loc="left",
            parse_math=False,
        )
        axes.tick_params(labelsize=size)
        axes.locator_params(axis="x", nbins=5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles: dict[str, Artist] = {}
    for axes in grid[: len(panels)]:
        handles |= {
            label: handle
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            if label not in handles
        }
    sheet.legend(
        handles=list(handles.values()),
        labels=[shortened(name) for name in handles],
        loc="outside lower center",
        ncols=entries,
        fontsize=size,
        frameon=False,
    )
    prepare_texts(sheet)
    return sheet


def _draw_bars(
    axes: Axes, panel: Bars, colours: Mapping[str, object], width: float, size: float
) -> None:
    """Draw a row per method: its mean with the interval, and below it those of the controls."""
    for row, (name, mean) in enumerate(panel.means.items()):
        for control, interval in panel.controls[name].items():
            position, label = row + _CONTROL_OFFSETS[control], "" if row else control
            _mark(axes, position, interval, colours[control], _CONTROL_MARKS[control], label)
        _mark(axes, row, mean, colours[name], "o", "")
    names = [fitted(shortened(name), 0.4 * width, size) for name in panel.means]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel(fitted(panel.note, 0.55 * width, size, lines=4), fontsize=size)


def _mark(axes: Axes, row: float, interval: Interval, colour: Any, mark: str, label: str) -> None:
    value, low, high = interval
    spread = None if math.isnan(low) else [[value - low], [high - value]]
    axes.errorbar(
        [value],
        [row],
        xerr=spread,
        fmt=mark,
        color=colour,
        # A method's own interval is pale: the bars of the controls are what its mark is read by.
        ecolor=to_rgba(colour, 0.3 if mark == "o" else 1.0),
        markersize=4.5,
        linewidth=1.2,
        capsize=2,
        label=label or None,
        zorder=3 if mark == "o" else 2,
    )


def _draw_mean_curves(
    axes: Axes, panel: Curves, colours: Mapping[str, object], size: float
) -> None:
    for name, values in panel.curves.items():
        style = "--" if name in _CONTROL_COLOURS else "-"
        axes.plot(panel.x, values, style, color=colours[name], linewidth=1.2, label=name)
    axes.set_xlabel(panel.x_label, fontsize=size)
    axes.set_ylabel(panel.y_label, fontsize=size)
    axes.grid(linewidth=0.3)
