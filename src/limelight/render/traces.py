"""Figures of activations and gradients at layers, each panel with its own colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from limelight.render.maps import SEQUENTIAL, SIGNED, laid_out, limits
from limelight.render.shown import ShownFigure

_PANEL_WIDTH, _PANEL_HEIGHT = 2.6, 2.35  # inches: a panel with its bar


class TracedLayer(NamedTuple):
    """Activations and gradients at one layer: `[K, *grid]`, or any shape when `channel` is None."""

    title: str
    activations: Tensor
    gradients: Tensor
    channel: int | None


def trace_figure(rows: Sequence[TracedLayer], title: str) -> Figure:
    """Draw a row of panels for each layer."""
    sheet = ShownFigure(figsize=(4 * _PANEL_WIDTH, len(rows) * _PANEL_HEIGHT + 0.4), dpi=150)
    sheet.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    sheet.suptitle(title, fontsize=10, fontweight="bold", parse_math=False)
    parts = sheet.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(row.title, x=0.01, ha="left", fontsize=8, parse_math=False)
        if row.channel is None:
            _draw_values(part.subplots(1, 2), row)
        else:
            _draw_maps(part.subplots(1, 4), row, row.channel)
    return sheet


def _draw_maps(axes: Sequence[Axes], row: TracedLayer, k: int) -> None:
    """Draw one channel, and the maximum and the weighted sum over all channels."""
    alpha = row.gradients.flatten(1).mean(1)
    weighted = torch.tensordot(alpha, row.activations, 1)
    panels = (
        (f"$A_k$, channel {k}", row.activations[k], False),
        (rf"$\partial y_c / \partial A_k$, channel {k}", row.gradients[k], True),
        (r"$\max_k |\partial y_c / \partial A_k|$", row.gradients.abs().amax(0), False),
        (r"$\sum_k \alpha_k A_k$", weighted, True),
    )
    for panel, (name, values, signed) in zip(axes, panels, strict=True):
        shown = laid_out(values).numpy()
        low, high = limits(values, signed=signed)
        picture = panel.imshow(
            shown,
            cmap=SIGNED if signed or low < 0 else SEQUENTIAL,
            norm=Normalize(low, high) if high else Normalize(-1 if signed else 0, 1),
            interpolation="nearest",
            aspect="equal" if min(shown.shape) > 1 else "auto",
        )
        panel.set_title(name, fontsize=8)
        panel.set_xticks([])
        panel.set_yticks([])
        bar = panel.figure.colorbar(picture, ax=panel, fraction=0.046, pad=0.03)
        bar.ax.tick_params(labelsize=6, length=2)
        bar.ax.yaxis.get_offset_text().set_fontsize(6)
        bar.outline.set_linewidth(0.4)


def _draw_values(axes: Sequence[Axes], row: TracedLayer) -> None:
    """Draw all values one after the other, as curves."""
    panels = (("A", row.activations), (r"$\partial y_c / \partial A$", row.gradients))
    for panel, (name, values) in zip(axes, panels, strict=True):
        flat = values.flatten().numpy()
        panel.plot(np.arange(len(flat)), flat, linewidth=0.6, color="#3b4cc0")
        panel.axhline(0, linewidth=0.4, color="grey")
        panel.set_title(name, fontsize=8)
        panel.tick_params(labelsize=6, length=2)
        panel.margins(x=0.01)
