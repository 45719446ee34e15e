"""How a photo becomes the network's input, and which part of the photo the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limelight.errors import OptionError, PhotoError
from limelight.photos.crops import (
    Box,
    CroppedPhoto,
    in_whole_pixels,
    name_of_file,
    same_proportions,
)
from limelight.photos.memory import (
    MAX_PIXELS,
    MAX_WHOLE_RESIZE,
    PhotoSize,
    Sized,
    bytes_to_draw,
    bytes_to_hold,
)

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_PICTURE_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a photo becomes a network's input, and which part of the photo the network sees.

    The photo is resized, cropped at its centre to `size`, scaled to [0, 1] and normalised:
    `(x - mean) / std` per channel. The steps and their rounding are torchvision's and timm's. Only
    a photo so thin that it has over 64 million pixels when resized is cropped first, which rounds
    differently.

    Attributes:
        size: Height and width of the input, in pixels; None for the whole resized photo.
        resize: The shorter side of the photo before the crop; or height and width, which may change
            its proportions; None for the photo as it is.
        longest: The limit for the longer side, when `resize` is a shorter side.
        mean: Per channel, in [0, 1]; one for a grey input, three for RGB.
        std: Per channel, in [0, 1].
        interpolation: `bilinear`, `bicubic`, `lanczos` or `nearest`.
    """

    size: tuple[int, int] | None = (224, 224)
    resize: int | tuple[int, int] | None = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    longest: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            OptionError: They do not make sense.
        """
        for name in ("size", "resize"):
            value = getattr(self, name)
            pair = isinstance(value, list | tuple) and len(value) == 2
            if value is not None and not pair and (name == "size" or not isinstance(value, int)):
                raise OptionError(
                    f"{name} is {value!r}; height and width were expected, as in (224, 224)"
                    + (", or the shorter side." if name == "resize" else ".")
                )
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize or ()
        if min(*(self.size or ()), *sides, self.longest or 1, 1) < 1:
            raise OptionError(f"Cannot resize to {self.resize} and crop to {self.size}: too small.")
        if (
            len(self.mean) != len(self.std)
            or len(self.mean) not in _PICTURE_MODES
            or min(self.std) <= 0
        ):
            raise OptionError(
                f"The mean is {self.mean} and the standard deviation {self.std}; one value each "
                "(grey) or three (RGB) were expected, and positive deviations."
            )
        if max(map(abs, self.mean)) > 1 or max(self.std) > 1:
            raise OptionError(
                f"The mean is {self.mean} and the standard deviation {self.std}; pixels are scaled "
                "to 0..1 before, so they were expected in that range. Divide them by 255."
            )

    def __call__(self, photo: Image.Image) -> Tensor:
        """Return the network's input `[C, H, W]`; torch.stack makes a batch of several.

        Raises:
            PhotoError: The photo is so thin that its resized form would be huge.
        """
        width, height = self._resized(photo)
        if width * height > MAX_PIXELS:
            raise PhotoError(
                f"A photo of {photo.width} x {photo.height} pixels is too thin: resized so "
                f"that its shorter side has {self.resize}, it is {width} x {height}. Crop it first."
            )
        seen = self._seen(photo, (width, height))
        pixels = (
            torch.from_numpy(np.array(seen)).reshape(seen.height, seen.width, -1).permute(2, 0, 1)
        )
        mean, std = (_by_channel(v) for v in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std)  # in place: an input may be large

    def _seen(self, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return the photo resized to a size and cropped; a larger crop has a black border."""
        mode, filter_ = _PICTURE_MODES[len(self.mean)], _FILTERS[self.interpolation]
        whole = photo if photo.mode == mode else photo.convert(mode)
        width, height = size
        left, top, right, bottom = self._box(width, height)
        if size == photo.size:
            return whole.crop((left, top, right, bottom))
        if width * height <= MAX_WHOLE_RESIZE:
            return whole.resize(size, filter_).crop((left, top, right, bottom))
        # Only the part of so large a photo that is seen is resized.
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        across, down = photo.width / width, photo.height / height
        inner = (x1 * across, y1 * down, x2 * across, y2 * down)
        part = whole.resize((x2 - x1, y2 - y1), filter_, box=inner)
        return part.crop((left - x1, top - y1, right - x1, bottom - y1))

    def picture(self, image: Tensor) -> Image.Image:
        """Return a network's input `[C, H, W]` as a picture: `x * std + mean`, in 8 bits."""
        mean, std = (_by_channel(v) for v in (self.mean, self.std))
        pixels = image.detach().float().cpu() * std + mean
        shown = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        return Image.fromarray(shown.squeeze(-1) if len(self.mean) == 1 else shown).convert("RGB")

    def crop(self, photo: Image.Image) -> CroppedPhoto:
        """Return a photo with the box of it that becomes the network's input."""
        return CroppedPhoto(photo, self.crop_box(photo), name_of_file(photo))

    def crop_box(self, photo: Sized) -> Box:
        """Return left, top, right and bottom of what becomes the input, in pixels of the photo.

        The exact inverse of resize and crop, so the edges may lie inside pixels. The box is larger
        than the photo where the crop is larger than the resized photo.
        """
        width, height = self._resized(photo)
        across, down = photo.width / width, photo.height / height
        left, top, right, bottom = self._box(width, height)
        return left * across, top * down, right * across, bottom * down

    def view(self, photo: Image.Image) -> Image.Image:
        """Return the part of the photo that the network saw, at the photo's own resolution."""
        return self.crop(photo).view()

    def view_size(self, photo: Sized) -> PhotoSize:
        """Return the size of the view of a photo, without cropping it."""
        left, top, right, bottom = in_whole_pixels(self.crop_box(photo))
        return PhotoSize(right - left, bottom - top)

    def bytes_to_resize(self, photo: Sized) -> int:
        """Return how many bytes a photo takes resized, and resized along one side only."""
        width, height = self._resized(photo)
        if (width, height) == (photo.width, photo.height):
            return 0
        if width * height > MAX_WHOLE_RESIZE:  # only the part that is seen is resized
            seen = self.input_size(photo)
            width, height = min(width, seen[1]), min(height, seen[0])
        return 4 * width * (height + photo.height)

    def input_size(self, photo: Sized) -> tuple[int, int]:
        """Return height and width of the network's input for a photo, without making it."""
        width, height = self._resized(photo)
        return self.size or (height, width)

    def _resized(self, photo: Sized) -> tuple[int, int]:
        """Return the width and height of the whole photo before the crop."""
        if self.resize is None:
            return photo.width, photo.height
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        shorter, (low, high) = self.resize, sorted((photo.width, photo.height))
        if self.longest is not None and shorter * high > self.longest * low:
            shorter = max(1, round(self.longest * low / high))
        if photo.width <= photo.height:
            return shorter, int(shorter * photo.height / photo.width)
        return int(shorter * photo.width / photo.height), shorter

    def point(self, photo: Sized, x: float, y: float) -> tuple[float, float]:
        """Return where a point of a photo lies in the network's input, both in pixels."""
        width, height = self._resized(photo)
        left, top, _, _ = self._box(width, height)
        return x * width / photo.width - left, y * height / photo.height - top

    def mask(self, photo: Sized, mask: Image.Image) -> Tensor:
        """Return which pixels of the network's input a mask over a photo marks, `[H, W]`.

        The mask goes with the whole photo, at any size; what is not black is marked.

        Raises:
            PhotoError: Its proportions are not those of the photo.
        """
        if not same_proportions(mask, photo):
            raise PhotoError(
                f"The mask is {mask.width} x {mask.height} pixels and its photo {photo.width} x "
                f"{photo.height}; the same proportions were expected."
            )
        width, height = self._resized(photo)
        marked = mask.convert("L").point(lambda value: 255 * (value > 0))
        shrunk = marked.resize((width, height), Image.Resampling.BOX)
        shares = np.asarray(shrunk.crop(self._box(width, height)))
        # A pixel is marked when half of it is; any part marks it where the mask is too thin.
        inside = torch.from_numpy(shares >= 128)
        return inside if inside.any() else torch.from_numpy(shares > 0)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of the centre crop in a resized photo."""
        if self.size is None:
            return 0, 0, width, height
        left, top = _margin(width, self.size[1]), _margin(height, self.size[0])
        return left, top, left + self.size[1], top + self.size[0]


def bytes_of_input(preprocess: Preprocess, photo: Sized) -> int:
    """Return how many bytes a network's input for a photo takes, while it is made or used.

    32-bit floats of three channels take 12 bytes a pixel; the arrays that they are made from take
    11, and later the heatmap is kept beside them.
    """
    height, width = preprocess.input_size(photo)
    return 24 * height * width


def bytes_to_draw_on(preprocess: Preprocess, photo: Sized) -> int:
    """Return how many bytes it takes to draw on a photo, or on the part that the network saw.

    The whole photo is held meanwhile.
    """
    whole, view = PhotoSize.of(photo), preprocess.view_size(photo)
    if view == whole:
        return bytes_to_draw(whole)
    return max(bytes_to_draw(whole), bytes_to_hold(whole) + bytes_to_draw(view))


def _by_channel(numbers: Sequence[float]) -> Tensor:
    """Return a number for each channel, `[C, 1, 1]`."""
    return torch.tensor(numbers, dtype=torch.float32, device="cpu").reshape(-1, 1, 1)


def _margin(whole: int, part: int) -> int:
    """Return where a centred part begins; negative when the part is larger than the whole."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
