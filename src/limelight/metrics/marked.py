"""What people marked on photos: boxes, polygons and runs of pixels, by photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.photos.memory import Sized
from limelight.photos.preprocess import Preprocess
from limelight.regions.contours import fill_polygon


@dataclass(frozen=True, slots=True)
class PixelRuns:
    """Pixels of an object as COCO writes them: runs down the columns, outside and inside in turn.

    Attributes:
        counts: The length of each run; the first is outside.
        height, width: The size of the picture that they are of.
    """

    counts: tuple[int, ...]
    height: int
    width: int

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return which pixels are inside, `[H, W]`."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T


@dataclass(frozen=True, slots=True)
class MarkedObject:
    """An object that was marked on a photo.

    Attributes:
        label: Its class; "" when none was written.
        corners: The corners of a box, or of a polygon, `x1, y1, x2, y2, ...`, as shares of the
            photo's sides or in its pixels.
        in_pixels: Whether the corners are in pixels.
        runs: Its pixels, if they were written one by one; the corners are then those of its box.
    """

    label: str
    corners: tuple[float, ...]
    in_pixels: bool = False
    runs: PixelRuns | None = None

    def points(self, photo: Sized) -> npt.NDArray[np.float64]:
        """Return the corners, `[N, 2]`: x and y, in pixels of the photo."""
        sides = (1, 1) if self.in_pixels else (photo.width, photo.height)
        return np.array(self.corners, dtype=np.float64).reshape(-1, 2) * sides

    def box(self, photo: Sized, preprocess: Preprocess) -> list[float]:
        """Return the box x1, y1, x2, y2 around it, in pixels of the network's input."""
        (left, top), (right, bottom) = ends(self.points(photo).tolist())
        start = preprocess.point(photo, left, top)
        return [*start, *preprocess.point(photo, right, bottom)]


def ends(points: Sequence[Sequence[float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the first and the last corner of the box around points x, y."""
    x, y = zip(*points, strict=True)
    return (min(x), min(y)), (max(x), max(y))


#: The objects on each photo, by the photo's name and then by its path, as written in the file.
MarkedPhotos = dict[str, dict[str, list[MarkedObject]]]


def nearest_marked(photos: MarkedPhotos, path: Path) -> list[MarkedObject]:
    """Return the objects on a photo, looked up by its name, with or without the suffix.

    Where photos in several folders have that name, those count whose path has most in common.
    """

    def common(written: str) -> int:
        pairs = zip(PurePosixPath(written).parts[::-1], path.parts[::-1], strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    by_path = photos.get(path.name) or photos.get(path.stem) or {}
    most = max(map(common, by_path), default=0)
    return [
        item for written, marked in by_path.items() if common(written) == most for item in marked
    ]


def fingerprint_text(item: MarkedObject) -> str:
    """Return an object as a fingerprint reads it; old journals hold the same, so it must stay."""
    runs = f", runs={item.runs!r}" if item.runs else ""
    return (
        f"Marked(label={item.label!r}, corners={item.corners!r}, pixels={item.in_pixels!r}{runs})"
    )


def filled(marked: Sequence[MarkedObject], photo: Sized) -> Image.Image:
    """Return a black picture of the photo's size with the objects filled in white.

    A pixel is in a polygon if its centre is.
    """
    mask = np.zeros((photo.height, photo.width), dtype=bool)
    for item in marked:
        if item.runs is not None:
            mask |= _resized(item.runs.mask(), photo)
            continue
        points = item.points(photo)
        if len(points) == 2:
            points = points[[0, 1, 1, 0]] * (1, 0) + points[[0, 0, 1, 1]] * (0, 1)
        fill_polygon(mask, points)
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _resized(mask: npt.NDArray[np.bool_], photo: Sized) -> npt.NDArray[np.bool_]:
    """Return a mask at the size of the photo: each pixel is that of the mask at its centre."""
    height, width = mask.shape
    rows = (2 * np.arange(photo.height) + 1) * height // (2 * photo.height)
    columns = (2 * np.arange(photo.width) + 1) * width // (2 * photo.width)
    return mask[np.ix_(rows, columns)]
