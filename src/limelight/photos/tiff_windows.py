"""TIFF files of which only the strips or tiles that a window needs are decoded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limelight.errors import PhotoError
from limelight.photos.deep import over_white, undecodable
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.raster import Numbers

#: Decoded strips or tiles that are kept for the next windows take at most so many bytes.
_KEPT_BYTES = PHOTO_BYTES // 4


class TiffWindows:
    """The first picture of a TIFF, of which parts can be read.

    Attributes:
        shape: Its height and width.
        dtype: The type of its numbers.
    """

    def __init__(self, path: Path, page: Any) -> None:
        """Take note of how the picture is cut into strips or tiles.

        Raises:
            PhotoError: One of them takes too much memory.
        """
        import tifffile

        self._path, self._page = path, page
        self.shape: tuple[int, int] = (page.imagelength, page.imagewidth)
        self.dtype: np.dtype[Any] = np.dtype(page.dtype)
        self._separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        self._samples: int = page.samplesperpixel
        clear = tifffile.EXTRASAMPLE.UNASSALPHA in (page.extrasamples or ())
        self._clear = clear and self.dtype.kind == "u" and self._samples in (2, 4)
        self._kept = OrderedDict[int, Numbers]()
        self._grid = _Grid.of(page)
        if not page.is_contiguous:
            self._check_segments()

    def _check_segments(self) -> None:
        """Refuse a picture whose strips or tiles are too large to be decoded one by one."""
        samples = 1 if self._separate else self._samples
        taken = math.prod(self._grid.segment) * samples * self.dtype.itemsize
        if 2 * taken > PHOTO_BYTES:
            kind = "tile" if self._page.is_tiled else "strip"
            raise PhotoError(
                f"{str(self._path)!r} is a TIFF in which a single compressed {kind} takes "
                f"{taken / 1e9:.1f} GB, and it can only be decoded as a whole. Save it in small "
                "tiles, as by tifffile.imwrite(path, picture, tile=(256, 256), "
                "compression='deflate')."
            )

    def numbers(self, part: tuple[slice, ...]) -> Numbers:
        """Return the numbers of a part, `[h, w, C]`; what is not opaque is laid over white."""
        numbers = self._mapped(part) if self._page.is_contiguous else self._decoded(part)
        return over_white(numbers) if self._clear else numbers

    def _mapped(self, part: tuple[slice, ...]) -> Numbers:
        """Read a part of a file that is not compressed; it is mapped anew each time.

        Else all that was ever read would count as the process's memory.
        """
        order = self._page.parent.byteorder
        shape = (self._samples, *self.shape) if self._separate else (*self.shape, self._samples)
        mapped = np.memmap(
            self._path, self.dtype.newbyteorder(order), "r", self._page.dataoffsets[0], shape
        )
        pixels = np.moveaxis(mapped, 0, -1) if self._separate else mapped
        return pixels[part].astype(self.dtype, order="C")

    def _decoded(self, part: tuple[slice, ...]) -> Numbers:
        """Decode the strips or tiles that a part lies in."""
        rows, columns = part
        read = np.zeros(
            (rows.stop - rows.start, columns.stop - columns.start, self._samples), self.dtype
        )
        with self._path.open("rb") as file:
            for number, plane, top, left in self._grid.touched(rows, columns):
                pixels = self._segment(file, number)
                if pixels is None:  # an empty strip stands for zeros
                    continue
                bottom, right = top + pixels.shape[0], left + pixels.shape[1]
                y1, y2 = max(top, rows.start), min(bottom, rows.stop)
                x1, x2 = max(left, columns.start), min(right, columns.stop)
                channels = slice(plane, plane + 1) if self._separate else slice(None)
                read[y1 - rows.start : y2 - rows.start, x1 - columns.start : x2 - columns.start][
                    ..., channels
                ] = pixels[y1 - top : y2 - top, x1 - left : x2 - left]
        return read

    def _segment(self, file: Any, number: int) -> Numbers | None:
        """Return a strip or a tile `[h, w, C]`, decoded once while it is kept."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        page = self._page
        count = page.databytecounts[number]
        if not count:
            return None
        file.seek(page.dataoffsets[number])
        tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
        try:
            decoded, _, _ = page.decode(file.read(count), number, **tables)
        except ValueError as error:
            raise undecodable(self._path, page, error) from None
        if decoded is None:
            return None
        pixels: Numbers = decoded[0]
        self._kept[number] = pixels
        while len(self._kept) > 1 and len(self._kept) * pixels.nbytes > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return pixels


class _Grid(NamedTuple):
    """How a picture is cut into strips or tiles, its segments.

    Attributes:
        segment: The height and width of one.
        down, across: How many there are along each axis.
        planes: How many such grids there are: one for each channel, where these lie apart.
    """

    segment: tuple[int, int]
    down: int
    across: int
    planes: int

    @classmethod
    def of(cls, page: Any) -> _Grid:
        """Read the grid of a page."""
        height, width = page.imagelength, page.imagewidth
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip or height, height)
        columns = page.tilewidth if page.is_tiled else width
        planes = page.samplesperpixel if int(page.planarconfig or 1) == 2 else 1
        return cls((rows, columns), math.ceil(height / rows), math.ceil(width / columns), planes)

    def touched(self, rows: slice, columns: slice) -> Iterator[tuple[int, int, int, int]]:
        """Yield the number, plane, top and left of each segment that a part lies in."""
        height, width = self.segment
        down = range(rows.start // height, math.ceil(rows.stop / height))
        across = range(columns.start // width, math.ceil(columns.stop / width))
        for plane, y, x in product(range(self.planes), down, across):
            yield (plane * self.down + y) * self.across + x, plane, y * height, x * width


def open_tiff_windows(path: Path) -> TiffWindows | None:
    """Open the first picture of a TIFF to be read in parts.

    None for one whose numbers are no grey and no colours as they are: palettes, CMYK, single bits,
    and pictures that lie on their side. Pillow reads them as a whole.

    Raises:
        PhotoError: It is one compressed strip that is too large.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        plain = page.photometric in (
            tifffile.PHOTOMETRIC.MINISBLACK,
            tifffile.PHOTOMETRIC.RGB,
            tifffile.PHOTOMETRIC.YCBCR,
        )
        orientation = page.tags.get("Orientation")
        upright = orientation is None or int(orientation.value) == 1
        whole_bytes = page.dtype is not None and page.dtype.itemsize * 8 == page.bitspersample
        if not plain or not upright or not whole_bytes or page.imagedepth != 1:
            return None
        return TiffWindows(path, page)
