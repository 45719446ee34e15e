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

from limelight.render.figures import (
    ExplainedInput,
    InputPicture,
    add_bar,
    add_titles,
    encode_figure,
    write_note,
)
from limelight.render.overlays import colours, is_dark
from limelight.render.shown import ShownFigure

_MAX_LANES = 12  # as many as the leads of an ECG; more channels are drawn as their mean


_FIGURE_INCHES = 8.0  # the width of a figure


_PICTURE_PIXELS = 1200  # the width of a picture, and the most columns of a band of colours


def signal_picture(image: Tensor, heatmaps: Sequence[Tensor]) -> InputPicture:
    """Draw a signal `[C, L]` white on black, and stretch its heatmaps `[L]` to the picture."""
    photo = _curve_picture(image)
    bands = [_band(heatmap, photo.width).expand(photo.height, -1) for heatmap in heatmaps]
    name = "signal" if len(image) == 1 else f"signal, {len(image)} channels"
    return InputPicture(name, photo, bands, [None] * len(bands), curve=True)


def signal_figure(inputs: Sequence[ExplainedInput], *, right: str, colormap: str) -> Figure:
    """Draw the curves of each signal over its index, on the colours of its heatmap."""
    height = sum(_panel_height(explained.image) + 0.75 for explained in inputs)
    sheet = ShownFigure(figsize=(_FIGURE_INCHES + 1.2, height), dpi=200)
    sheet.set_layout_engine("constrained", h_pad=0.06)
    ratios = [_panel_height(explained.image) for explained in inputs]
    rows = sheet.subplots(len(inputs), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, explained in zip(rows, inputs, strict=True):
        length = len(explained.heatmap)
        white = is_dark(colours(explained.heatmap, colormap))
        low, high = _draw_signal(axes, explained.image, white)
        band = colours(_band(explained.heatmap, min(length, _PICTURE_PIXELS)), colormap)
        axes.imshow(
            band[None],
            extent=(-0.5, length - 0.5, low, high),
            aspect="auto",
            interpolation="nearest",
        )
        axes.tick_params(labelsize=7, length=2)
        axes.set_xlabel("index", fontsize=8)
        add_titles(axes, explained.title, right)
        add_bar(axes, colormap, aspect=_panel_height(explained.image) / 0.13, pad=0.01)
        if explained.note:
            write_note(axes, explained.note, width=110)
    return sheet


def _curve_picture(image: Tensor) -> Image.Image:
    sheet = ShownFigure(figsize=(_PICTURE_PIXELS / 200, _panel_height(image)), dpi=200)
    axes = sheet.add_axes((0, 0, 1, 1))
    _draw_signal(axes, image, np.zeros(image.shape[1], dtype=bool))
    axes.set_axis_off()
    with Image.open(BytesIO(encode_figure(sheet, "png"))) as drawn:
        return invert(drawn.convert("RGB"))


def _panel_height(image: Tensor) -> float:
    """Return the height of a signal's panel, in inches."""
    return max(1.7, 0.32 * len(image)) if len(image) <= _MAX_LANES else 2.2


def _band(heatmap: Tensor, columns: int) -> Tensor:
    """Return a heatmap `[L]` as `columns` values, the highest of the cells in each."""
    return adaptive_max_pool1d(heatmap[None], columns)[0]


def _draw_signal(axes: Axes, image: Tensor, white: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Draw a signal `[C, L]`, white where `white` `[L]` is true, else black; return the limits."""
    channels, length = image.shape
    values = image.detach().float().cpu().numpy()
    lanes = 1 < channels <= _MAX_LANES
    widths = [0.9] * channels
    if channels > _MAX_LANES:
        mean, deviation = values.mean(0), values.std(0)
        values, widths = np.stack([mean - deviation, mean, mean + deviation]), [0.4, 1.1, 0.4]
        axes.set_ylabel(f"mean of {channels} channels\n± deviation", fontsize=8)
    elif lanes:
        # Channels may have different units: each fills a lane of its own, the first on top.
        low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
        share = (values - low) / np.where(high > low, high - low, 1)
        values = 0.85 * share - np.arange(channels)[:, None]
        axes.set_yticks(0.425 - np.arange(channels), [str(c) for c in range(channels)])
        axes.set_ylabel(f"{channels} channels,\neach to its own scale", fontsize=8)
    else:
        axes.set_ylabel("value", fontsize=8)
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
