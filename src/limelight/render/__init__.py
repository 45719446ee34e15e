"""Pictures of maps: colours, overlays, figures and contact sheets. Nothing here sees a model.

The names are loaded when they are first asked for: colours and overlays need neither torch nor, but
for the colour maps, matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limelight.lazy import lazy_names

if TYPE_CHECKING:
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
    from limelight.render.rankings import MetricRanking
    from limelight.render.scales import HeatColours
    from limelight.render.sheets import Block, Panel, sheet
    from limelight.render.shown import figure_picture, figures_png
    from limelight.render.whole import HeatOnPhoto, as_array, in_one_array

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
    "as_array",
    "can_draw",
    "captioned",
    "colourise",
    "drawable",
    "encode_figure",
    "figure_picture",
    "figures_png",
    "film_format",
    "highest_heat",
    "in_one_array",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "figures": (
            "PANEL_PIXELS",
            "ExplainedInput",
            "ExplainedPhoto",
            "InputPicture",
            "encode_figure",
            "panel_pixels",
            "photo_figure",
            "save_figure",
            "save_figure_or_arrays",
        ),
        "films": ("captioned", "film_format", "write_film"),
        "fonts": ("FontWarning", "can_draw", "drawable"),
        "kinds": ("input_figure", "input_picture"),
        "maps": ("SEQUENTIAL", "SIGNED"),
        "measures": ("Bars", "Curves", "measurement_figure"),
        "outlines": ("outlined", "region_on"),
        "overlays": (
            "Alpha",
            "Heat",
            "colourise",
            "highest_heat",
            "overlay",
            "stretched",
            "write",
        ),
        "scales": ("HeatColours",),
        "rankings": ("MetricRanking",),
        "sheets": ("Block", "Panel", "sheet"),
        "shown": ("figure_picture", "figures_png"),
        "whole": ("HeatOnPhoto", "as_array", "in_one_array"),
    },
)
