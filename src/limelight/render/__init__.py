"""Pictures of maps: colours, overlays, figures and contact sheets. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import (
    PANEL_PIXELS,
    ExplainedInput,
    ExplainedPhoto,
    InputPicture,
    encode_figure,
    panel_pixels,
    photo_figure,
    save_figure,
    save_figure_or_arrays,
)
from limelight.render.films import captioned, film_format, write_film
from limelight.render.fonts import FontWarning, can_draw, drawable
from limelight.render.kinds import input_figure, input_picture
from limelight.render.maps import SEQUENTIAL, SIGNED
from limelight.render.measures import Bars, Curves, measurement_figure
from limelight.render.outlines import outlined, region_on
from limelight.render.overlays import (
    Alpha,
    Heat,
    colourise,
    highest_heat,
    overlay,
    stretched,
    write,
)
from limelight.render.scales import HeatColours
from limelight.render.sheets import Block, MetricRanking, Panel, sheet
from limelight.render.shown import figure_picture, figures_png
from limelight.render.whole import HeatOnPhoto, in_one_tensor

__all__ = [
    "PANEL_PIXELS",
    "SEQUENTIAL",
    "SIGNED",
    "Alpha",
    "Bars",
    "Block",
    "Curves",
    "ExplainedInput",
    "ExplainedPhoto",
    "FontWarning",
    "Heat",
    "HeatColours",
    "HeatOnPhoto",
    "InputPicture",
    "MetricRanking",
    "Panel",
    "can_draw",
    "captioned",
    "colourise",
    "drawable",
    "encode_figure",
    "figure_picture",
    "figures_png",
    "film_format",
    "highest_heat",
    "in_one_tensor",
    "input_figure",
    "input_picture",
    "measurement_figure",
    "outlined",
    "overlay",
    "panel_pixels",
    "photo_figure",
    "region_on",
    "save_figure",
    "save_figure_or_arrays",
    "sheet",
    "stretched",
    "write",
    "write_film",
]
