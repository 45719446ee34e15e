"""Pictures of maps. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import (
    PANEL_PIXELS,
    Flat,
    Row,
    Sample,
    as_panel,
    encode_figure,
    figure,
    save_figure,
)
from limelight.render.kinds import lay_flat, sample_figure
from limelight.render.measures import Bars, Curves, measurement_figure
from limelight.render.overlays import Heat, colourise, overlay, stretched, write
from limelight.render.sheets import Block, Panel, Ranking, sheet

__all__ = [
    "PANEL_PIXELS",
    "Bars",
    "Block",
    "Curves",
    "Flat",
    "Heat",
    "Panel",
    "Ranking",
    "Row",
    "Sample",
    "as_panel",
    "colourise",
    "encode_figure",
    "figure",
    "lay_flat",
    "measurement_figure",
    "overlay",
    "sample_figure",
    "save_figure",
    "sheet",
    "stretched",
    "write",
]
