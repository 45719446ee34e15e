"""Pictures of which one window is read at a time, so that they may be larger than the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limelight.photos.decode import check_file, photo_errors
from limelight.photos.deep import is_tiff
from limelight.photos.files import TIFF_SUFFIXES
from limelight.photos.memory import PhotoSize
from limelight.photos.pictures import open_picture, open_stack
from limelight.photos.raster import (
    Numbers,
    Photo,
    Raster,
    in_own_numbers,
    raster_as_photo,
    span_between,
)
from limelight.photos.tiff_windows import open_tiff_windows

#: A part of a picture along each axis, in pixels.
Part = tuple[slice, ...]

#: The longest side of the reduced picture that a map is drawn on, by how many axes there are.
LONGEST = {2: 2048, 3: 128}

#: Other suffixes of TIFF files: slides by Aperio, and BigTIFF.
_SLIDE_SUFFIXES = (".svs", ".btf", ".tf8")

#: How many numbers are read at a time to go through a whole picture.
_NUMBERS_AT_ONCE = 2**22


class Survey(NamedTuple):
    """What one look at all of a picture tells.

    Attributes:
        span: The lowest and the highest number, which become 0 and 1, as `Raster.span`.
        reduced: The picture with its longest side at most `LONGEST`.
    """

    span: tuple[float, float]
    reduced: Photo


@dataclass
class WindowedPicture:
    """A picture or a volume of which windows can be read.

    Attributes:
        name: How an error calls it.
        shape: Its size along each axis: height and width, or depth, height and width.
        dtype: The type of its numbers.
        channels: How many channels the network takes; None if that is not known.
        numbers: Reads the numbers of a part, `[*part, C]`.
        whole: The picture itself, where it is in memory, of which windows keep all but the numbers.
        filename: The file that it is read from; "" where that is not known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int | None
    numbers: Callable[[Part], Numbers]
    whole: Raster | None = None
    filename: str = ""

    @classmethod
    def of_photo(cls, photo: Photo, channels: int | None = None) -> WindowedPicture:
        """Return a photo in memory."""
        photo = in_own_numbers(photo)
        filename = str(getattr(photo, "filename", ""))
        if isinstance(photo, Raster):
            shape, dtype, read_part = (
                photo.values.shape[:-1],
                photo.values.dtype,
                photo.values.__getitem__,
            )
            return cls("The photo", shape, dtype, channels, read_part, photo, filename)
        mode = photo.mode if photo.mode in ("L", "RGB") else "RGB"

        def read(part: Part) -> Numbers:
            rows, columns = part
            box = (columns.start, rows.start, columns.stop, rows.stop)
            pixels = np.asarray(photo.crop(box).convert(mode))
            return pixels if pixels.ndim == 3 else pixels[..., None]

        shape = (photo.height, photo.width)
        return cls("The photo", shape, np.dtype(np.uint8), channels, read, None, filename)

    @classmethod
    def of_array(cls, values: Numbers, channels: int | None = None) -> WindowedPicture:
        """Return an array, which may be a file mapped into memory.

        Raises:
            PhotoError: As `Raster.of`.
        """
        pixels = Raster.laid_out(values, channels)
        return cls("The array", pixels.shape[:-1], pixels.dtype, channels, pixels.__getitem__)

    @property
    def size(self) -> PhotoSize:
        """Its width and height."""
        return PhotoSize(self.shape[-1], self.shape[-2])

    def window(self, part: Part) -> Photo:
        """Return a window as a photo, with the span of the whole picture."""
        numbers = np.ascontiguousarray(self.numbers(part))
        return raster_as_photo(self._raster(numbers, self.survey.span), self.channels)

    def _raster(self, numbers: Numbers, span: tuple[float, float], factor: int = 1) -> Raster:
        """Return a part of the picture, or all of it reduced by a factor."""
        if self.whole is None:
            return Raster(numbers, span)
        spacing = self.whole.spacing
        if spacing is not None:
            spacing = tuple(factor * distance for distance in spacing)
        return replace(self.whole, values=numbers, spacing=spacing)

    @cached_property
    def survey(self) -> Survey:
        """What one look at all of the picture tells, a band of rows, or of slices, at a time."""
        factor = math.ceil(max(self.shape) / LONGEST[len(self.shape)])
        low, high, reduced = math.inf, -math.inf, list[Numbers]()
        for band in self._bands(factor):
            numbers = self.numbers(band)
            if self.whole is None and self.dtype != np.uint8:
                low, high = np.minimum(low, numbers.min()), np.maximum(high, numbers.max())
            reduced.append(_reduced(numbers, factor))
        span = (
            span_between(float(low), float(high), self.dtype, self.name)
            if self.whole is None
            else self.whole.span
        )
        numbers = np.concatenate(reduced)
        return Survey(span, raster_as_photo(self._raster(numbers, span, factor), self.channels))

    def _bands(self, factor: int) -> Iterator[Part]:
        """Yield the picture in bands of whole blocks of `factor` rows."""
        length, *others = self.shape
        rows = max(1, _NUMBERS_AT_ONCE // (3 * math.prod(others)) // factor) * factor
        for start in range(0, length, rows):
            first = slice(start, min(start + rows, length))
            yield (first, *(slice(0, other) for other in others))


def open_windows(path: Path, channels: int | None = None) -> WindowedPicture:
    """Open a file to be read window by window.

    TIFF files are read in strips or tiles, and .npy files from where they lie on the disk. All
    others are decoded as a whole, and so are TIFF files in colours that only Pillow reads.

    Raises:
        MissingPhotoError, PhotoError: As `open_picture`; or a TIFF is one compressed strip that is
            too large.
    """
    with photo_errors(path):
        if path.suffix.lower() == ".npy":
            check_file(path)
            return _open_array(path, channels)
        if path.suffix.lower() in (*TIFF_SUFFIXES, *_SLIDE_SUFFIXES):
            check_file(path)
            is_one_picture = is_tiff(path) and open_stack(path, channels) is None
            if is_one_picture and (tiff := open_tiff_windows(path)) is not None:
                return _of_file(path, tiff.shape, tiff.dtype, channels, tiff.numbers)
    picture = WindowedPicture.of_photo(open_picture(path, channels).decode(), channels)
    picture.name, picture.filename = repr(str(path)), str(path)
    return picture


def _open_array(path: Path, channels: int | None) -> WindowedPicture:
    """Open a .npy file, which is mapped anew for each window.

    Else all that was ever read would count as the process's memory.
    """
    name = repr(str(path))

    def mapped() -> Numbers:
        values: Numbers = np.load(path, mmap_mode="r", allow_pickle=False)
        return Raster.laid_out(values, channels, name)

    whole = mapped()
    return _of_file(
        path, whole.shape[:-1], whole.dtype, channels, lambda part: np.array(mapped()[part])
    )


def _of_file(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    channels: int | None,
    numbers: Callable[[Part], Numbers],
) -> WindowedPicture:
    """Return the picture in a file that is read in parts; damage to it is a PhotoError."""

    def read(part: Part) -> Numbers:
        with photo_errors(path):
            return numbers(part)

    return WindowedPicture(repr(str(path)), shape, dtype, channels, read, None, str(path))


def _reduced(numbers: Numbers, factor: int) -> Numbers:
    """Return the means of blocks of `factor` pixels along each axis; the last may be smaller."""
    if factor == 1:
        return numbers
    means = numbers.astype(np.float32)
    for axis, length in enumerate(numbers.shape[:-1]):
        starts = np.arange(0, length, factor)
        counts = np.minimum(factor, length - starts).astype(np.float32)
        sums = np.add.reduceat(means, starts, axis=axis)
        means = sums / counts.reshape(-1, *(1,) * (means.ndim - 1 - axis))
    return means.round().astype(numbers.dtype) if numbers.dtype.kind in "ui" else means
