"""Photos and other pictures by their paths: opened, then decoded."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from limelight.errors import MissingPhotoError, PhotoError
from limelight.photos.decode import (
    check_file,
    decoded,
    open_photo,
    photo_errors,
    upright_size,
)
from limelight.photos.deep import is_tiff, tiff_numbers, tiff_size
from limelight.photos.files import TIFF_SUFFIXES, photo_path
from limelight.photos.memory import MAX_PIXELS, PHOTO_BYTES, PhotoSize, bytes_to_decode
from limelight.photos.raster import Numbers, Photo, Raster, as_photo


class OpenedPicture(ABC):
    """A picture whose size is known and whose pixels are not decoded yet.

    Attributes:
        path: The path that it was opened by.
        size: Its size once it is upright.
        bytes: The most bytes that it takes to decode it.
    """

    path: Path
    size: PhotoSize
    bytes: int

    @abstractmethod
    def decode(self, channels: int | None = None) -> Photo:
        """Return the picture, and close its file; this is called once.

        Args:
            channels: How many channels the network takes; None if that is not known.

        Raises:
            PhotoError: It is damaged.
        """

    def close(self) -> None:  # noqa: B027 - most files are not kept open
        """Close the file of a picture that is not decoded."""


def open_picture(path: str | Path) -> OpenedPicture:
    """Open a photo or another picture, without decoding its pixels.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, no picture, or too large.
    """
    path = photo_path(path)
    if path.suffix.lower() == ".npy" or ".npz" in (path.suffix.lower(), path.parent.suffix.lower()):
        return OpenedArray.at(path)
    # Pillow's warning is not needed: our own limit is checked before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        try:
            picture = open_photo(path)
        except MissingPhotoError:
            raise
        except PhotoError:
            if path.suffix.lower() in TIFF_SUFFIXES and is_tiff(path):
                return OpenedTiff.at(path)
            raise
        if picture.format == "TIFF" and _misread(picture):
            picture.close()
            return OpenedTiff.at(path)
        return OpenedPhoto.of(path, picture)


def load_photo(path: str | Path, *, channels: int | None = None) -> Photo:
    """Decode a photo, upright: 8 bits as a Pillow picture in RGB, all else as a `Raster`.

    Rotation by EXIF is applied. Transparent pixels are laid over white. Grey, palette and CMYK of
    8 bits become RGB. More bits, whole numbers of 32 bits and floating point keep their numbers.
    The first frame of an animation is read. Decoding takes at most `PHOTO_BYTES` of memory.

    Args:
        path: A photo; or an array, .npy, or .npz with the array's name behind it as in
            "scan.npz/image" where it holds several.
        channels: How many channels the network takes, to know which axis of an array they are, and
            to keep the bands of a picture that has neither one nor three; None for 1 or 3.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    return open_picture(path).decode(channels)


def photo_size(path: str | Path) -> PhotoSize:
    """Return the size of a photo once it is upright, without decoding it.

    Raises:
        MissingPhotoError, PhotoError: As `open_picture`.
    """
    opened = open_picture(path)
    opened.close()
    return opened.size


@dataclass
class OpenedPhoto(OpenedPicture):
    """A photo that Pillow opened."""

    path: Path
    picture: Image.Image
    size: PhotoSize
    bytes: int

    @classmethod
    def of(cls, path: Path, picture: Image.Image) -> OpenedPhoto:
        """Return a photo that Pillow opened, with what is known of it."""
        with photo_errors(path):
            return cls(path, picture, upright_size(picture), bytes_to_decode(path, picture))

    def decode(self, channels: int | None = None) -> Photo:
        """Return the picture."""
        picture = self.picture
        if picture.width * picture.height < (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
            return decoded(self.path, picture, channels)
        # So large a photo is decoded in the caller's thread, see `is_large`, and warnings can be
        # silenced in one thread alone.
        with warnings.catch_warnings(action="ignore"):
            return decoded(self.path, picture, channels)

    def close(self) -> None:
        """Close the file."""
        self.picture.close()


def _misread(picture: Image.Image) -> bool:
    """Return whether Pillow takes signed numbers of a TIFF for unsigned ones, or the reverse."""
    sign = getattr(picture, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0]
    return (picture.mode == "L" and sign == 2) or (
        picture.mode == "I" and sign == 1 and "32" in str(getattr(picture, "tile", ""))
    )


#: The number of the TIFF tag that says whether numbers are signed.
_SAMPLE_FORMAT = 339


@dataclass
class OpenedTiff(OpenedPicture):
    """A TIFF that Pillow does not read, such as one of many channels."""

    path: Path
    size: PhotoSize
    bytes: int

    @classmethod
    def at(cls, path: Path) -> OpenedTiff:
        """Open a TIFF.

        Raises:
            PhotoError: It is damaged.
        """
        with photo_errors(path):
            size, taken = tiff_size(path)
            return cls(path, size, taken)

    def decode(self, channels: int | None = None) -> Photo:
        """Return the picture."""
        with photo_errors(self.path):
            return as_photo(tiff_numbers(self.path), channels, repr(str(self.path)))


@dataclass
class OpenedArray(OpenedPicture):
    """An array of numbers, from a .npy or .npz file."""

    path: Path
    size: PhotoSize
    bytes: int
    numbers: Numbers

    @classmethod
    def at(cls, path: Path) -> OpenedArray:
        """Open an array; of a .npy file only the pages that are read later are loaded.

        Raises:
            MissingPhotoError, PhotoError: There is none, it holds no picture, or is too large.
        """
        with photo_errors(path):
            numbers = read_array(path)
            if numbers.nbytes * 2 > PHOTO_BYTES:
                raise PhotoError(
                    f"{str(path)!r} takes {numbers.nbytes / 1e9:.1f} GB; at most "
                    f"{PHOTO_BYTES / 2e9:.1f} GB are read as one picture. Make it smaller first."
                )
            shape = Raster.shape_of(numbers)
            return cls(path, PhotoSize(shape[-2], shape[-3]), 3 * numbers.nbytes, numbers)

    def decode(self, channels: int | None = None) -> Photo:
        """Return the picture."""
        with photo_errors(self.path):
            return as_photo(np.ascontiguousarray(self.numbers), channels, repr(str(self.path)))


def read_array(path: Path) -> Numbers:
    """Return the array in a file; that of several whose name stands behind it, `scan.npz/image`.

    Raises:
        MissingPhotoError, PhotoError: There is no such file or array, or there are several.
    """
    if path.suffix.lower() == ".npy":
        check_file(path)
        numbers: Numbers = np.load(path, mmap_mode="r", allow_pickle=False)
        return numbers
    inside = None if path.suffix.lower() == ".npz" else path.name
    file = path if inside is None else path.parent
    check_file(file)
    with np.load(file, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if inside in (None, name)]
        pictures = {name: array for name in names if (array := arrays[name]).ndim >= 2}
    if len(pictures) == 1:
        return next(iter(pictures.values()))
    known = ", ".join(arrays.files) or "nothing"
    if inside is not None:
        raise MissingPhotoError(
            f"There is no picture {inside!r} in {str(file)!r}, which holds {known}."
        )
    raise PhotoError(
        f"{str(file)!r} holds {len(pictures)} arrays that may be pictures, of {known}; one was "
        f"expected. Name it behind the file: {str(file / next(iter(pictures), 'image'))!r}."
    )
