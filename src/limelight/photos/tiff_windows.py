"""TIFF files of which only the strips or tiles that a window needs are decoded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from struct import pack
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from limelight.errors import PhotoError
from limelight.photos.deep import holds_opacity, over_white, undecodable
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
        self._clear = holds_opacity(page)
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
        self._forget(rows, columns.start)
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

    def _forget(self, rows: slice, left: int) -> None:
        """Forget what no window of these rows needs, from `left` on: they come in order."""
        needed = {number for number, *_ in self._grid.touched(rows, slice(left, self.shape[1]))}
        for number in [number for number in self._kept if number not in needed]:
            del self._kept[number]

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
        pixels = self._decode(file.read(count), number)
        self._kept[number] = pixels
        while len(self._kept) > 1 and len(self._kept) * pixels.nbytes > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return pixels

    def _decode(self, data: bytes, number: int) -> Numbers:
        """Decode a strip or a tile by tifffile, or by Pillow what that needs a package for."""
        page = self._page
        tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
        try:
            decoded: Numbers = page.decode(data, number, **tables)[0][0]
        except (ValueError, ImportError) as error:
            samples = 1 if self._separate else self._samples
            of_8_bits = self.dtype == np.uint8 and samples in _PHOTOMETRIC
            if not of_8_bits or int(page.compression) not in _BY_PILLOW:
                raise undecodable(self._path, page, error) from None
            return decode_alone(page, data, self._grid.size_of(number, self.shape), samples)
        return decoded


#: The compressions that Pillow's own libtiff reads: LZW, JPEG, deflate, PackBits and zstd.
_BY_PILLOW = (5, 7, 8, 32773, 32946, 50000)

#: The photometric interpretations of grey and of colours, by the number of samples.
_PHOTOMETRIC = {1: 1, 3: 2, 4: 2}

_SHORT, _LONG, _BYTES = 3, 4, 7


def decode_alone(page: Any, data: bytes, size: tuple[int, int], samples: int) -> Numbers:
    """Decode a strip or a tile of 8 bits as if it were a picture of its own, `[h, w, C]`.

    Args:
        page: The page that it is of.
        data: The compressed bytes.
        size: Its height and width.
        samples: How many numbers a pixel has.
    """
    order, (height, width) = page.parent.byteorder, size
    kind = int(page.photometric)
    photometric = kind if samples == 3 and kind == 6 else _PHOTOMETRIC[samples]
    fields = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8] * samples),
        (259, _SHORT, [int(page.compression)]),
        (262, _SHORT, [photometric]),
        (277, _SHORT, [samples]),
        (278, _LONG, [height]),
        (279, _LONG, [len(data)]),
        (317, _SHORT, [int(page.predictor)]),
    ]
    if samples == 4:
        fields.append((338, _SHORT, [2]))
    if page.jpegtables is not None:
        fields.append((347, _BYTES, list(page.jpegtables)))
    if photometric == 6:
        fields.append((530, _SHORT, list(page.subsampling or (2, 2))))
    with Image.open(BytesIO(_tiff(fields, data, order)), formats=["TIFF"]) as picture:
        pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _tiff(fields: list[tuple[int, int, list[int]]], data: bytes, order: str) -> bytes:
    """Return a TIFF file of one strip, `data`, with these fields: tag, type and values."""
    codes = {_SHORT: "H", _LONG: "I", _BYTES: "B"}
    at = 8
    fields = sorted([*fields, (273, _LONG, [at])])
    body = data + b"\0" * (len(data) % 2)
    directory = pack(f"{order}H", len(fields))
    for tag, kind, values in fields:
        packed = pack(f"{order}{len(values)}{codes[kind]}", *values)
        if len(packed) > 4:  # what is longer stands behind the strip
            packed, body = (
                pack(f"{order}I", at + len(body)),
                body + packed + b"\0" * (len(packed) % 2),
            )
        directory += pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    header = mark + pack(f"{order}HI", 42, at + len(body))
    return header + body + directory + pack(f"{order}I", 0)


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

    def size_of(self, number: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of a segment; the last strip is as high as what is left."""
        height, width = self.segment
        if width < shape[1] or self.across > 1:
            return self.segment
        return min(height, shape[0] - number // self.across % self.down * height), width

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
