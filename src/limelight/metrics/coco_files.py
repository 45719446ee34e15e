"""Objects in the JSON files of COCO: boxes, polygons and runs of pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from limelight.errors import OptionError
from limelight.files import read_text
from limelight.metrics.marked import MarkedObject, MarkedPhotos, PixelRuns

#: The largest file of annotations that is read, in bytes; that of COCO 2017 has 448 MB.
_MOST_BYTES = 1_000_000_000


def read_coco(path: Path, *, masks: bool) -> MarkedPhotos:
    """Read the objects in a file of the form of COCO's `instances_val2017.json`.

    Corners become shares of the photo's sides, by the size that the file has of each photo, so that
    they fit a smaller copy too. Where the file has no size, they stay in pixels.

    Args:
        path: The file: an object with the lists `images` (id, file_name, and width and height if
            you like), `annotations` (image_id, category_id, bbox, segmentation) and `categories`
            (id, name).
        masks: Whether the pixels of each object are read, from `segmentation`, or its box, from
            `bbox`: x, y, width and height in pixels.

    Raises:
        OptionError: It cannot be read.
    """
    photos: MarkedPhotos = {}
    number = 0
    try:
        content = json.loads(read_text(path, most=_MOST_BYTES))
        images = {image["id"]: image for image in content["images"]}
        names = {kind["id"]: str(kind["name"]) for kind in content["categories"]}
        for number, annotation in enumerate(content["annotations"], start=1):  # noqa: B007
            image = images[annotation["image_id"]]
            file = str(image["file_name"])
            marked = photos.setdefault(PurePosixPath(file).name, {}).setdefault(file, [])
            size = image.get("width"), image.get("height")
            marked += _objects(annotation, names[annotation["category_id"]], size, masks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        place = f", annotation {number}" if number else ""
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise OptionError(
            f"The objects cannot be read from {str(path)!r}{place}: {why}. A file in the form of "
            "COCO's instances was expected: an object with images, annotations and categories; "
            f"each annotation with image_id, category_id and {'segmentation' if masks else 'bbox'}."
        ) from error
    return photos


def _objects(
    annotation: Mapping[str, Any], label: str, size: tuple[Any, Any], masks: bool
) -> list[MarkedObject]:
    """Return the box of an annotation; or its polygons, or its runs of pixels."""
    if not masks:
        x, y, width, height = _finite(annotation["bbox"])
        return [_object(label, (x, y, x + width, y + height), size)]
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, Mapping):
        runs = _runs(segmentation)
        return [MarkedObject(label, (0, 0, 1, 1), runs=runs)]
    polygons = [_finite(polygon) for polygon in segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers")
    return [_object(label, polygon, size) for polygon in polygons]


def _object(label: str, corners: tuple[float, ...], size: tuple[Any, Any]) -> MarkedObject:
    width, height = size
    if not width or not height:
        return MarkedObject(label, corners, in_pixels=True)
    sides = (float(width), float(height)) * (len(corners) // 2)
    shares = tuple(corner / side for corner, side in zip(corners, sides, strict=True))
    return MarkedObject(label, shares)


def _finite(values: Sequence[Any]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a corner is not finite")
    return numbers


def _runs(segmentation: Mapping[str, Any]) -> PixelRuns:
    """Return the runs of pixels of a segmentation."""
    height, width = map(int, segmentation["size"])
    counts = segmentation["counts"]
    lengths = _unpacked(counts) if isinstance(counts, str) else tuple(map(int, counts))
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise ValueError(f"the runs have {sum(lengths)} pixels, the picture {height} x {width}")
    return PixelRuns(lengths, height, width)


def _unpacked(text: str) -> tuple[int, ...]:
    """Return the lengths of runs that pycocotools packed in text (`rleFrString` in its maskApi.c).

    Each character, less 48, has five bits of a number, the lowest first, and a sixth bit if more
    follow; the fifth bit of the last is the sign. From the fourth number on, each is less the one
    two before it.
    """
    lengths, value, shift = list[int](), 0, 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return tuple(lengths)
