"""Pictures of inputs that are no photos: signals `[C, L]`, volumes and video `[C, D, H, W]`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.render.figures import ExplainedInput, InputPicture
from limelight.render.scales import HeatColours
from limelight.render.signals import signal_figure, signal_picture
from limelight.render.volumes import slices_picture, volume_figure


def input_picture(
    image: Tensor, heatmaps: Sequence[Tensor], regions: Sequence[Tensor | None]
) -> InputPicture:
    """Return an input `[C, *image]` as a picture, with its maps and regions `[*image]` at its size.

    Regions of signals are left out.
    """
    if image.ndim == 2:
        return signal_picture(image, heatmaps)
    return slices_picture(image, heatmaps, regions)


def input_figure(
    inputs: Sequence[ExplainedInput],
    *,
    how: str,
    colours: HeatColours | None = None,
    style: FigureStyle = USUAL_STYLE,
) -> Figure:
    """Draw the inputs one below the other: signals as curves, volumes as slices."""
    draw = signal_figure if inputs[0].image.ndim == 2 else volume_figure
    return draw(inputs, how=how, colours=colours or HeatColours(), style=style)
