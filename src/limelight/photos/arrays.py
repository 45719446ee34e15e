"""Arrays of numbers in .npy and .npz files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limelight.errors import MissingPhotoError, PhotoError
from limelight.photos.decode import check_file, photo_errors
from limelight.photos.memory import PHOTO_BYTES, PhotoSize
from limelight.photos.opened import OpenedPicture, VolumeFile
from limelight.photos.raster import Numbers, Photo, Raster, as_photo


def holds_arrays(path: Path) -> bool:
    """Return whether a path names an array: `a.npy`, `a.npz`, or `a.npz/name`."""
    return path.suffix.lower() in (".npy", ".npz") or path.parent.suffix.lower() == ".npz"


def open_array(path: Path, channels: int | None = None) -> OpenedArray | VolumeFile:
    """Open an array; of a .npy file only what is read later is loaded.

    Raises:
        MissingPhotoError, PhotoError: There is none, it holds no picture, or is too large.
    """
    name = repr(str(path))
    with photo_errors(path):
        numbers = _read(path)
        shape = Raster.laid_out(numbers, channels, name).shape
        if len(shape) == 4:
            return VolumeFile(
                path,
                shape,
                numbers.dtype.itemsize,
                lambda: Raster.of(np.ascontiguousarray(numbers), channels, name),
            )
        if 3 * numbers.nbytes > PHOTO_BYTES:
            raise PhotoError(
                f"{name} takes {numbers.nbytes / 1e9:.1f} GB; at most {PHOTO_BYTES / 3e9:.1f} GB "
                "are read as one picture. Make it smaller first, or explain it as a .npy file "
                "with views=tiles()."
            )
        size = PhotoSize(shape[1], shape[0])
        return OpenedArray(path, size, 3 * numbers.nbytes, numbers, channels)


@dataclass
class OpenedArray(OpenedPicture):
    """A picture as an array of numbers."""

    path: Path
    size: PhotoSize
    bytes: int
    numbers: Numbers
    channels: int | None = None

    def decode(self) -> Photo:
        """Return the picture."""
        with photo_errors(self.path):
            numbers = np.ascontiguousarray(self.numbers)
            return as_photo(numbers, self.channels, repr(str(self.path)))


def _read(path: Path) -> Numbers:
    """Return the array in a file; that of several whose name stands behind it, `scan.npz/image`.

    Raises:
        MissingPhotoError, PhotoError: There is no such file or array, or there are several.
    """
    inside = path.name if path.parent.suffix.lower() == ".npz" else None
    file = path if inside is None else path.parent
    check_file(file)
    if file.suffix.lower() == ".npy":
        numbers: Numbers = np.load(file, mmap_mode="r", allow_pickle=False)
        return numbers
    with np.load(file, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if inside in (None, name)]
        pictures = {name: array for name in names if (array := arrays[name]).ndim >= 2}
        known = ", ".join(arrays.files) or "nothing"
    if len(pictures) == 1:
        return next(iter(pictures.values()))
    if inside is not None:
        raise MissingPhotoError(
            f"There is no picture {inside!r} in {str(file)!r}, which holds {known}."
        )
    raise PhotoError(
        f"{str(file)!r} holds {len(pictures)} arrays that may be pictures, among {known}; one was "
        f"expected. Name it behind the file: {str(file / next(iter(pictures), 'image'))!r}."
    )
