"""How much memory a photo takes, known before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from limelight.errors import PhotoError
from limelight.photos.raster import cut_to_8_bits, is_deep

#: More pixels than this are taken for a decompression bomb (a large photo has 50 million).
MAX_PIXELS = 150_000_000


#: The most bytes spent on photos: on decoding one, or on all that are in work at a time.
PHOTO_BYTES = 1_200_000_000


#: How a picture of any size can be explained, for errors.
BY_TILES = "or save it as TIFF and explain it with views=tiles()."


class Sized(Protocol):
    """A photo, or the size of one."""

    @property
    def width(self) -> int:
        """Its width in pixels."""

    @property
    def height(self) -> int:
        """Its height in pixels."""


@dataclass(frozen=True, slots=True)
class PhotoSize:
    """The size of a photo, without its pixels.

    Attributes:
        width, height: In pixels.
    """

    width: int
    height: int

    @classmethod
    def of(cls, photo: Sized) -> PhotoSize:
        """Return the size of a photo."""
        return cls(photo.width, photo.height)


def is_large(taken: int) -> bool:
    """Return whether a photo takes so many bytes that a second one like it would not fit.

    It is then worked on in the caller's thread: memory that is freed in another thread may stay
    reserved for that thread.
    """
    return taken > PHOTO_BYTES / 2


def bytes_to_hold(photo: Sized) -> int:
    """Return how many bytes a photo takes."""
    return 4 * photo.width * photo.height


def bytes_to_draw(photo: Sized) -> int:
    """Return how many bytes a photo and a picture drawn on it take."""
    return 2 * bytes_to_hold(photo)


def bytes_to_decode(path: Path, picture: Image.Image) -> int:
    """Return how many bytes it takes to decode an opened photo; the numbers were measured.

    A picture in RGB takes 4 bytes a pixel, and so does the picture that it is converted from. Some
    decoders hold the whole picture besides.
    """
    pixels, bands = picture.width * picture.height, len(picture.getbands())
    most = 8 * pixels
    if picture.format == "WEBP":  # two canvases, their result, and the picture
        most = 17 * pixels
    elif picture.format == "AVIF":  # frames of up to 16 bits, their colours, and the picture
        most = 20 * pixels
    elif picture.format == "JPEG2000":  # two 32-bit integers for each value
        most = (4 + 6 * bands) * pixels
    elif picture.format in ("JPEG", "MPO") and picture.info.get("progressive"):
        # All coefficients, 16 bits each; a colour may have fewer coefficients than pixels.
        factors = [h * v for _, h, v, _ in getattr(picture, "layer", ())] or [1] * bands
        most = max(most, round((4 + 2 * sum(factors) / max(factors)) * pixels))
    elif picture.format == "TIFF":
        most = max(most, 4 * pixels + _strip_bytes(picture) + path.stat().st_size)
    if is_deep(picture) or cut_to_8_bits(picture):  # the numbers, and the same in 64 bits
        most = max(most, 16 * bands * pixels)
    return most


def _strip_bytes(picture: Image.Image) -> int:
    """Return the bytes of a strip or tile of a TIFF, which its decoder holds as a whole."""
    tags = getattr(picture, "tag_v2", {})
    rows = min(int(tags.get(_STRIP_ROWS, picture.height)), picture.height)
    across = int(tags.get(_TILE_WIDTH, picture.width))
    bits = tags.get(_BITS, (8,))
    return across * int(tags.get(_TILE_ROWS, rows)) * sum(map(int, bits)) // 8


#: The numbers of TIFF tags.
_BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_ROWS = 258, 278, 322, 323


#: The most pixels of a resized photo; of a larger one only the part that is seen is resized.
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
            f"at most {MAX_PIXELS / 1e6:.0f} million are decoded. Make it smaller first, {BY_TILES}"
        )
    advice = f"Make it smaller first, or save it as PNG or JPEG; {BY_TILES}"
    check_bytes(path, str(picture.format), picture, bytes_to_decode(path, picture), advice)


def check_bytes(
    path: Path,
    kind: str,
    size: Sized,
    needed: int,
    advice: str = "Make it smaller first.",
    *,
    pixels: int | None = None,
) -> None:
    """Refuse a picture that takes too much memory to decode.

    Args:
        path: The file.
        kind: What it is, for the error.
        size: The size of the picture.
        needed: The bytes that it takes.
        advice: What to do instead.
        pixels: The most pixels that it may have; None for any.

    Raises:
        PhotoError: It takes more than `PHOTO_BYTES`, or has more pixels.
    """
    many = pixels is not None and size.width * size.height > pixels
    if many or needed > PHOTO_BYTES:
        raise PhotoError(
            f"{str(path)!r} is a {kind} of {size.width} x {size.height} pixels, which takes "
            f"{needed / 1e9:.1f} GB to decode; at most {PHOTO_BYTES / 1e9:.1f} GB are spent on a "
            f"photo. {advice}"
        )
