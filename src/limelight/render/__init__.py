"""Pictures of maps. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import PANEL_PIXELS, Row, encode_figure, figure
from limelight.render.overlays import colourise, encode, overlay
from limelight.render.sheets import Block, Panel, sheet

__all__ = [
    "PANEL_PIXELS",
    "Block",
    "Panel",
    "Row",
    "colourise",
    "encode",
    "encode_figure",
    "figure",
    "overlay",
    "sheet",
]
