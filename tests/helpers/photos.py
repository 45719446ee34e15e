"""Photos of 8 bits, which are pictures of Pillow."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import limelight


def load_picture(path: str | Path) -> Image.Image:
    """Return a photo that is known to have 8 bits."""
    photo = limelight.load_photo(path)
    assert isinstance(photo, Image.Image)
    return photo
