"""The part of each photo that the network saw, as a small picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from limelight.photos.pictures import load_photo
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo


def load_local(photo: str, preprocess: Preprocess) -> Photo:
    """Decode a photo by the path that its row has."""
    return load_photo(Path(photo), channels=preprocess.channels, frames=preprocess.frames)


@dataclass(frozen=True)
class PhotoViews:
    """The part of each photo that the network saw.

    Attributes:
        preprocess: How a photo became the network's input.
        load: Decodes a photo by the path or URL in its row.
    """

    preprocess: Preprocess
    load: Callable[[str, Preprocess], Photo] = load_local

    def view(self, photo: str, side: int) -> Image.Image:
        """Return what the network saw of a photo, in RGB, its longer side at most `side` pixels.

        Its proportions are those of the photo: a preprocessing that squeezes is undone.

        Raises:
            PhotoError: The photo cannot be read any more.
        """
        seen = view_of(self.load(photo, self.preprocess), self.preprocess)
        seen.thumbnail((side, side), Image.Resampling.LANCZOS)
        return seen


def view_of(photo: Photo, preprocess: Preprocess) -> Image.Image:
    """Return what the network sees of a decoded photo, in RGB."""
    return preprocess.crop(photo).view().convert("RGB")
