"""The numbers of pictures that Pillow would cut down to 8 bits, or does not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limelight.errors import PhotoError
from limelight.photos.memory import MAX_PIXELS, PhotoSize, check_bytes
from limelight.photos.raster import Numbers


def png_numbers(content: bytes) -> Numbers:
    """Return the colours of a 16-bit PNG, `[H, W]` or `[H, W, 3]`, laid over white."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    coded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    numbers = decode_png(coded, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    return over_white(numbers) if numbers.shape[-1] in (2, 4) else numbers


def over_white(numbers: Numbers) -> Numbers:
    """Lay unsigned colours `[H, W, C + 1]`, the last of which is how opaque, over white."""
    top = float(np.iinfo(numbers.dtype).max)
    opaque = numbers[..., -1:] / top
    mixed = numbers[..., :-1] * opaque + top * (1 - opaque)
    return mixed.round().astype(numbers.dtype)


def upright(numbers: Numbers, orientation: int) -> Numbers:
    """Return pixels `[H, W, ...]` turned as an Exif orientation says, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        numbers = numbers.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        numbers = numbers[:, ::-1]
    if orientation in (3, 4, 7, 8):
        numbers = numbers[::-1]
    return numbers


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_size(path: Path) -> tuple[PhotoSize, int]:
    """Return the size of a TIFF's first picture, and how many bytes it takes to decode it.

    Raises:
        PhotoError: It is too large.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        size, taken = PhotoSize(page.imagewidth, page.imagelength), 3 * page.nbytes
    advice = "Make it smaller first, or explain it with views=tiles()."
    check_bytes(path, "TIFF", size, taken, advice, pixels=MAX_PIXELS)
    return size, taken


def undecodable(path: Path, page: Any, error: Exception) -> Exception:
    """Return the error for a TIFF that tifffile cannot decode by itself; other errors stay."""
    import tifffile

    if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
        return error
    compression = tifffile.COMPRESSION(page.compression).name
    return PhotoError(
        f"{str(path)!r} is a TIFF compressed by {compression}, which is read only with the "
        "package imagecodecs: pip install imagecodecs, or save it without compression."
    )


def holds_opacity(page: Any) -> bool:
    """Return whether the last number of a TIFF's pixels is how opaque the unsigned others are."""
    import tifffile

    clear = tifffile.EXTRASAMPLE.UNASSALPHA in (page.extrasamples or ())
    return clear and page.dtype.kind == "u" and page.samplesperpixel in (2, 4)


def tiff_numbers(path: Path) -> Numbers:
    """Return the first picture of a TIFF, `[H, W]` or `[H, W, C]`, in the numbers of its file.

    A channel that says how opaque the others are is not among them: colours are laid over white.

    Raises:
        PhotoError: It is compressed in a way that is not read.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        try:
            numbers = page.asarray()
        except (ValueError, ImportError) as error:
            raise undecodable(path, page, error) from None
        separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        if numbers.ndim == 3 and separate and len(numbers) == page.samplesperpixel:
            numbers = np.moveaxis(numbers, 0, -1)
        return over_white(numbers) if holds_opacity(page) else numbers
