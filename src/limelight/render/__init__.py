"""Pictures of maps. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import PANEL_PIXELS, Row, as_panel, encode_figure, figure
from limelight.render.overlays import colourise, encode, overlay
from limelight.render.sheets import Block, Panel, sheet

__all__ = [
    "PANEL_PIXELS",
    "Block",
    "Panel",
    "Row",
    "as_panel",
    "colourise",
    "encode",
    "encode_figure",
    "figure",
    "overlay",
    "sheet",
]
