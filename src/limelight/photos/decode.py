"""From a photo file to an upright RGB picture."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from limelight.errors import MissingPhotoError, PhotoError
from limelight.photos.files import DECODERS, no_photo_message, photo_path, photos_inside
from limelight.photos.memory import PhotoSize, check_size
from limelight.photos.pieces import pieces


def load_photo(path: str | Path) -> Image.Image:
    """Decode a photo to 8-bit RGB, upright.

    Rotation by EXIF is applied. Transparent pixels are laid over white. Grey, palette and CMYK
    become RGB; 16-bit becomes 8-bit (65535 to 255), floating point is read as 0 to 1. The first
    frame of an animation is read. Decoding takes at most `PHOTO_BYTES` of memory.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    # Pillow's warning is not needed: our own limit is checked before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        photo = decoded(photo_path(path), open_photo(path))
    photo.filename = str(path)  # type: ignore[attr-defined]  # as on pictures that Pillow opened
    return photo


def open_photo(path: str | Path) -> Image.Image:
    """Open a photo at its first frame, without decoding its pixels.

    Raises:
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    path = photo_path(path)
    with photo_errors(path):
        _check_file(path)
        # A Pillow that was built without a format does not know its name.
        Image.init()
        picture = Image.open(path, formats=[name for name in DECODERS if name in Image.OPEN])
        try:
            check_size(path, picture)
            picture.seek(0)
            if "exif" in picture.info:
                with suppress(Exception):  # read here, where its warnings are silenced
                    picture.getexif()
        except BaseException:
            picture.close()
            raise
        return picture


def photo_size(path: str | Path) -> PhotoSize:
    """Return the size of a photo once it is upright, without decoding it.

    Raises:
        MissingPhotoError, PhotoError: As `open_photo`.
    """
    with warnings.catch_warnings(action="ignore"), open_photo(path) as opened:
        return upright_size(opened)


def upright_size(picture: Image.Image) -> PhotoSize:
    """Return the size of a picture once it is turned as its Exif says."""
    try:
        turned = picture.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
    except Exception:  # as in `_upright`, damaged Exif is ignored
        turned = False
    return PhotoSize(*(picture.size[::-1] if turned else picture.size))


#: The names of paths that are no files, by their type.
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_file(path: Path) -> None:
    """Refuse a path that is no file, which could be read twice, and an empty file.

    Raises:
        PhotoError: It is no file, or empty.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        os.listdir(path)  # raises if it may not be read
        if not photos_inside(path):
            raise MissingPhotoError(no_photo_message(path))
        raise PhotoError(f"{str(path)!r} is a folder; one photo was expected.")
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise PhotoError(
            f"{str(path)!r} is {kind}; a file was expected. Save the photo as one first."
        )
    if status.st_size == 0:
        raise PhotoError(f"{str(path)!r} is empty (0 bytes); a picture was expected.")


def decoded(path: Path, opened: Image.Image) -> Image.Image:
    """Decode an opened photo to 8-bit RGB, upright, and close the file."""
    try:
        with photo_errors(path), opened:
            opened.load()
            return _rgb(path, _upright(opened))
    except PhotoError:
        opened.close()  # the error's traceback would keep its pixels
        raise


def silence_decoders() -> None:
    """Keep libtiff from writing errors to stderr: they are raised, too.

    This changes the whole process, so only the command line does it.
    """
    with suppress(OSError, AttributeError):  # this Pillow has no libtiff, or none of its own
        from PIL import _imaging

        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextmanager
def photo_errors(path: Path) -> Iterator[None]:
    """Raise a PhotoError in place of the many kinds of errors that Pillow raises for a photo."""
    name = repr(str(path))
    try:
        yield
    except PhotoError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise MissingPhotoError(f"There is no file {name}.") from None
    except Image.DecompressionBombError:  # so large that Pillow does not even open it
        raise PhotoError(
            f"{name} claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million "
            "pixels, as decompression bombs do. Make it smaller first."
        ) from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not a picture that can be read, or has no pixels; JPEG, PNG, WebP, "
            "TIFF, GIF, BMP, AVIF, JPEG 2000 or PPM was expected."
        ) from None
    except MemoryError as error:
        raise PhotoError(
            f"{name} cannot be decoded: {str(error) or 'MemoryError'}. There is not enough memory; "
            "make it smaller first."
        ) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise _system_error(path, error) or PhotoError(
            f"{name} cannot be decoded: {error or type(error).__name__}. The file is "
            "damaged or cut short; save or download it again."
        ) from error


def _system_error(path: Path, error: Exception) -> PhotoError | None:
    """Return why the system cannot read a file; None when the error comes from the decoder."""
    name, code = repr(str(path)), getattr(error, "errno", None)
    if "\0" in str(path):
        return MissingPhotoError(f"There is no file {name}: no name holds a null byte.")
    if code is None:
        return None
    if code == errno.ELOOP:
        return MissingPhotoError(
            f"{name} is a link that leads back to itself; a file was expected."
        )
    if code == errno.ENAMETOOLONG:
        return MissingPhotoError(f"There is no file {name}: the name is longer than any can be.")
    if code in (errno.EACCES, errno.EPERM):
        return PhotoError(
            f"{name} may not be read: {os.strerror(code)}. Allow it, or its folder, to be read."
        )
    return PhotoError(f"{name} cannot be read: {os.strerror(code)}.")


def _upright(picture: Image.Image) -> Image.Image:
    """Return a picture turned as its Exif says; one that is upright is not copied."""
    try:
        if picture.getexif().get(_ORIENTATION, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return picture


_ORIENTATION = 0x0112


_ON_ITS_SIDE = (5, 6, 7, 8)


def _rgb(path: Path, picture: Image.Image) -> Image.Image:
    """Return a picture in RGB; no other whole picture is held in memory on the way."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _deep(path, picture)
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    over_white = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        clear = picture.crop(box).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        over_white.paste(Image.alpha_composite(white, clear).convert("RGB"), box)
    return over_white


def _deep(path: Path, picture: Image.Image) -> Image.Image:
    """Return a 16-bit or floating point grey picture as 8-bit RGB."""
    low, high = np.inf, -np.inf
    for box in pieces(*picture.size):
        values = np.asarray(picture.crop(box))
        if not np.isfinite(values).all():
            raise PhotoError(f"{str(path)!r} holds values that are NaN or infinite.")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    top = 1.0 if picture.mode == "F" and high <= 1 else 65535.0
    if low < 0 or high > top:
        raise PhotoError(
            f"{str(path)!r} holds values from {low:g} to {high:g}; 0 to {top:g} "
            "was expected. Scale it to 8 or 16 bits first."
        )
    rgb = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        values = np.asarray(picture.crop(box)).astype(np.float64)
        grey = (values / top * 255).round().astype(np.uint8)
        rgb.paste(Image.fromarray(grey).convert("RGB"), box)
    return rgb
