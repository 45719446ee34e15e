"""Signals: curves on a band of the heatmap's colours."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.ImageOps import invert
from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d

from limelight.figure_style import FigureStyle
from limelight.render.figures import (
    ExplainedInput,
    InputPicture,
    encode_figure,
    write_note,
)
from limelight.render.overlays import colours_of, is_dark
from limelight.render.pages import GAP, MARGIN, Heading, Page, label_axes
from limelight.render.scales import ColourBar, HeatColours
from limelight.render.shown import ShownFigure
from limelight.render.texts import line_inches, prepare_texts

_MAX_LANES = 12  # as many as the leads of an ECG; more channels are drawn as their mean


_FIGURE_INCHES = 8.6  # the width of a figure, unless one is asked for


_BAR_INCHES, _DPI = 2.4, 200


_PICTURE_PIXELS = 1200  # the width of a picture, and the most columns of a band of colours


def signal_picture(image: Tensor, heatmaps: Sequence[Tensor]) -> InputPicture:
    """Draw a signal `[C, L]` white on black, and stretch its heatmaps `[L]` to the picture."""
    photo = _curve_picture(image)
    bands = [_band(heatmap, photo.width).expand(photo.height, -1) for heatmap in heatmaps]
    name = "signal" if len(image) == 1 else f"signal, {len(image)} channels"
    return InputPicture(name, photo, bands, [None] * len(bands), curve=True)


def signal_figure(
    inputs: Sequence[ExplainedInput], *, how: str, colours: HeatColours, style: FigureStyle
) -> Figure:
    """Draw the curves of each signal over its index, on the colours of its heatmap."""
    across, size = style.inches or _FIGURE_INCHES, style.font_size
    inner = across - 2 * MARGIN
    headings = [Heading(each.title, how, inner, size) for each in inputs]
    bar = ColourBar.fit(colours, size, min(inner, _BAR_INCHES), inner)
    sheet = ShownFigure(dpi=style.dots(_DPI))
    panels = [sheet.add_axes((0, 0, 1, 1), label=str(number)) for number in range(len(inputs))]
    for axes, explained in zip(panels, inputs, strict=True):
        _draw_on_heat(axes, explained, colours, size)
    labels = [label_axes(axes, size) for axes in panels]
    beside, below = (max(each) for each in zip(*labels, strict=True))
    heights = [_panel_height(each.image) for each in inputs]
    parts = sum(heading.height + below + 2 * GAP for heading in headings) + sum(heights)
    total = 2 * MARGIN + parts + bar.height - line_inches(size) / 6
    sheet.set_size_inches(across, total)
    page, top = Page(sheet, across, total), MARGIN
    for axes, heading, height, explained in zip(panels, headings, heights, inputs, strict=True):
        heading.write(page, MARGIN, top)
        top += heading.height + GAP / 2
        page.place(axes, MARGIN + beside, top, inner - beside, height)
        if explained.note:
            write_note(axes, explained.note, width=inner - beside, size=size)
        top += height + below + 1.5 * GAP
    bar.draw(page, across / 2, top)
    prepare_texts(sheet)
    return sheet


def _draw_on_heat(axes: Axes, explained: ExplainedInput, colours: HeatColours, size: float) -> None:
    """Draw the curves of a signal on the colours of its heatmap, and name the axes."""
    length, heat = len(explained.heatmap), explained.heatmap
    table = (colours.colormap, colours.signed)
    white = is_dark(colours_of(heat, *table))
    low, high = _draw_signal(axes, explained.image, white, size)
    axes.imshow(
        colours_of(_band(heat, min(length, _PICTURE_PIXELS)), *table)[None],
        extent=(-0.5, length - 0.5, low, high),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xlabel("index")


def _curve_picture(image: Tensor) -> Image.Image:
    sheet = ShownFigure(figsize=(_PICTURE_PIXELS / 200, _panel_height(image)), dpi=200)
    axes = sheet.add_axes((0, 0, 1, 1))
    _draw_signal(axes, image, np.zeros(image.shape[1], dtype=bool), 8)
    axes.set_axis_off()
    with Image.open(BytesIO(encode_figure(sheet, "png"))) as drawn:
        return invert(drawn.convert("RGB"))


def _panel_height(image: Tensor) -> float:
    """Return the height of a signal's panel, in inches."""
    return max(1.7, 0.32 * len(image)) if len(image) <= _MAX_LANES else 2.2


def _band(heatmap: Tensor, columns: int) -> Tensor:
    """Return a map `[L]` as `columns` values, in each that of its cells that is farthest from 0."""
    highest, lowest = (adaptive_max_pool1d(each[None], columns)[0] for each in (heatmap, -heatmap))
    return highest.where(highest >= lowest, -lowest)


def _draw_signal(
    axes: Axes, image: Tensor, white: npt.NDArray[np.bool_], size: float
) -> tuple[float, float]:
    """Draw a signal `[C, L]`, white where `white` `[L]` is true, else black; return the limits."""
    channels, length = image.shape
    values = image.detach().float().cpu().numpy()
    lanes = 1 < channels <= _MAX_LANES
    widths = [0.9] * channels
    if channels > _MAX_LANES:
        mean, deviation = values.mean(0), values.std(0)
        values, widths = np.stack([mean - deviation, mean, mean + deviation]), [0.4, 1.1, 0.4]
        axes.set_ylabel(f"mean of {channels} channels\n± deviation", fontsize=size)
    elif lanes:
        # Channels may have different units: each fills a lane of its own, the first on top.
        low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
        share = (values - low) / np.where(high > low, high - low, 1)
        values = 0.85 * share - np.arange(channels)[:, None]
        axes.set_yticks(0.425 - np.arange(channels), [str(c) for c in range(channels)])
        axes.set_ylabel(f"{channels} channels,\neach to its own scale", fontsize=size)
    else:
        axes.set_ylabel("value", fontsize=size)
    # The white and the black line meet at the first point of the next stretch.
    black = ~white | np.append(False, ~white[:-1])
    for curve, width in zip(values, widths, strict=True):
        for where, colour in ((white, "white"), (black, "black")):
            axes.plot(np.where(where, curve, np.nan), color=colour, linewidth=width)
    low, high = float(values.min()), float(values.max())
    margin = 0.15 if lanes else 0.06 * (high - low) or 0.5
    axes.set_xlim(-0.5, length - 0.5)
    axes.set_ylim(low - margin, high + margin)
    return low - margin, high + margin
