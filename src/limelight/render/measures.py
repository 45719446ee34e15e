"""Figures of measurements: each method's mean and interval beside chance, and mean curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from limelight.plain import visible

#: A mean with the ends of its interval, which are NaN without one.
Interval = tuple[float, float, float]


_GREY = {"chance: random": "#8a8a8a", "chance: centre": "#c08a2b"}


_MARKS = {"chance: random": "x", "chance: centre": "+"}


_BELOW = {"chance: random": 0.18, "chance: centre": 0.34}


_WIDE = 4.6  # inches: the width of a panel


def shortened(name: str, most: int = 28) -> str:
    """Return a name of so many letters at most, all visible; the start of it tells most."""
    name = visible(name)  # here, as a tick's label is made again when it is drawn
    return name if len(name) <= most else f"{name[: most - 1]}…"


@dataclass(frozen=True, slots=True)
class Bars:
    """One metric: the mean of each method, best first, beside its controls."""

    title: str
    note: str
    means: Mapping[str, Interval]
    controls: Mapping[str, Mapping[str, Interval]]  # by method, then by control


@dataclass(frozen=True, slots=True)
class Curves:
    """One metric: a mean curve for each method; those called as controls are drawn grey."""

    title: str
    along: str
    up: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def measured(panels: Sequence[Bars | Curves], *, title: str) -> Figure:
    """Draw panels in rows of three, with one legend."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    tallest = max((len(one.means) for one in panels if isinstance(one, Bars)), default=8)
    tall = max(2.6, 0.9 + 0.2 * tallest)
    names = dict.fromkeys(
        name
        for one in panels
        for name in (one.means if isinstance(one, Bars) else one.curves)
        if name not in _GREY
    )
    longest = max(len(shortened(name)) for name in (*names, *_GREY))
    entries = max(1, min(len(names) + 2, int(_WIDE * columns / (0.55 + 0.055 * longest))))
    legend = 0.16 * math.ceil((len(names) + 2) / entries)
    sheet = Figure(figsize=(_WIDE * columns, tall * rows + 0.7 + legend), dpi=150)
    sheet.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    words = fill(title, 40 * columns)
    sheet.suptitle(words, fontsize=10, fontweight="bold", parse_math=False)
    every = sheet.subplots(rows, columns, squeeze=False).ravel()
    palette = colormaps["tab20" if len(names) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    colours = {name: palette[i % len(palette)] for i, name in enumerate(names)} | _GREY
    for axes, panel in zip(every, panels, strict=False):
        if isinstance(panel, Bars):
            _draw_bars(axes, panel, colours)
        else:
            _draw_curves(axes, panel, colours)
        words = fill(panel.title, 34)
        axes.set_title(words, fontsize=9, fontweight="bold", loc="left", parse_math=False)
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    shown: dict[str, Artist] = {}
    for axes in every[: len(panels)]:
        shown |= {
            label: handle
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            if label not in shown
        }
    sheet.legend(
        handles=list(shown.values()),
        labels=[shortened(name) for name in shown],
        loc="outside lower center",
        ncols=entries,
        fontsize=7,
        frameon=False,
    )
    return sheet


def _draw_bars(axes: Axes, panel: Bars, colours: Mapping[str, object]) -> None:
    """Draw a row per method: its mean with the interval, and grey behind it those of chance."""
    for row, (name, mean) in enumerate(panel.means.items()):
        for control, interval in panel.controls[name].items():
            place, label = row + _BELOW[control], "" if row else control
            _mark(axes, place, interval, colours[control], _MARKS[control], label)
        _mark(axes, row, mean, colours[name], "o", "")
    axes.set_yticks(range(len(panel.means)), [shortened(name) for name in panel.means], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel(panel.note, fontsize=7)


def _mark(
    axes: Axes, row: float, interval: Interval, colour: object, mark: str, label: str
) -> None:
    value, low, high = interval
    spread = None if math.isnan(low) else [[value - low], [high - value]]
    axes.errorbar(
        [value],
        [row],
        xerr=spread,
        fmt=mark,
        color=colour,
        markersize=4.5,
        linewidth=1.2,
        capsize=2,
        label=label or None,
        zorder=3 if mark == "o" else 2,
    )


def _draw_curves(axes: Axes, panel: Curves, colours: Mapping[str, object]) -> None:
    for name, values in panel.curves.items():
        style = "--" if name in _GREY else "-"
        axes.plot(panel.x, values, style, color=colours[name], linewidth=1.2, label=name)
    axes.set_xlabel(panel.along, fontsize=7)
    axes.set_ylabel(panel.up, fontsize=7)
    axes.grid(linewidth=0.3)
