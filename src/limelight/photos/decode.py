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

    Rotation by EXIF is applied. Transparency is laid over white. Grey, palette and CMYK become RGB;
    16-bit becomes 8-bit (65535 to 255), floating point is read as 0 to 1. Of an animation it is the
    first frame. It takes at most `PHOTO_BYTES` of memory.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    # Sizes are checked here, with a limit of our own, before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        return decoded(photo_path(path), open_photo(path))


def open_photo(path: str | Path) -> Image.Image:
    """Open a photo, whose pixels are not decoded yet; its first frame, if there are several.

    Raises:
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    path = photo_path(path)
    with telling(path):
        _check_file(path)
        # Formats that this Pillow was built without are not known to it.
        Image.init()
        picture = Image.open(path, formats=[name for name in DECODERS if name in Image.OPEN])
        try:
            check_size(path, picture)
            picture.seek(0)
            if "exif" in picture.info:
                with suppress(Exception):  # it is read here, where its warnings are silenced
                    picture.getexif()
        except BaseException:
            picture.close()
            raise
        return picture


def photo_size(path: str | Path) -> PhotoSize:
    """Return how large a photo is when it is upright, without decoding it.

    Raises:
        MissingPhotoError, PhotoError: As `open_photo`.
    """
    with warnings.catch_warnings(action="ignore"), open_photo(path) as opened:
        return upright_size(opened)


def upright_size(picture: Image.Image) -> PhotoSize:
    """Return the size of a picture once it is turned as its Exif says."""
    try:
        turned = picture.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
    except Exception:  # as `_upright`: it stays as it is
        turned = False
    return PhotoSize(*(picture.size[::-1] if turned else picture.size))


#: What is no file, by the type that the system says it is.
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_file(path: Path) -> None:
    """Refuse what is no file that could be read twice, or holds nothing.

    Raises:
        PhotoError: It is.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        os.listdir(path)  # fails if it may not be read
        if not photos_inside(path):
            raise MissingPhotoError(no_photo_message(path))
        raise PhotoError(f"{str(path)!r} is a folder; one photo was expected.")
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise PhotoError(
            f"{str(path)!r} is {kind}; a file was expected. Save the photo as one first."
        )
    if found.st_size == 0:
        raise PhotoError(f"{str(path)!r} is empty (0 bytes); a picture was expected.")


def decoded(path: Path, opened: Image.Image) -> Image.Image:
    """Decode what was opened to 8-bit RGB, upright, and close the file."""
    try:
        with telling(path), opened:
            opened.load()
            upright = _upright(opened)
            return _rgb(path, upright)
    except PhotoError:
        opened.close()  # the error's traceback would keep its pixels
        raise


def silence_decoders() -> None:
    """Keep libtiff from writing to stderr itself: what it finds wrong is raised as an error, too.

    This holds for the whole process, so it is for one that is limelight's own.
    """
    with suppress(OSError, AttributeError):  # where Pillow was built without it, or holds it inside
        from PIL import _imaging

        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Tell as a PhotoError what is wrong with a photo, as Pillow tells it in many."""
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
        refused = _system_error(path, error)
        raise refused or PhotoError(
            f"{name} cannot be decoded: {error or type(error).__name__}. The file is "
            "damaged or cut short; save or download it again."
        ) from error


def _system_error(path: Path, error: Exception) -> PhotoError | None:
    """Return what the system has against a file; None when it is the decoder that complains."""
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
    """Return a picture turned as its Exif says, without a copy of one that is upright."""
    try:
        if picture.getexif().get(_ORIENTATION, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return picture


_ORIENTATION = 0x0112


_ON_ITS_SIDE = (5, 6, 7, 8)


def _rgb(path: Path, picture: Image.Image) -> Image.Image:
    """Return a picture in RGB, with no more than it and the result in memory."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _deep(path, picture)
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    laid = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        clear = picture.crop(box).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        laid.paste(Image.alpha_composite(white, clear).convert("RGB"), box)
    return laid


def _deep(path: Path, picture: Image.Image) -> Image.Image:
    """Bring 16-bit and floating point greys to 8 bits."""
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
