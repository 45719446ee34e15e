"""TIFF files of many grey pages, as microscopes write them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from limelight.photos.decode import photo_errors
from limelight.photos.extras import without_log
from limelight.photos.files import TIFF_SUFFIXES
from limelight.photos.opened import VolumeFile
from limelight.photos.raster import Raster, span_of


def is_tiff_file(path: Path) -> bool:
    """Return whether a path ends as TIFF files do."""
    return path.suffix.lower() in TIFF_SUFFIXES


def open_tiff_stack(path: Path) -> VolumeFile | None:
    """Open a TIFF file of several grey pages of one size; None for other files.

    Thumbnails, the smaller copies of a pyramid, and pages that are channels make no stack.

    Raises:
        PhotoError: It is too large.
    """
    import tifffile

    shape: tuple[int, ...] = ()
    itemsize = 0
    # A file that is damaged is told by what reads its first page.
    with suppress(Exception), without_log("tifffile"), tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            series = file.series[0]
            grey = series.axes in _AXES and series.dtype is not None and series.dtype.kind in "iuf"
            if grey and series.shape[0] > 1:
                shape, itemsize = tuple(series.shape), series.dtype.itemsize
    return VolumeFile(path, (*shape, 1), itemsize, lambda: _read(path)) if shape else None


#: Slices, times, or pages of which nothing else is known, and their rows and columns.
_AXES = ("ZYX", "TYX", "IYX", "QYX")


def _read(path: Path) -> Raster:
    """Return the pages as a volume `[D, H, W, 1]`."""
    import tifffile

    with photo_errors(path), tifffile.TiffFile(path) as file:
        values = file.series[0].asarray()[..., None]
        return Raster(values, span_of(values, repr(str(path))))
