"""Pictures of maps: colours, overlays, figures and contact sheets. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import (
    PANEL_PIXELS,
    ExplainedInput,
    ExplainedPhoto,
    InputPicture,
    encode_figure,
    photo_figure,
    save_figure,
    save_figure_or_arrays,
)
from limelight.render.kinds import input_figure, input_picture
from limelight.render.measures import Bars, Curves, measurement_figure
from limelight.render.outlines import outlined, region_on
from limelight.render.overlays import Heat, colourise, overlay, stretched, write
from limelight.render.sheets import Block, MetricRanking, Panel, sheet
from limelight.render.shown import figure_picture, figures_png
from limelight.render.whole import HeatOnPhoto, in_one_tensor

__all__ = [
    "PANEL_PIXELS",
    "Bars",
    "Block",
    "Curves",
    "ExplainedInput",
    "ExplainedPhoto",
    "Heat",
    "HeatOnPhoto",
    "InputPicture",
    "MetricRanking",
    "Panel",
    "colourise",
    "encode_figure",
    "figure_picture",
    "figures_png",
    "in_one_tensor",
    "input_figure",
    "input_picture",
    "measurement_figure",
    "outlined",
    "overlay",
    "photo_figure",
    "region_on",
    "save_figure",
    "save_figure_or_arrays",
    "sheet",
    "stretched",
    "write",
]
