"""What a photo takes of memory, before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from limelight.errors import PhotoError

#: More pixels than this are taken for a decompression bomb (an honest photo has 50 million).
MAX_PIXELS = 150_000_000


#: So many bytes are spent on photos: on decoding one, or on all that are in work at a time.
PHOTO_BYTES = 1_200_000_000


class Sized(Protocol):
    """A photo, or what is as large as one."""

    @property
    def width(self) -> int:
        """Its width in pixels."""

    @property
    def height(self) -> int:
        """Its height in pixels."""


@dataclass(frozen=True, slots=True)
class PhotoSize:
    """How large a photo is, when its pixels are no longer needed."""

    width: int
    height: int

    @classmethod
    def of(cls, photo: Sized) -> PhotoSize:
        """Return the size of a photo."""
        return cls(photo.width, photo.height)


def is_large(taken: int) -> bool:
    """Say whether a photo leaves no room for another like it.

    It is then worked on in one thread alone: of others' memory, what is freed is kept for them.
    """
    return taken > PHOTO_BYTES / 2


def bytes_to_draw(photo: Sized) -> int:
    """Return how much a photo and a picture drawn of it take, in bytes."""
    return 8 * photo.width * photo.height


def bytes_to_decode(path: Path, picture: Image.Image) -> int:
    """Return how much it takes to decode what was opened, in bytes; found by measuring.

    A picture in RGB takes 4 bytes a pixel, and so does what it is converted from. Some decoders
    work on the whole of it besides.
    """
    pixels, bands = picture.width * picture.height, len(picture.getbands())
    most = 8 * pixels
    if picture.format == "WEBP":  # two canvases, what comes of them, and the picture
        most = 17 * pixels
    elif picture.format == "AVIF":  # frames of up to 16 bits, colours of them, and the picture
        most = 20 * pixels
    elif picture.format == "JPEG2000":  # two 32-bit integers for each value
        most = (4 + 6 * bands) * pixels
    elif picture.format in ("JPEG", "MPO") and picture.info.get("progressive"):
        # All coefficients, 16 bits each, of colours that may have fewer of them than pixels.
        factors = [h * v for _, h, v, _ in getattr(picture, "layer", ())] or [1] * bands
        most = max(most, round((4 + 2 * sum(factors) / max(factors)) * pixels))
    elif picture.format == "TIFF":
        most = max(most, 4 * pixels + _strip_bytes(picture) + path.stat().st_size)
    return most


def _strip_bytes(picture: Image.Image) -> int:
    """Return the size of a strip or tile of a TIFF, which its decoder holds as a whole."""
    tags = getattr(picture, "tag_v2", {})
    rows = min(int(tags.get(_STRIP_ROWS, picture.height)), picture.height)
    across = int(tags.get(_TILE_WIDTH, picture.width))
    bits = tags.get(_BITS, (8,))
    return across * int(tags.get(_TILE_ROWS, rows)) * sum(map(int, bits)) // 8


_BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_ROWS = 258, 278, 322, 323


#: Larger photos than this, after the resize, are not resized as a whole.
MAX_WHOLE_RESIZE = 64_000_000


def check_size(path: Path, picture: Image.Image) -> None:
    """Refuse a photo that is too large to decode.

    Raises:
        PhotoError: It has too many pixels, or its decoder takes too much memory.
    """
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"{str(path)!r} claims {width} x {height} = {width * height / 1e6:.0f} million pixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} million are decoded. Make it smaller first."
        )
    needed = bytes_to_decode(path, picture)
    if needed > PHOTO_BYTES:
        raise PhotoError(
            f"{str(path)!r} is a {picture.format} of {width} x {height} pixels, which takes "
            f"{needed / 1e9:.1f} GB to decode; at most {PHOTO_BYTES / 1e9:.1f} GB are spent on a "
            "photo. Make it smaller first, or save it as PNG or JPEG."
        )
