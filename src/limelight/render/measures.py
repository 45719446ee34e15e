"""Pictures of measurements: each method's mean and interval beside chance, and mean curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from limelight.plain import visible
from limelight.render.shown import ShownFigure

#: A mean with the ends of its interval, which are NaN without one.
Interval = tuple[float, float, float]


_CONTROL_COLOURS = {"chance: random": "#8a8a8a", "chance: centre": "#c08a2b"}


_CONTROL_MARKS = {"chance: random": "x", "chance: centre": "+"}


_CONTROL_OFFSETS = {"chance: random": 0.18, "chance: centre": 0.34}


_PANEL_INCHES = 4.6  # the width of a panel


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


def measurement_figure(panels: Sequence[Bars | Curves], *, title: str) -> Figure:
    """Draw panels in rows of three, with one legend."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    most_rows = max((len(panel.means) for panel in panels if isinstance(panel, Bars)), default=8)
    height = max(2.6, 0.9 + 0.2 * most_rows)
    names = dict.fromkeys(
        name
        for panel in panels
        for name in (panel.means if isinstance(panel, Bars) else panel.curves)
        if name not in _CONTROL_COLOURS
    )
    longest = max(len(shortened(name)) for name in (*names, *_CONTROL_COLOURS))
    entries = max(1, min(len(names) + 2, int(_PANEL_INCHES * columns / (0.55 + 0.055 * longest))))
    legend = 0.16 * math.ceil((len(names) + 2) / entries)
    sheet = ShownFigure(figsize=(_PANEL_INCHES * columns, height * rows + 0.7 + legend), dpi=150)
    sheet.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    sheet.suptitle(fill(title, 40 * columns), fontsize=10, fontweight="bold", parse_math=False)
    grid = sheet.subplots(rows, columns, squeeze=False).ravel()
    palette = colormaps["tab20" if len(names) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    colours = {name: palette[i % len(palette)] for i, name in enumerate(names)} | _CONTROL_COLOURS
    for axes, panel in zip(grid, panels, strict=False):
        if isinstance(panel, Bars):
            _draw_bars(axes, panel, colours)
        else:
            _draw_mean_curves(axes, panel, colours)
        axes.set_title(
            fill(panel.title, 34), fontsize=9, fontweight="bold", loc="left", parse_math=False
        )
        axes.tick_params(labelsize=7)
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
        fontsize=7,
        frameon=False,
    )
    return sheet


def _draw_bars(axes: Axes, panel: Bars, colours: Mapping[str, object]) -> None:
    """Draw a row per method: its mean with the interval, and below it those of the controls."""
    for row, (name, mean) in enumerate(panel.means.items()):
        for control, interval in panel.controls[name].items():
            position, label = row + _CONTROL_OFFSETS[control], "" if row else control
            _mark(axes, position, interval, colours[control], _CONTROL_MARKS[control], label)
        _mark(axes, row, mean, colours[name], "o", "")
    axes.set_yticks(range(len(panel.means)), [shortened(name) for name in panel.means], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel(fill(panel.note, 40), fontsize=7)


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


def _draw_mean_curves(axes: Axes, panel: Curves, colours: Mapping[str, object]) -> None:
    for name, values in panel.curves.items():
        style = "--" if name in _CONTROL_COLOURS else "-"
        axes.plot(panel.x, values, style, color=colours[name], linewidth=1.2, label=name)
    axes.set_xlabel(panel.x_label, fontsize=7)
    axes.set_ylabel(panel.y_label, fontsize=7)
    axes.grid(linewidth=0.3)
