"""From a photo file that Pillow opens to an upright picture."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from limelight.errors import MissingPackageError, MissingPhotoError, PhotoError
from limelight.photos.deep import png_numbers, tiff_numbers, upright
from limelight.photos.files import DECODERS, no_photo_message, photo_path, photos_inside
from limelight.photos.memory import BY_TILES, PhotoSize, check_size
from limelight.photos.pieces import pieces
from limelight.photos.raster import Numbers, Photo, Raster, is_deep


def open_photo(path: str | Path) -> Image.Image:
    """Open a photo at its first frame, without decoding its pixels.

    Raises:
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    path = photo_path(path)
    with photo_errors(path):
        check_file(path)
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


def upright_size(picture: Image.Image) -> PhotoSize:
    """Return the size of a picture once it is turned as its Exif says."""
    return PhotoSize(
        *(picture.size[::-1] if _orientation(picture) in _ON_ITS_SIDE else picture.size)
    )


def _orientation(picture: Image.Image) -> int:
    """Return how the Exif of a picture says that it is turned, 1 to 8; 1 is upright."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return 1


#: The names of paths that are no files, by their type.
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path) -> None:
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


def decoded(path: Path, opened: Image.Image, channels: int | None, *, cut: bool) -> Photo:
    """Decode an opened photo, upright, and close the file.

    Pictures of 8 bits become RGB; deeper ones, and those of `channels` bands that are neither grey
    nor RGB, a `Raster`.

    Args:
        path: The file.
        opened: The photo.
        channels: How many channels the network takes; None if that is not known.
        cut: What `cut_to_8_bits` said before its pixels were decoded.
    """
    try:
        with photo_errors(path), opened:
            if cut:
                numbers = upright(_own_numbers(path, opened), _orientation(opened))
                return Raster.of(numbers, channels, repr(str(path)))
            if is_deep(opened) or (channels not in (None, 1, 3) and _bands(opened) == channels):
                opened.load()
                return Raster.of(_numbers(_upright(opened)), channels, repr(str(path)))
            opened.load()
            return _rgb(_upright(opened))
    except PhotoError:
        opened.close()  # the error's traceback would keep its pixels
        raise


def _numbers(picture: Image.Image) -> Numbers:
    """Return the numbers of a picture, copied in pieces: Pillow copies a whole one twice."""
    numbers: Numbers | None = None
    for left, top, right, bottom in pieces(*picture.size):
        part = np.asarray(picture.crop((left, top, right, bottom)))
        if numbers is None:
            shape = (picture.height, picture.width, *part.shape[2:])
            numbers = np.empty(shape, dtype=part.dtype)
        numbers[top:bottom, left:right] = part
    assert numbers is not None
    return numbers


def _bands(picture: Image.Image) -> int:
    """Return how many numbers a pixel has in the file."""
    return 1 if picture.mode == "P" else len(picture.getbands())


def _own_numbers(path: Path, opened: Image.Image) -> Numbers:
    """Return the colours of a picture in the numbers of its file."""
    return png_numbers(path.read_bytes()) if opened.format == "PNG" else tiff_numbers(path)


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
    except MissingPackageError as error:
        raise PhotoError(f"{name} cannot be read. {error}") from error
    except (FileNotFoundError, NotADirectoryError):
        raise MissingPhotoError(f"There is no file {name}.") from None
    except Image.DecompressionBombError:  # so large that Pillow does not even open it
        raise PhotoError(
            f"{name} claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million "
            f"pixels, as decompression bombs do. Make it smaller first, {BY_TILES}"
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
    if _orientation(picture) == 1:
        return picture
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return picture


_ORIENTATION = 0x0112


_ON_ITS_SIDE = (5, 6, 7, 8)


def _rgb(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB; no other whole picture is held in memory on the way."""
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    over_white = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        clear = picture.crop(box).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        over_white.paste(Image.alpha_composite(white, clear).convert("RGB"), box)
    return over_white
