"""Inputs that are no photos: signals `[C, L]`, volumes and video `[C, D, H, W]`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from limelight.render import signals, volumes
from limelight.render.figures import Flat, Sample


def lay_flat(image: Tensor, heatmaps: Sequence[Tensor]) -> Flat:
    """Lay an image `[C, *image]` and heatmaps `[*image]` of it flat, to be drawn as a photo is."""
    if image.ndim == 2:
        return signals.lay_flat(image, heatmaps)
    return volumes.lay_flat(image, heatmaps)


def sample_figure(
    samples: Sequence[Sample], *, method: str, layer: str, colormap: str = "inferno"
) -> Figure:
    """Draw what suits the samples, one below the other: curves, or slices."""
    right = f"{method} at {layer}"
    if samples[0].image.ndim == 2:
        return signals.figure(samples, right=right, colormap=colormap)
    return volumes.figure(samples, right=right, colormap=colormap)
