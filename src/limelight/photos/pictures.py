"""Photos and other pictures by their paths: opened, then decoded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from limelight.errors import MissingPhotoError, PhotoError
from limelight.photos.arrays import holds_arrays, open_array
from limelight.photos.decode import (
    decoded,
    open_photo,
    photo_errors,
    upright_size,
)
from limelight.photos.deep import is_tiff, tiff_numbers, tiff_size
from limelight.photos.dicom_series import open_dicom, open_dicom_stack
from limelight.photos.files import TIFF_SUFFIXES, is_dicom, is_nifti, is_video, photo_path
from limelight.photos.memory import MAX_PIXELS, PhotoSize, bytes_to_decode
from limelight.photos.nifti import open_nifti
from limelight.photos.opened import OpenedPicture, Stack, split_path
from limelight.photos.raster import Photo, Raster, as_photo, cut_to_8_bits
from limelight.photos.tiff_stacks import is_tiff_file, open_tiff_stack
from limelight.photos.video import open_video


def open_picture(
    path: str | Path, channels: int | None = None, frames: int | None = None
) -> OpenedPicture:
    """Open a photo or another picture, without decoding its pixels.

    Args:
        path: As `load_photo` takes it.
        channels: As `load_photo` takes them.
        frames: How many frames of a whole video are taken, evenly spaced; None for all.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, no picture, or too large.
    """
    path = photo_path(path)
    opened = _opened(path, channels)
    if isinstance(opened, Stack):
        return opened.open_whole(frames)
    return opened or _open_inside(path, channels) or _open_file(path, channels)


def _open_inside(path: Path, channels: int | None) -> OpenedPicture | None:
    """Open one picture of a file or a folder that holds several; None for other paths.

    Raises:
        MissingPhotoError, PhotoError: There are not so many, or it cannot be read.
    """
    inside = split_path(path)
    stack = None if inside is None else open_stack(inside[0], channels)
    if inside is None or stack is None:
        return None
    if inside[1] >= stack.listed:
        raise MissingPhotoError(
            f"There is no picture {inside[1] + 1} in {str(stack.path)!r}, which holds "
            f"{stack.count}."
        )
    return stack.open(inside[1])


def _open_file(path: Path, channels: int | None) -> OpenedPicture:
    """Open a file that holds one picture.

    Raises:
        MissingPhotoError, PhotoError: As `open_picture`.
    """
    if holds_arrays(path):
        array = open_array(path, channels)
        return array if isinstance(array, OpenedPicture) else array.open_whole()
    if is_nifti(path):
        return open_nifti(path, channels).open_only()
    if is_dicom(path):
        return open_dicom(path)
    return _open_photo_file(path, channels)


def _open_photo_file(path: Path, channels: int | None) -> OpenedPicture:
    """Open a file that Pillow or tifffile reads."""
    # Pillow's warning is not needed: our own limit is checked before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        try:
            picture = open_photo(path)
        except MissingPhotoError:
            raise
        except PhotoError:
            if path.suffix.lower() in TIFF_SUFFIXES and is_tiff(path):
                return OpenedTiff.at(path, channels)
            raise
        if picture.format == "TIFF" and _misread(picture):
            picture.close()
            return OpenedTiff.at(path, channels)
        return OpenedPhoto.of(path, picture, channels)


def load_photo(
    path: str | Path, *, channels: int | None = None, frames: int | None = None
) -> Photo:
    """Decode a photo, upright: 8 bits as a Pillow picture in RGB, all else as a `Raster`.

    Rotation by EXIF is applied. Transparent pixels are laid over white. Grey, palette and CMYK of
    8 bits become RGB. More bits, whole numbers of 32 bits and floating point keep their numbers.
    The first frame of an animation is read. Decoding takes at most `PHOTO_BYTES` of memory.

    Args:
        path: A photo; or an array, .npy, or .npz with the array's name behind it as in
            "scan.npz/image" where it holds several; or a scan, .nii, .nii.gz, .dcm, or a folder
            that holds a DICOM series; or a video, whose frames become a volume; or one picture of
            those that hold several, as in "scan.npy/scan-12" for the twelfth slice.
        channels: How many channels the network takes, to know which axis of an array they are, and
            to keep the bands of a picture that has neither one nor three; None for 1 or 3.
        frames: Of a video so many frames are taken, evenly spaced; None for all.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    photo = open_picture(path, channels, frames).decode()
    if isinstance(photo, Raster):
        return replace(photo, filename=str(path))
    photo.filename = str(path)  # type: ignore[attr-defined]  # as on pictures that Pillow opened
    return photo


def open_stack(path: Path, channels: int | None = None) -> Stack | None:
    """Open a file or a folder that holds several pictures; None for a path that names one picture.

    Raises:
        PhotoError: It is damaged, or too large.
    """
    opened = _opened(path, channels)
    return opened if isinstance(opened, Stack) else None


def _opened(path: Path, channels: int | None) -> Stack | OpenedPicture | None:
    """Open a path that may name several pictures, whether it does or not; None for all others."""
    try:
        # A folder of several series has a path beneath it for each.
        changed = (path if path.exists() else path.parent).stat().st_mtime_ns
        if not _may_be_stack(path):
            return None
    except (OSError, ValueError):
        return None
    return _last_opened(path, channels, changed)


def _may_be_stack(path: Path) -> bool:
    """Return whether a path may name several pictures, which only opening it tells."""
    if not path.exists():
        return path.name.startswith("series-") and path.parent.is_dir()
    kinds = (is_video, is_nifti, holds_arrays, is_tiff_file, is_dicom)
    return path.is_dir() or any(is_of_kind(path) for is_of_kind in kinds)


def fps_of(path: Path) -> float | None:
    """Return how many frames of a video a second has; None for all else."""
    try:
        stack = open_stack(path)
    except PhotoError:
        return None
    return None if stack is None else stack.fps


@lru_cache(maxsize=1)
def _last_opened(path: Path, channels: int | None, _changed: int) -> Stack | OpenedPicture | None:
    """Open a file that may hold several pictures, once for all of them.

    None for one that is no scan, video or array, and holds one picture.
    """
    if is_video(path):
        return open_video(path)
    if is_nifti(path):
        volume = open_nifti(path, channels)
        return volume if volume.count > 1 else volume.open_only()
    if is_tiff_file(path) and path.is_file():
        return open_tiff_stack(path)
    if holds_arrays(path):
        return open_array(path, channels)
    return open_dicom_stack(path)


def each_picture(
    paths: Sequence[Path], *, channels: int | None = None, volumes: bool = False, every: int = 1
) -> list[Path]:
    """Return the pictures that a network takes of these files.

    A file that holds several is taken as a whole by a network of volumes; else there is a path for
    each of its pictures. A file that cannot be read stays: `open_picture` then raises the error.

    Args:
        paths: The files, as `find_photos` returns them.
        channels: How many channels the network takes; None if that is not known.
        volumes: Whether it takes volumes.
        every: 2 takes every second picture of such a file, and so on.
    """
    pictures = list[Path]()
    for path in paths:
        try:
            stack = open_stack(path, channels)
        except PhotoError:
            stack = None
        pictures += [path] if stack is None or volumes else stack.paths()[::every]
    return pictures


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
    channels: int | None
    cut: bool

    @classmethod
    def of(cls, path: Path, picture: Image.Image, channels: int | None) -> OpenedPhoto:
        """Return a photo that Pillow opened, with what is known of it."""
        with photo_errors(path):
            taken, cut = bytes_to_decode(path, picture), cut_to_8_bits(picture)
            return cls(path, picture, upright_size(picture), taken, channels, cut)

    def decode(self) -> Photo:
        """Return the picture."""
        picture = self.picture
        if picture.width * picture.height < (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
            return decoded(self.path, picture, self.channels, cut=self.cut)
        # So large a photo is decoded in the caller's thread, see `is_large`, and warnings can be
        # silenced in one thread alone.
        with warnings.catch_warnings(action="ignore"):
            return decoded(self.path, picture, self.channels, cut=self.cut)

    def close(self) -> None:
        """Close the file."""
        self.picture.close()


def _misread(picture: Image.Image) -> bool:
    """Return whether Pillow takes a TIFF for another: signed or not, or of one channel alone."""
    tags = getattr(picture, "tag_v2", {})
    sign = tags.get(_SAMPLE_FORMAT, (1,))[0]
    if len(picture.getbands()) == 1 and tags.get(_SAMPLES, 1) > 1:
        return True
    return (picture.mode == "L" and sign == 2) or (
        picture.mode == "I" and sign == 1 and "32" in str(getattr(picture, "tile", ""))
    )


#: The numbers of the TIFF tags that say how many numbers a pixel has, and whether they are signed.
_SAMPLES, _SAMPLE_FORMAT = 277, 339


@dataclass
class OpenedTiff(OpenedPicture):
    """A TIFF that Pillow does not read, such as one of many channels."""

    path: Path
    size: PhotoSize
    bytes: int
    channels: int | None = None

    @classmethod
    def at(cls, path: Path, channels: int | None) -> OpenedTiff:
        """Open a TIFF.

        Raises:
            PhotoError: It is damaged.
        """
        with photo_errors(path):
            size, taken = tiff_size(path)
            return cls(path, size, taken, channels)

    def decode(self) -> Photo:
        """Return the picture."""
        with photo_errors(self.path):
            return as_photo(tiff_numbers(self.path), self.channels, repr(str(self.path)))
