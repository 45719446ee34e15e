"""The hot regions of heatmaps: masks, contours and boxes, drawn and written for labelling tools."""

from __future__ import annotations

from limelight.regions.explained_regions import REGION_COLUMNS, ExplainedRegions
from limelight.regions.exports import REGION_FORMATS, RegionExport, RegionFormat, names_in_files
from limelight.regions.heat_regions import HeatRegion, ImageRegions, PixelsOf
from limelight.regions.thresholds import (
    DEFAULT_SHARE,
    THRESHOLD_RULES,
    ThresholdRule,
    check_threshold,
)

__all__ = [
    "DEFAULT_SHARE",
    "REGION_COLUMNS",
    "REGION_FORMATS",
    "THRESHOLD_RULES",
    "ExplainedRegions",
    "HeatRegion",
    "ImageRegions",
    "PixelsOf",
    "RegionExport",
    "RegionFormat",
    "ThresholdRule",
    "check_threshold",
    "names_in_files",
]
