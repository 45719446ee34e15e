"""Pictures of maps. Nothing here sees a model."""

from __future__ import annotations

from limelight.render.figures import PANEL_PIXELS, Row, encode_figure, figure
from limelight.render.overlays import colourise, encode, overlay

__all__ = ["PANEL_PIXELS", "Row", "colourise", "encode", "encode_figure", "figure", "overlay"]
