"""Regions as COCO JSON (Lin et al. 2014), for object detection and instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from limelight.regions.contours import contours
from limelight.regions.heat_regions import HeatRegion
from limelight.regions.thresholds import Mask


def annotation(region: HeatRegion) -> dict[str, Any]:
    """Return the part of an annotation that does not depend on the rest of the file.

    The box is x, y, width and height in pixels. A region without holes is a polygon along the edges
    of its pixels; one with holes is in run lengths, as polygons have no holes there.
    """
    left, top, right, bottom = region.box
    outer, *holes = contours(region.inside)
    polygon = (outer + np.array([left, top])).ravel().tolist()
    return {
        "segmentation": run_lengths(region) if holes else [polygon],
        "bbox": [left, top, right - left, bottom - top],
        "area": region.area,
        "iscrowd": 0,
        "share_of_heat": region.share_of_heat,
        "mean_heat": region.mean_heat,
        "max_heat": region.max_heat,
    }


def run_lengths(region: HeatRegion) -> dict[str, Any]:
    """Return a region as uncompressed run lengths: of 0 and 1 in turn, column by column."""
    height, width = region.size
    left, top, right, bottom = region.box
    columns = np.zeros((right - left, height), dtype=bool)
    columns[:, top:bottom] = region.inside.T
    runs = _runs(columns)
    before, after = left * height, (width - right) * height
    runs[0] += before
    if len(runs) % 2:  # the last run is outside
        runs[-1] += after
    elif after:
        runs.append(after)
    return {"size": [height, width], "counts": runs}


def _runs(values: Mask) -> list[int]:
    """Return the lengths of the runs of equal values; the first, of zeros, may be 0."""
    flat = values.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths: list[int] = np.diff([0, *changes, flat.size]).tolist()
    return [0, *lengths] if flat[0] else lengths


def document(
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    categories: dict[int, str],
) -> dict[str, Any]:
    """Return the content of a COCO file; all ids begin with 1.

    Args:
        images: The images, with `file_name`, `width` and `height`, in order.
        annotations: What `annotation` returns, with `image_id` and `category_id`, in order.
        categories: The names of the categories, by number from 0.
    """
    return {
        "info": {"description": "Regions of heatmaps, by limelight"},
        "licenses": [],
        "images": [{"id": number, **image} for number, image in enumerate(images, start=1)],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
        "categories": [
            {"id": number + 1, "name": name, "supercategory": ""}
            for number, name in categories.items()
        ],
    }
