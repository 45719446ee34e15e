"""How a photo becomes the network's input, and which part of the photo the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.errors import OptionError, PhotoError
from limelight.photos.crops import (
    Box,
    CroppedPhoto,
    in_whole_pixels,
    name_of_file,
    same_proportions,
)
from limelight.photos.geometry import Geometry
from limelight.photos.memory import (
    MAX_PIXELS,
    MAX_WHOLE_RESIZE,
    PhotoSize,
    Sized,
    bytes_to_draw,
    bytes_to_hold,
)
from limelight.photos.raster import (
    Photo,
    Raster,
    ValueWindow,
    check_window,
    in_channels,
    in_own_numbers,
)
from limelight.photos.volume_sizes import cut_or_padded, margin, resized_volume

if TYPE_CHECKING:
    from torch import Tensor

#: Numbers of an input, and of what it is made from.
_Floats = npt.NDArray[np.float32]

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

    A `Raster` is scaled first, `(x - low) / (high - low)` limited to [0, 1], and then resized in
    32-bit floating point by the same filters. A volume is resized along all three axes.

    Attributes:
        size: Height and width of the input, in pixels; depth, height and width of a volume; None
            for the whole resized photo.
        resize: The shorter side of the photo before the crop; or height and width, which may change
            its proportions; or depth, height and width of a volume; None for the photo as it is.
        longest: The limit for the longer side, when `resize` is a shorter side.
        mean: Per channel, in [0, 1]: as many as the network takes, one for grey and three for RGB.
        std: Per channel, in [0, 1].
        interpolation: `bilinear`, `bicubic`, `lanczos` or `nearest`.
        window: The centre and the width of the numbers that become 0 to 1; None for the span of
            the photo: its lowest to its highest number, but 0 to 255 for 8 bits, and 0 to 1 for
            floats between them.
    """

    size: tuple[int, ...] | None = (224, 224)
    resize: int | tuple[int, ...] | None = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    longest: int | None = None
    window: ValueWindow | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            OptionError: They do not make sense.
        """
        for name in ("size", "resize"):
            value = getattr(self, name)
            several = isinstance(value, list | tuple) and len(value) in (2, 3)
            if value is not None and not several and (name == "size" or not isinstance(value, int)):
                raise OptionError(
                    f"{name} is {value!r}; height and width were expected, as in (224, 224)"
                    + (", or the shorter side." if name == "resize" else ".")
                )
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize or ()
        if min(*(self.size or ()), *sides, self.longest or 1, 1) < 1:
            raise OptionError(f"Cannot resize to {self.resize} and crop to {self.size}: too small.")
        if self.takes_volumes and (isinstance(self.resize, int) or len(self.resize or ()) == 2):
            raise OptionError(
                f"size is {self.size} and resize {self.resize}; depth, height and width were "
                "expected of both, or None."
            )
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise OptionError(
                f"The mean is {self.mean} and the standard deviation {self.std}; one value each "
                "(grey), three (RGB), or one for each channel was expected, and positive "
                "deviations."
            )
        if max(map(abs, self.mean)) > 1 or max(self.std) > 1:
            raise OptionError(
                f"The mean is {self.mean} and the standard deviation {self.std}; pixels are scaled "
                "to 0..1 before, so they were expected in that range. Divide them by 255."
            )
        if self.window is not None:
            check_window(self.window)

    @property
    def takes_volumes(self) -> bool:
        """Whether the input is a volume `[C, D, H, W]`, not a picture `[C, H, W]`."""
        axes = (self.size, self.resize)
        return any(isinstance(each, list | tuple) and len(each) == 3 for each in axes)

    @property
    def frames(self) -> int | None:
        """How many frames of a video become the input; None for pictures, and for all frames."""
        return self.resize[0] if self.takes_volumes and isinstance(self.resize, tuple) else None

    def uncropped(self) -> Preprocess:
        """Return one that shows the whole photo: resized to the input's size, and not cropped."""
        if self.size is None:
            return self
        return replace(self, resize=self.size, longest=None)

    @property
    def channels(self) -> int:
        """How many channels the input has."""
        return len(self.mean)

    def __call__(self, photo: Photo) -> Tensor:
        """Return the input `[C, H, W]`, or `[C, D, H, W]`; torch.stack makes a batch of several.

        Raises:
            PhotoError: As `array`.
        """
        import torch

        return torch.from_numpy(self.array(photo))

    def array(self, photo: Photo) -> npt.NDArray[np.float32]:
        """Return the input as an array, without torch.

        Raises:
            PhotoError: The photo is so thin that its resized form would be huge; it has other
                channels than the network takes; or it is a volume and the network takes pictures,
                or the reverse.
        """
        photo = in_own_numbers(photo)
        self._check_axes(photo)
        if self.takes_volumes:
            assert isinstance(photo, Raster)
            scaled = self._of_volume(photo)
        else:
            scaled = self._of_picture(photo)
        axes = [1] * (scaled.ndim - 1)
        mean, std = (
            np.array(numbers, dtype=np.float32).reshape(-1, *axes)
            for numbers in (self.mean, self.std)
        )
        scaled -= mean  # in place: an input may be large
        scaled /= std
        return scaled

    def _check_axes(self, photo: Photo) -> None:
        """Refuse a volume where pictures are taken, and the reverse."""
        depth = photo.depth if isinstance(photo, Raster) else None
        if depth is not None and not self.takes_volumes:
            raise PhotoError(
                f"The photo is a volume of {depth} slices of {photo.width} x {photo.height} "
                "pixels, and the network takes pictures. Pass one slice, volume.slice(0), or for a "
                "network of volumes a Preprocess with three sizes, (depth, height, width)."
            )
        if depth is None and self.takes_volumes:
            raise PhotoError(
                f"The photo is a picture of {photo.width} x {photo.height} pixels, and the network "
                f"takes volumes, {self.size or self.resize}. Pass an array [D, H, W]."
            )

    def _of_picture(self, photo: Photo) -> _Floats:
        """Return a picture resized, cropped and scaled to [0, 1], `[C, H, W]`."""
        width, height = self._resized(photo)
        if width * height > MAX_PIXELS:
            raise PhotoError(
                f"A photo of {photo.width} x {photo.height} pixels is too thin: resized so "
                f"that its shorter side has {self.resize}, it is {width} x {height}. Crop it first."
            )
        mode = _PICTURE_MODES.get(self.channels)
        if isinstance(photo, Image.Image) and self.window is None and mode is not None:
            whole = photo if photo.mode == mode else photo.convert(mode)
            seen = self._seen(whole, (width, height))
            pixels = np.array(seen).reshape(seen.height, seen.width, -1).astype(np.float32)
            pixels /= 255
            return pixels.transpose(2, 0, 1)
        scaled = in_channels(_as_raster(photo).scaled(self.window), self.channels)
        bands = (Image.fromarray(scaled[..., channel]) for channel in range(self.channels))
        seen_bands = [np.array(self._seen(band, (width, height))) for band in bands]
        # Filters such as bicubic overshoot, which 8 bits cut off.
        return _limited(np.stack(seen_bands))

    def _seen(self, whole: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return a picture resized to a size and cropped; a larger crop has a black border."""
        filter_ = _FILTERS[self.interpolation]
        width, height = size
        left, top, right, bottom = self._box(width, height)
        if size == whole.size:
            return whole.crop((left, top, right, bottom))
        if width * height <= MAX_WHOLE_RESIZE:
            return whole.resize(size, filter_).crop((left, top, right, bottom))
        # Only the part of so large a photo that is seen is resized.
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        across, down = whole.width / width, whole.height / height
        inner = (x1 * across, y1 * down, x2 * across, y2 * down)
        part = whole.resize((x2 - x1, y2 - y1), filter_, box=inner)
        return part.crop((left - x1, top - y1, right - x1, bottom - y1))

    def _of_volume(self, volume: Raster) -> _Floats:
        """Return a volume resized, cropped or padded with 0, scaled to [0, 1], `[C, D, H, W]`."""
        scaled = in_channels(volume.scaled(self.window), self.channels)
        target = tuple(scaled.shape[:3]) if self.resize is None else self.resize
        assert isinstance(target, tuple)
        filter_ = _FILTERS[self.interpolation]
        channels = [resized_volume(scaled[..., c], target, filter_) for c in range(self.channels)]
        resized = _limited(np.stack(channels))
        if self.size is None:
            return resized
        return cut_or_padded(resized, self.size)

    def picture(self, image: Tensor) -> Image.Image:
        """Return a network's input `[C, H, W]` as a picture: `x * std + mean`, in 8 bits."""
        import torch

        mean, std = (
            torch.tensor(numbers, dtype=torch.float32, device="cpu").reshape(-1, 1, 1)
            for numbers in (self.mean, self.std)
        )
        pixels = image.detach().float().cpu() * std + mean
        shown = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        return Raster.of(shown, self.channels).picture()

    def crop(self, photo: Photo) -> CroppedPhoto:
        """Return a photo, to be looked at, with the box of it that becomes the network's input."""
        name, box = name_of_file(photo), self.crop_box(photo)
        photo = in_own_numbers(photo)
        if isinstance(photo, Raster) or self.window is not None:
            raster = _as_raster(photo)
            return CroppedPhoto(raster.picture(self.window), box, name, raster.geometry)
        return CroppedPhoto(photo, box, name)

    def geometry(self, photo: Photo) -> Geometry | None:
        """Return the size of the pixels of the input, and how it lies in the body, if known."""
        geometry = photo.geometry if isinstance(photo, Raster) else None
        width, height = self._resized(photo)
        return geometry and geometry.enlarged(height / photo.height, width / photo.width)

    def volume_box(self, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return where the input begins and ends along each axis of a volume `[D, H, W]`.

        In voxels of the volume, rounded; the box reaches past the volume where the input does.
        """
        resized = self.resize if isinstance(self.resize, tuple) else tuple(shape)
        size = self.size or resized
        starts = map(margin, resized, size)
        return tuple(
            (round(start * length / whole), round((start + part) * length / whole))
            for start, part, whole, length in zip(starts, size, resized, shape, strict=True)
        )

    def crop_box(self, photo: Sized) -> Box:
        """Return left, top, right and bottom of what becomes the input, in pixels of the photo.

        The exact inverse of resize and crop, so the edges may lie inside pixels. The box is larger
        than the photo where the crop is larger than the resized photo.
        """
        width, height = self._resized(photo)
        across, down = photo.width / width, photo.height / height
        left, top, right, bottom = self._box(width, height)
        return left * across, top * down, right * across, bottom * down

    def view(self, photo: Photo) -> Image.Image:
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
        return (height, width) if self.size is None else (self.size[-2], self.size[-1])

    def _resized(self, photo: Sized) -> tuple[int, int]:
        """Return the width and height of the whole photo before the crop."""
        if self.resize is None:
            return photo.width, photo.height
        if not isinstance(self.resize, int):
            return self.resize[-1], self.resize[-2]
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
        import torch

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
        left, top = margin(width, self.size[-1]), margin(height, self.size[-2])
        return left, top, left + self.size[-1], top + self.size[-2]


def _as_raster(photo: Photo) -> Raster:
    """Return a photo in numbers."""
    return photo if isinstance(photo, Raster) else Raster.of(np.asarray(photo))


def bytes_of_input(preprocess: Preprocess, photo: Sized) -> int:
    """Return how many bytes a network's input for a photo takes, while it is made or used.

    32-bit floats of three channels take 12 bytes a pixel; the arrays that they are made from take
    11, and later the heatmap is kept beside them.
    """
    height, width = preprocess.input_size(photo)
    return 8 * max(3, preprocess.channels) * height * width


def bytes_to_draw_on(preprocess: Preprocess, photo: Sized) -> int:
    """Return how many bytes it takes to draw on a photo, or on the part that the network saw.

    The whole photo is held meanwhile.
    """
    whole, view = PhotoSize.of(photo), preprocess.view_size(photo)
    if view == whole:
        return bytes_to_draw(whole)
    return max(bytes_to_draw(whole), bytes_to_hold(whole) + bytes_to_draw(view))


def _limited(scaled: _Floats) -> _Floats:
    """Limit numbers to [0, 1], in place."""
    return np.clip(scaled, 0, 1, out=scaled)
