"""Inputs that are no photos: signals `[C, L]`, volumes and video `[C, D, H, W]`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from limelight.render import signals, volumes
from limelight.render.figures import ExplainedInput, InputPicture


def input_picture(image: Tensor, heatmaps: Sequence[Tensor]) -> InputPicture:
    """Lay an image `[C, *image]` and heatmaps `[*image]` of it flat, to be drawn as a photo is."""
    if image.ndim == 2:
        return signals.signal_picture(image, heatmaps)
    return volumes.slices_picture(image, heatmaps)


def input_figure(
    samples: Sequence[ExplainedInput], *, method: str, layer: str, colormap: str = "inferno"
) -> Figure:
    """Draw what suits the samples, one below the other: curves, or slices."""
    right = f"{method} at {layer}"
    if samples[0].image.ndim == 2:
        return signals.signal_figure(samples, right=right, colormap=colormap)
    return volumes.volume_figure(samples, right=right, colormap=colormap)
