"""Volumes and video: slices or frames side by side, and the heat of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL import Image
from torch import Tensor

from limelight.figure_style import FigureStyle
from limelight.render.figures import ExplainedInput, InputPicture, write_note
from limelight.render.geometry import draw_geometry, shape_in_figure
from limelight.render.outlines import draw_outline, region_on
from limelight.render.overlays import overlay, stretched
from limelight.render.pages import (
    GAP,
    MARGIN,
    Heading,
    Page,
    label_axes,
    write_title,
)
from limelight.render.scales import ColourBar, HeatColours
from limelight.render.shown import ShownFigure
from limelight.render.texts import TITLE_PAD, inches_of, line_inches, prepare_texts

_MAX_SLICES = 8


_SLICE_INCHES = 1.35  # the width of a slice, unless a width is asked for


_MAX_SLICE_INCHES = 2.2  # the height of a slice


_LEAST_SLICE_LETTERS = 5  # the least width of a slice, in sizes of the font


_CURVE_INCHES = 0.7


_BAR_INCHES, _DPI = 2.4, 200


_GAP = 0.03  # between slices, in inches


def slices_picture(
    image: Tensor, heatmaps: Sequence[Tensor], regions: Sequence[Tensor | None]
) -> InputPicture:
    """Lay slices of a volume `[C, D, H, W]`, its heatmaps and regions `[D, H, W]` side by side."""
    zero = torch.zeros((), dtype=torch.float32, device="cpu")
    shown = shown_slices(sum(map(_mean_heat, heatmaps), zero))
    numbers = ", ".join(map(str, shown))
    pixels = _join_slices(torch.from_numpy(stretched(image)[shown]))
    joined = [_join_slices(heatmap[shown]) for heatmap in heatmaps]
    outlined = [
        None if region is None else region_on(_join_slices(region[shown]), heat)
        for region, heat in zip(regions, joined, strict=True)
    ]
    name = f"{_word(image)}s {numbers}"
    return InputPicture(name, Image.fromarray(pixels.numpy()), joined, outlined)


def shown_slices(heat: Tensor) -> list[int]:
    """Return up to eight slices, evenly spaced, among them the one with the most heat `[D]`."""
    count = min(len(heat), _MAX_SLICES)
    places = torch.linspace(0, len(heat) - 1, count, dtype=torch.float32, device="cpu")
    even = places.round().int().tolist()
    peak = int(heat.argmax())
    nearest = min(range(count), key=lambda k: abs(even[k] - peak))
    return [*even[:nearest], peak, *even[nearest + 1 :]]


def volume_figure(
    inputs: Sequence[ExplainedInput], *, how: str, colours: HeatColours, style: FigureStyle
) -> Figure:
    """Draw for each volume the heat over all slices, and some slices without and with colours."""
    depth, high, wide = inputs[0].heatmap.shape
    count, size = min(depth, _MAX_SLICES), style.font_size
    across = style.inches or max(count * (_SLICE_INCHES + _GAP), 6.0) + 2 * MARGIN
    inner, shape = across - 2 * MARGIN, shape_in_figure(high, wide, inputs[0].geometry)
    slices = _SliceGrid.fit(count, shape, inner, size)
    bar = ColourBar.fit(colours, size, min(inner, _BAR_INCHES), inner)
    laid = [_VolumePart(each, Heading(each.title, how, inner, size), slices) for each in inputs]
    sheet = ShownFigure(dpi=style.dots(_DPI))
    heights = [part.height(size) for part in laid]
    heights[0] += MARGIN
    total = sum(heights) + bar.height + MARGIN - line_inches(size) / 6
    sheet.set_size_inches(across, total)
    ratios = [*heights, total - sum(heights)]
    places = GridSpec(
        len(ratios), 1, sheet, height_ratios=ratios, hspace=0, left=0, right=1, bottom=0, top=1
    )
    for number, part in enumerate(laid):
        subfigure = sheet.add_subfigure(places[number])
        page = Page(subfigure, across, ratios[number])
        part.draw(page, MARGIN if number == 0 else 0.0, colours, size)
    bar.draw(Page(sheet, across, total), across / 2, sum(heights))
    prepare_texts(sheet)
    return sheet


class _SliceGrid(NamedTuple):
    """How many slices stand beside each other, and their size; lengths in inches."""

    columns: int
    place: float
    width: float
    height: float

    @classmethod
    def fit(cls, count: int, shape: float, inner: float, size: float) -> _SliceGrid:
        """Find how many of `count` slices fit beside each other; a narrow page takes fewer."""
        least = _LEAST_SLICE_LETTERS * size / 72
        fitting = max(1, min(count, int((inner + _GAP) / (least + _GAP))))
        columns = math.ceil(count / math.ceil(count / fitting))
        place = (inner + _GAP) / columns - _GAP
        width = min(place, _MAX_SLICE_INCHES / shape)
        return cls(columns, place, width, width * shape)


class _VolumePart(NamedTuple):
    """The part of a figure that shows one volume: a heading, the heat of all slices, and slices."""

    explained: ExplainedInput
    heading: Heading
    slices: _SliceGrid

    def height(self, size: float) -> float:
        """Return the height of all, in inches."""
        rows = math.ceil(min(len(self.explained.heatmap), _MAX_SLICES) / self.slices.columns)
        below = 6 / 72 + line_inches(size, 2) + GAP
        rows_height = rows * self._row_height(size)
        return self.heading.height + GAP + _CURVE_INCHES + below + rows_height + GAP

    def _row_height(self, size: float) -> float:
        return line_inches(size) + TITLE_PAD + 2 * self.slices.height + _GAP + GAP

    def draw(self, page: Page, top: float, colours: HeatColours, size: float) -> None:
        """Draw the part from `top` down."""
        explained, inner = self.explained, page.width - 2 * MARGIN
        word, heat = _word(explained.image), _mean_heat(explained.heatmap)
        shown = shown_slices(heat)
        self.heading.write(page, MARGIN, top)
        top += self.heading.height + GAP
        curve = page.add_axes(MARGIN, top, inner, _CURVE_INCHES)
        _draw_heat(curve, heat, shown, word)
        beside, below = label_axes(curve, size)
        page.place(curve, MARGIN + beside, top, inner - beside, _CURVE_INCHES)
        _thin_ticks(curve, shown, inner - beside, size)
        if explained.note:
            write_note(curve, explained.note, width=inner - beside, size=size)
        top += _CURVE_INCHES + below + GAP
        for first in range(0, len(shown), self.slices.columns):
            numbers = shown[first : first + self.slices.columns]
            self._draw_slices(page, top, numbers, colours, size)
            top += self._row_height(size)

    def _draw_slices(
        self, page: Page, top: float, numbers: Sequence[int], colours: HeatColours, size: float
    ) -> None:
        """Draw slices beside each other: above as they are, below with colours."""
        explained, grid = self.explained, self.slices
        word, heat = _word(explained.image), _mean_heat(explained.heatmap)
        plain = stretched(explained.image)
        top += line_inches(size) + TITLE_PAD
        for column, number in enumerate(numbers):
            photo = Image.fromarray(np.ascontiguousarray(plain[number]))
            coloured = overlay(
                photo,
                explained.heatmap[number],
                colormap=colours.colormap,
                signed=colours.signed,
            )
            left = MARGIN + column * (grid.place + _GAP) + (grid.place - grid.width) / 2
            above = page.add_axes(left, top, grid.width, grid.height)
            under = page.add_axes(left, top + grid.height + _GAP, grid.width, grid.height)
            for panel, picture in ((above, photo), (under, coloured)):
                panel.imshow(np.asarray(picture), aspect="auto")
                panel.set_axis_off()
                if explained.region is not None and bool(explained.region[number].any()):
                    draw_outline(panel, explained.region[number])
            hottest = bool(heat[number].abs() == heat.abs().max() > 0)
            name = f"{word} {number}"
            fits = inches_of(name, size, bold=hottest) <= grid.place
            draw_geometry(above, photo.width, explained.geometry, size)
            write_title(above, name if fits else str(number), size, bold=hottest)


def _draw_heat(axes: Axes, heat: Tensor, shown: Sequence[int], word: str) -> None:
    values = heat.numpy()
    top, bottom = max(float(values.max()), 0.0), min(float(values.min()), 0.0)
    if top == bottom:
        top = 1.0
    axes.plot(values, color="0.35", linewidth=1)
    axes.fill_between(range(len(values)), values, color="0.88")
    axes.plot(shown, values[shown], "o", color="black", markersize=3.5, clip_on=False)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_ylim(1.1 * bottom, 1.1 * top)
    axes.set_xticks(shown)
    ticks = sorted({bottom, 0.0, top})
    axes.set_yticks(ticks, [f"{value:.2g}" for value in ticks])
    axes.set_xlabel(word)
    axes.set_ylabel("mean heat")
    axes.spines[["top", "right"]].set_visible(False)


def _thin_ticks(axes: Axes, shown: Sequence[int], width: float, size: float) -> None:
    """Leave out numbers below the curve that would touch the number before them."""
    low, high = axes.get_xlim()
    per_slice, kept = width / (high - low), list[int]()
    for number in shown:
        space = inches_of(f"{number} ", size)
        if not kept or (number - kept[-1]) * per_slice > space:
            kept.append(number)
    axes.set_xticks(kept)


def _word(image: Tensor) -> str:
    return "frame" if len(image) == 3 else "slice"


def _mean_heat(heatmap: Tensor) -> Tensor:
    """Return the mean of a heatmap `[D, H, W]` over each slice, `[D]`."""
    return heatmap.mean((1, 2))


def _gap(wide: int) -> int:
    return max(1, wide // 40)


def _join_slices(slices: Tensor) -> Tensor:
    """Join slices `[D, H, W, ...]` side by side, with a gap of zeros between them."""
    gap = slices.new_zeros(slices.shape[1], _gap(slices.shape[2]), *slices.shape[3:])
    parts = [part for each in slices for part in (gap, each)]
    return torch.cat(parts[1:], 1)
