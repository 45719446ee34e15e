"""From the bytes of an upload to a photo: told by its content, never by its name, and bounded."""

from __future__ import annotations

import secrets
import tempfile
import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image

from limelight.ahead import Room
from limelight.errors import PhotoError
from limelight.photos.files import DECODERS
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.pictures import open_picture
from limelight.photos.raster import Photo, Raster
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits

#: The suffix of the file that is decoded. It is that of no format, so that the content alone tells
#: what it is, and one picture is read of a file that holds a volume or a film.
_SUFFIX = ".picture"

#: The most scans of a JPEG: each refines the whole picture, and a byte or two of the file asks for
#: one more. Programs write at most a few tens.
_MOST_SCANS = 100

#: What begins a scan.
_SCAN = b"\xff\xda"

#: The bytes that photos may take that are decoded at the same time.
_DECODING = Room(PHOTO_BYTES)

#: The most letters of a file's name that are kept.
_MOST_LETTERS = 80


def read_upload(data: bytes, name: str, limits: Limits, channels: int | None = None) -> Photo:
    """Decode an uploaded photo, as `load_photo` does, from its bytes.

    1. What format it is, is read from its content; only pictures are taken.
    2. Its size, and what else may take long, is known before any pixel is decoded.
    3. It is decoded from a file of a random name, which is deleted; others wait if together they
       would take more memory than one photo may.
    4. Its pixels are kept, and nothing else of the file.

    Args:
        data: The bytes.
        name: What it is called in errors; it opens no file.
        limits: How large it may be.
        channels: How many channels the network takes; None for 1 or 3.

    Raises:
        Refusal: It is too large, or no picture.
        PhotoError: It takes too much memory to decode.
    """
    if len(data) > limits.upload_bytes:
        raise Refusal("too-many-bytes", 413, most=f"{limits.upload_bytes / 1e6:.0f} MB")
    form, (width, height) = _told(data, name)
    if width * height > limits.pixels:
        sizes = {"given": f"{width * height / 1e6:.0f}", "most": f"{limits.pixels / 1e6:.0f}"}
        raise Refusal("too-many-pixels", 413, name=repr(name), **sizes)
    if form in ("JPEG", "MPO") and (scans := data.count(_SCAN)) > _MOST_SCANS:
        raise Refusal("too-many-scans", 422, name=repr(name), given=scans, most=_MOST_SCANS)
    with tempfile.TemporaryDirectory(prefix="limelight-") as folder:
        path = Path(folder) / f"{secrets.token_hex(8)}{_SUFFIX}"
        path.write_bytes(data)
        try:
            opened = open_picture(path, channels)
        except PhotoError as error:  # no path of this machine is told
            told = str(error).replace(repr(str(path)), repr(name)).replace(str(path), name)
            raise PhotoError(told) from None
        taken = opened.bytes
        _DECODING.take(taken)
        try:
            return _pixels_of(opened.decode())
        except PhotoError:
            raise Refusal("damaged", 422, name=repr(name)) from None
        finally:
            opened.close()
            _DECODING.give(taken)


def _pixels_of(photo: Photo) -> Photo:
    """Return a photo without what its file holds besides: texts, profiles, and its name."""
    if isinstance(photo, Raster):
        return replace(photo, filename="")
    pixels = photo.copy() if type(photo) is not Image.Image else photo
    pixels.info = {}
    return pixels


def shown_name(name: str) -> str:
    """Return the name of an uploaded file as it is shown: its last part, in plain letters.

    Line breaks, marks that turn the direction of writing, and the like are left out.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(filter(str.isprintable, last)).strip()[:_MOST_LETTERS] or "photo"


def _told(data: bytes, name: str) -> tuple[str, tuple[int, int]]:
    """Return the format and the size that a picture's first bytes tell.

    Raises:
        Refusal: They are no picture's, or that of a bomb.
    """
    Image.init()
    known = [decoder for decoder in DECODERS if decoder in Image.OPEN]
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(BytesIO(data), formats=known) as picture:
                return str(picture.format), picture.size
        except Image.DecompressionBombError:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
            raise Refusal("bomb", 413, name=repr(name), most=f"{most:.0f}") from None
        except Exception:  # decoders raise nearly anything on damaged files
            raise Refusal("not-a-picture", 422, name=repr(name)) from None
