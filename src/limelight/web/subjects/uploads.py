"""From the bytes of an upload to a photo: told by its content, never by its name, and bounded."""

from __future__ import annotations

import secrets
import tempfile
import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image

from limelight.errors import PhotoError
from limelight.photos.files import DECODERS
from limelight.photos.pictures import load_photo
from limelight.photos.raster import Photo
from limelight.plain import visible
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits

#: The suffix that `load_photo` expects of each format: it takes some formats by their suffix.
_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "GIF": ".gif",
    "BMP": ".bmp",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
    "PPM": ".ppm",
}

#: The most letters of a file's name that are kept.
_MOST_LETTERS = 80


def read_upload(data: bytes, name: str, limits: Limits, channels: int | None = None) -> Photo:
    """Decode an uploaded photo, as `load_photo` does, from its bytes.

    1. What format it is, is read from its content; only pictures are taken.
    2. Its size is known before any pixel is decoded.
    3. It is decoded from a file of a random name, which is deleted.

    Args:
        data: The bytes.
        name: What it is called in errors; it opens no file.
        limits: How large it may be.
        channels: How many channels the network takes; None for 1 or 3.

    Raises:
        Refusal: It is too large, or no picture.
        PhotoError: It is damaged.
    """
    if len(data) > limits.upload_bytes:
        raise Refusal("too-many-bytes", 413, most=f"{limits.upload_bytes / 1e6:.0f} MB")
    form, (width, height) = _told(data, name)
    if width * height > limits.pixels:
        sizes = {"given": f"{width * height / 1e6:.0f}", "most": f"{limits.pixels / 1e6:.0f}"}
        raise Refusal("too-many-pixels", 413, name=repr(name), **sizes)
    with tempfile.TemporaryDirectory(prefix="limelight-") as folder:
        path = Path(folder) / f"{secrets.token_hex(8)}{_SUFFIXES[form]}"
        path.write_bytes(data)
        try:
            return load_photo(path, channels=channels)
        except PhotoError as error:  # no path of this machine is told
            raise PhotoError(str(error).replace(repr(str(path)), repr(name))) from None


def shown_name(name: str) -> str:
    """Return the name of an uploaded file as it is shown: its last part, without odd characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return visible(last)[:_MOST_LETTERS] or "photo"


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
