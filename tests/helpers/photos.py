"""Photos of 8 bits, which are pictures of Pillow."""

from __future__ import annotations

from pathlib import Path

import PIL
import pytest
from PIL import Image

import limelight

#: For tests of TIFF files in YCbCr.
with_ycbcr_tiff = pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13,
    reason="Pillow before 13 takes a YCbCr TIFF, its own too, for one cut short",
)


def load_picture(path: str | Path) -> Image.Image:
    """Return a photo that is known to have 8 bits."""
    photo = limelight.load_photo(path)
    assert isinstance(photo, Image.Image)
    return photo
