"""Volumes and video: slices or frames side by side, and the heat of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from limelight.render.figures import ExplainedInput, InputPicture, add_bar, add_titles, write_note
from limelight.render.geometry import draw_geometry, shape_in_figure
from limelight.render.outlines import draw_outline, region_on
from limelight.render.overlays import overlay, stretched

_MAX_SLICES = 8


_SLICE_INCHES = 1.35  # the width of a slice


def slices_picture(
    image: Tensor, heatmaps: Sequence[Tensor], regions: Sequence[Tensor | None]
) -> InputPicture:
    """Lay slices of a volume `[C, D, H, W]`, its heatmaps and regions `[D, H, W]` side by side."""
    zero = torch.zeros((), dtype=torch.float32, device="cpu")
    shown = shown_slices(sum(map(_mean_heat, heatmaps), zero))
    numbers = ", ".join(map(str, shown))
    pixels = _join_slices(stretched(image)[shown])
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


def volume_figure(inputs: Sequence[ExplainedInput], *, right: str, colormap: str) -> Figure:
    """Draw for each volume the heat over all slices, and some slices without and with colours."""
    depth, high, wide = inputs[0].heatmap.shape
    count = min(depth, _MAX_SLICES)
    width = max(count * _SLICE_INCHES, 6.0)
    shape = shape_in_figure(high, wide, inputs[0].geometry)
    tall = min(width / count * shape, 2.2)
    size = (width + 1.2, len(inputs) * (2 * tall + 1.6))
    sheet = Figure(figsize=size, dpi=200)
    sheet.set_layout_engine("constrained", h_pad=0.05, w_pad=0.03, wspace=0.02, hspace=0.02)
    parts = sheet.subfigures(len(inputs), 1, squeeze=False)[:, 0]
    for part, explained in zip(parts, inputs, strict=True):
        grid = part.add_gridspec(3, count, height_ratios=[0.75, tall, tall])
        word, heat = _word(explained.image), _mean_heat(explained.heatmap)
        shown = shown_slices(heat)
        curve = part.add_subplot(grid[0, :])
        _draw_heat(curve, heat, shown, word)
        add_titles(curve, explained.title, right)
        if explained.note:
            write_note(curve, explained.note, width=int(12 * width))
        drawn = slices_picture(explained.image, [explained.heatmap], [None])
        coloured = overlay(drawn.photo, drawn.heatmaps[0], colormap=colormap)
        panels = []
        for column, number in enumerate(shown):
            plain, overlaid = (part.add_subplot(grid[row, column]) for row in (1, 2))
            left = column * (wide + _gap(wide))
            for panel, picture in ((plain, drawn.photo), (overlaid, coloured)):
                aspect = 1 if explained.geometry is None else explained.geometry.aspect
                panel.imshow(np.asarray(picture)[:, left : left + wide], aspect=aspect)
                panel.set_axis_off()
                if explained.region is not None and bool(explained.region[number].any()):
                    draw_outline(panel, explained.region[number])
            weight = "bold" if heat[number] == heat.max() > 0 else "normal"
            plain.set_title(f"{word} {number}", fontsize=8, fontweight=weight, pad=3)
            draw_geometry(plain, wide, explained.geometry)
            panels += [plain, overlaid]
        add_bar(panels, colormap, aspect=2 * tall / 0.13, pad=0.01)
    return sheet


def _draw_heat(axes: Axes, heat: Tensor, shown: Sequence[int], word: str) -> None:
    values = heat.numpy()
    top = float(values.max()) or 1.0
    axes.plot(values, color="0.35", linewidth=1)
    axes.fill_between(range(len(values)), values, color="0.88")
    axes.plot(shown, values[shown], "o", color="black", markersize=3.5, clip_on=False)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_ylim(0, 1.1 * top)
    axes.set_xticks(shown)
    axes.set_yticks([0, top], ["0", f"{top:.2g}"])
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel(word, fontsize=8, labelpad=1)
    axes.set_ylabel("mean heat", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


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
