"""A photo, and the box of it that became the network's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.photos.geometry import Geometry
from limelight.photos.memory import PhotoSize, Sized
from limelight.photos.pieces import pieces

if TYPE_CHECKING:
    from torch import Tensor

#: Left, top, right and bottom of a part of a photo, in its pixels.
Box = tuple[float, float, float, float]


#: How many pixels are cropped from a photo at a time; Pillow warns of larger crops.
_CROP_PIXELS = 16_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CroppedPhoto:
    """A photo, and the box of it that became the network's input.

    Attributes:
        photo: The whole photo.
        box: Left, top, right and bottom of what became the input, in pixels of the photo. The box
            is larger than the photo where the crop is: the rest of the input is a black border.
        name: The name of its file, for titles; "" when it is not known.
        geometry: The size of the photo's pixels, and how it lies in the body; None if not known.
        original: The size of the photo in its file, where `photo` is the same reduced, as that of a
            picture explained by tiles; None where it is not.
    """

    photo: Image.Image
    box: Box
    name: str = ""
    geometry: Geometry | None = None
    original: PhotoSize | None = None

    @classmethod
    def uncropped(cls, photo: Image.Image, name: str = "") -> CroppedPhoto:
        """Return a photo that became the input as a whole."""
        return cls(photo, (0, 0, photo.width, photo.height), name)

    def as_view(self) -> CroppedPhoto:
        """Return the part that the network saw as a photo of its own."""
        return replace(CroppedPhoto.uncropped(self.view(), self.name), geometry=self.geometry)

    @property
    def original_size(self) -> PhotoSize:
        """The size of the photo in its file."""
        return self.original or PhotoSize.of(self.photo)

    @property
    def original_box(self) -> Box:
        """The box in pixels of the photo in its file."""
        size, (left, top, right, bottom) = self.original_size, self.box
        across, down = size.width / self.photo.width, size.height / self.photo.height
        return left * across, top * down, right * across, bottom * down

    @property
    def view_box(self) -> tuple[int, int, int, int]:
        """The box in whole pixels, at least one of them."""
        return in_whole_pixels(self.box)

    @property
    def view_size(self) -> PhotoSize:
        """The size of the part that the network saw."""
        left, top, right, bottom = self.view_box
        return PhotoSize(right - left, bottom - top)

    @property
    def all_seen(self) -> bool:
        """Whether the photo became the input as a whole."""
        return self.view_box == (0, 0, self.photo.width, self.photo.height)

    def view(self) -> Image.Image:
        """Return the part of the photo that the network saw, at the photo's own resolution."""
        if self.all_seen:
            return self.photo
        left, top, right, bottom = self.view_box
        size = right - left, bottom - top
        if size[0] * size[1] <= _CROP_PIXELS:
            return self.photo.crop((left, top, right, bottom))
        seen = Image.new(self.photo.mode, size)
        if self.photo.mode == "P":
            seen.putpalette(self.photo.getpalette() or [])
        for x1, y1, x2, y2 in pieces(*size, _CROP_PIXELS):
            seen.paste(self.photo.crop((left + x1, top + y1, left + x2, top + y2)), (x1, y1))
        return seen

    def seen(self) -> Tensor:
        """Return which pixels of the photo the network saw, `[H, W]`."""
        import torch

        return torch.from_numpy(self.seen_array())

    def seen_array(self) -> npt.NDArray[np.bool_]:
        """Return the same as an array, without torch."""
        mask = np.zeros((self.photo.height, self.photo.width), dtype=np.bool_)
        left, top, right, bottom = (max(0, edge) for edge in self.view_box)
        mask[top:bottom, left:right] = True
        return mask

    def on(self, photo: Image.Image) -> CroppedPhoto:
        """Return the same part of the same photo at another size."""
        across, down = photo.width / self.photo.width, photo.height / self.photo.height
        left, top, right, bottom = self.box
        geometry = self.geometry and self.geometry.enlarged(down, across)
        box = left * across, top * down, right * across, bottom * down
        return replace(self, photo=photo, box=box, geometry=geometry)

    def reduced(self, longest: int) -> CroppedPhoto:
        """Return the photo in RGB or grey, its longer side no longer than about `longest` pixels.

        The photo is reduced by an integer, to less than twice that length.
        """
        factor = max(1, max(self.photo.size) // longest)
        photo = self.photo if self.photo.mode in ("RGB", "L") else self.photo.convert("RGB")
        if factor == 1:
            return replace(self, photo=photo)
        left, top, right, bottom = (edge / factor for edge in self.box)
        box = (left, top, right, bottom)
        geometry = self.geometry and self.geometry.enlarged(1 / factor, 1 / factor)
        return replace(self, photo=photo.reduce(factor), box=box, geometry=geometry)


def name_of_file(photo: object) -> str:
    """Return the name of the file that a photo was read from; "" if it is not known."""
    return Path(str(getattr(photo, "filename", ""))).name


def in_whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """Return a box in whole pixels, at least one of them."""
    left, top, right, bottom = map(round, box)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def same_proportions(size: Sized, other: Sized) -> bool:
    """Return whether two pictures have the same proportions, but for rounding to pixels."""
    gap = abs(size.width * other.height - other.width * size.height)
    return gap <= max(size.width, size.height, other.width, other.height)
