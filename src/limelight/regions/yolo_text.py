"""Regions as YOLO text: a line for each, with numbers that are shares of the photo's sides."""

from __future__ import annotations

from collections.abc import Iterable

from limelight.regions.contours import in_one_polygon
from limelight.regions.heat_regions import HeatRegion


def box_line(region: HeatRegion) -> str:
    """Return centre x, centre y, width and height of a region's box."""
    height, width = region.size
    left, top, right, bottom = region.box
    return _words(
        (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
    )


def polygon_line(region: HeatRegion) -> str:
    """Return x y x y ... of the corners of a region's contour.

    The format has no holes: each is joined to the outer contour by a cut without width.
    """
    height, width = region.size
    corners = in_one_polygon(region.contours).tolist()
    return _words(share for x, y in corners for share in (x / width, y / height))


def _words(shares: Iterable[float]) -> str:
    return " ".join(f"{share:.10g}" for share in shares)
