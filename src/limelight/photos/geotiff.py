"""TIFF files that lie where their photo lies on the earth."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from limelight.photos.decode import photo_errors
from limelight.photos.deep import is_tiff
from limelight.photos.raster import Numbers

#: The tags of a GeoTIFF: the size of a pixel, points that are tied to places, a matrix; and the
#: keys that say which map projection is meant, with their numbers and texts.
_PIXEL_SCALE, _TIE_POINTS, _MATRIX = 33550, 33922, 34264
_KEYS = (34735, 34736, 34737)


def geotiff_bytes(values: Numbers, source: Path) -> bytes:
    """Return numbers `[H, W]` over a photo as a TIFF that lies where the photo lies.

    The tags of the source's place are kept, scaled if the numbers have another size than the photo;
    of a photo without them none are written.

    Raises:
        PhotoError: The source is damaged.
    """
    import tifffile

    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        values,
        photometric="minisblack",
        compression="zlib",
        extratags=_tags(source, values.shape[0], values.shape[1]),
        metadata=None,
    )
    return buffer.getvalue()


def _tags(source: Path, height: int, width: int) -> list[tuple[Any, ...]]:
    """Return the tags that say where a picture of a size, over the source's photo, lies."""
    import tifffile

    with photo_errors(source):
        if not is_tiff(source):
            return []
        with tifffile.TiffFile(source) as file:
            page = file.pages.first
            tags = {code: page.tags[code] for code in _ALL if code in page.tags}
            down, across = page.imagelength / height, page.imagewidth / width
            return [
                (code, tag.dtype, tag.count, _scaled(code, tag.value, down, across), True)
                for code, tag in tags.items()
            ]


_ALL = (_PIXEL_SCALE, _TIE_POINTS, _MATRIX, *_KEYS)


def _scaled(code: int, value: Any, down: float, across: float) -> Any:
    """Return the value of a tag for pixels that are `down` times as high, `across` as wide."""
    if code == _PIXEL_SCALE:
        return (value[0] * across, value[1] * down, *value[2:])
    if code == _TIE_POINTS:  # column, row and height of a pixel, and the place: six numbers each
        of_point = (1 / across, 1 / down, 1, 1, 1, 1)
        return tuple(number * of_point[index % 6] for index, number in enumerate(value))
    if code == _MATRIX:  # of four rows and columns, which takes column, row, height and 1
        of_column = (across, down, 1, 1)
        return tuple(number * of_column[index % 4] for index, number in enumerate(value))
    return value
