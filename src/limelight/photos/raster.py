"""Pictures in numbers: of more than 8 bits, or of other channels than grey and RGB; volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.errors import OptionError, PhotoError
from limelight.photos.geometry import Geometry, Sides

Numbers = npt.NDArray[Any]

#: The centre and the width of the numbers that are spread over 0..1.
ValueWindow = tuple[float, float]

#: Below so many values along the last or the first axis, that axis holds colours.
_COLOURS = (1, 3, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """A picture or a volume in the numbers of its file, which do not go through 8 bits.

    Attributes:
        values: `[H, W, C]`, or `[D, H, W, C]` for a volume.
        span: The lowest and the highest number, which become 0 and 1 where no window is given.
        spacing: The distance between pixels in millimetres along each axis of the picture; None
            where it is not known.
        sides: What of the body lies at the left, right, top and bottom of the picture, or of each
            slice: R, L, A, P, S or I; None where it is not known.
        inverted: Whether low numbers are bright.
        filename: The file that it was read from; "" for an array.
    """

    values: Numbers
    span: tuple[float, float]
    spacing: tuple[float, ...] | None = None
    sides: Sides | None = None
    inverted: bool = False
    filename: str = ""

    @classmethod
    def of(cls, values: Numbers, channels: int | None = None, name: str = "The array") -> Raster:
        """Return an array as a picture or a volume.

        Args:
            values: `[H, W]`, `[H, W, C]`, `[C, H, W]`, `[D, H, W]`, `[D, H, W, C]` or
                `[C, D, H, W]`. The colours are the axis, first or last, that is as long as
                `channels`; else the one of 1, 3 or 4 values.
            channels: How many channels the network takes; None if that is not known.
            name: How an error calls the array.

        Raises:
            PhotoError: It holds no numbers, none at all, NaN or infinity, or has other axes.
        """
        values = cls.laid_out(values, channels, name)
        return cls(values, span_of(values, name))

    @staticmethod
    def laid_out(values: Numbers, channels: int | None = None, name: str = "The array") -> Numbers:
        """Return an array as `[H, W, C]` or `[D, H, W, C]`, without reading its values.

        Raises:
            PhotoError: As `of`.
        """
        return _channels_last(_checked(values, name), channels)

    @property
    def depth(self) -> int | None:
        """How many slices it has; None for a picture."""
        return self.values.shape[0] if self.values.ndim == 4 else None

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return int(self.values.shape[-3])

    @property
    def width(self) -> int:
        """Its width in pixels."""
        return int(self.values.shape[-2])

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return int(self.values.shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height, as those of a Pillow image."""
        return self.width, self.height

    def slice(self, number: int) -> Raster:
        """Return one slice of a volume, with the span of the whole."""
        spacing = None if self.spacing is None else self.spacing[1:]
        return replace(self, values=self.values[number], spacing=spacing)

    @property
    def geometry(self) -> Geometry | None:
        """The size of the pixels and the sides of the picture, or of a slice, where known."""
        if self.spacing is None and self.sides is None:
            return None
        down, across = (1.0, 1.0) if self.spacing is None else self.spacing[-2:]
        return Geometry((down, across), self.sides, in_mm=self.spacing is not None)

    def scaled(self, window: ValueWindow | None = None) -> npt.NDArray[np.float32]:
        """Return `(x - low) / (high - low)` limited to 0..1, of the same shape.

        Low and high are the span's; with a window, its centre less and plus half its width. Where
        low numbers are bright, it is 1 less that.
        """
        low, high = self.span if window is None else limits(window)
        # Numbers of 32 bits and more are not told apart by 32-bit floats.
        precise = np.float64 if self.values.dtype.itemsize > 2 else np.float32
        scaled = np.subtract(self.values, low, dtype=precise)
        scaled /= high - low
        if self.inverted:
            np.subtract(1, scaled, out=scaled)
        return np.clip(scaled, 0, 1, out=scaled).astype(np.float32, copy=False)

    def picture(self, window: ValueWindow | None = None) -> Image.Image:
        """Return the picture in 8-bit RGB, to be looked at.

        Of other channels than grey and RGB the first is shown, or the first three.
        """
        grey = (self.scaled(window) * 255).round().astype(np.uint8)
        shown = grey[..., :3] if self.channels >= 3 else grey[..., :1].repeat(3, axis=-1)
        return Image.fromarray(np.ascontiguousarray(shown))


#: A picture as `load_photo` returns it.
Photo = Image.Image | Raster


def is_deep(picture: Image.Image) -> bool:
    """Return whether a Pillow picture holds more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;")


def cut_to_8_bits(picture: Image.Image) -> bool:
    """Return whether Pillow would cut the colours of a picture down from 16 bits to 8.

    That is known until its pixels are decoded, which Pillow does to find the Exif of a PNG.
    """
    return ";16" in str(getattr(picture, "tile", "")) and not is_deep(picture)


def in_own_numbers(photo: Photo) -> Photo:
    """Return a Pillow picture of more than 8 bits as a `Raster`; Pillow would cut it down to 8."""
    if isinstance(photo, Image.Image) and is_deep(photo):
        return Raster.of(np.asarray(photo), name="The photo")
    return photo


def limits(window: ValueWindow) -> tuple[float, float]:
    """Return the numbers that become 0 and 1 in a window."""
    centre, width = window
    return centre - width / 2, centre + width / 2


def check_window(window: object) -> None:
    """Refuse what is no window.

    Raises:
        OptionError: It is not two finite numbers, of which the width is positive.
    """
    numbers = isinstance(window, Sequence) and len(window) == 2
    if not numbers or not np.isfinite(window).all() or window[1] <= 0:  # type: ignore[index,call-overload]
        raise OptionError(
            f"The window is {window!r}; its centre and its width, a positive number, were "
            "expected, as in (40, 400). limelight.photos.windows.read_window('lung') finds those "
            "of CT by name."
        )


def span_of(values: Numbers, name: str = "The array") -> tuple[float, float]:
    """Return the numbers that become 0 and 1 where no window is given.

    They are the lowest and the highest; but 0 and 255 for 8 bits, and 0 and 1 for floats between
    them, which are scaled already.

    Raises:
        PhotoError: There are NaN or infinite values.
    """
    if values.dtype == np.uint8:
        return 0.0, 255.0
    return span_between(float(values.min()), float(values.max()), values.dtype, name)


def span_between(
    low: float, high: float, dtype: np.dtype[Any], name: str = "The array"
) -> tuple[float, float]:
    """Return the span of numbers of a type whose lowest and highest are known, as `span_of`.

    Raises:
        PhotoError: They are NaN or infinite.
    """
    if dtype == np.uint8:
        return 0.0, 255.0
    if not np.isfinite([low, high]).all():
        raise PhotoError(f"{name} holds values that are NaN or infinite.")
    if dtype.kind in "bf" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, max(high, low + 1)


def as_photo(values: Numbers, channels: int | None = None, name: str = "The array") -> Photo:
    """Return an array as a photo: 8-bit grey and RGB as a picture, all else as a `Raster`.

    Raises:
        PhotoError: As `Raster.of`.
    """
    return raster_as_photo(Raster.of(values, channels, name), channels)


def raster_as_photo(raster: Raster, channels: int | None = None) -> Photo:
    """Return a raster as a photo: 8-bit grey and RGB as a picture, all else as it is."""
    of_8_bits = raster.values.dtype == np.uint8 and raster.depth is None
    if of_8_bits and raster.channels in (1, 3) and channels in (None, 1, 3):
        return Image.fromarray(
            np.ascontiguousarray(
                raster.values.squeeze(-1) if raster.channels == 1 else raster.values
            )
        )
    return raster


def in_channels(
    scaled: npt.NDArray[np.float32], channels: int, name: str = "The photo"
) -> npt.NDArray[np.float32]:
    """Return scaled pixels `[..., c]` in as many channels as a network takes, `[..., C]`.

    Grey is repeated for RGB, and RGB becomes grey by `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).

    Raises:
        PhotoError: There is another number of channels.
    """
    count = scaled.shape[-1]
    if count == channels:
        return scaled
    if count == 1 and channels == 3:
        return scaled.repeat(3, axis=-1)
    if count == 3 and channels == 1:
        return scaled @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32)
    raise PhotoError(
        f"{name} has {_channels(count)}, and the network takes {_channels(channels)}. Pass a file "
        "that holds what the network takes (a TIFF or .npy of so many channels), or a mean and a "
        "standard deviation for each channel of the photo."
    )


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _checked(values: Numbers, name: str) -> Numbers:
    """Return an array of numbers that may be a picture; other arrays are refused."""
    if values.dtype.kind not in "biuf":
        raise PhotoError(f"{name} holds {values.dtype}; numbers were expected.")
    if values.size == 0 or not 2 <= values.ndim <= 4:
        raise PhotoError(
            f"{name} has the shape {list(values.shape)}; a picture [H, W] or [H, W, C], or a "
            "volume [D, H, W] or [D, H, W, C] was expected."
        )
    return values


def _channels_last(values: Numbers, channels: int | None) -> Numbers:
    """Return an array as `[H, W, C]` or `[D, H, W, C]`."""
    if values.ndim == 2:
        return values[..., None]
    last, first = values.shape[-1], values.shape[0]
    if channels is not None and channels > 1 and channels in (last, first):
        return values if last == channels else np.moveaxis(values, 0, -1)
    if last in _COLOURS:
        return values
    if first in _COLOURS:
        return np.moveaxis(values, 0, -1)
    return values[..., None]
