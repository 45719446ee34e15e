"""Photos: find them, decode them safely, and prepare them as a network wants them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from limelight.ahead import ahead
from limelight.errors import MissingPhotoError, OptionError, PhotoError

#: More pixels than this are taken for a decompression bomb (an honest photo has 50 million).
MAX_PIXELS = 150_000_000

#: The suffixes that make a file in a folder a photo.
SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".png",
        ".ppm",
        ".pgm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


def load_photo(path: str | Path) -> Image.Image:
    """Decode a photo to 8-bit RGB, upright.

    Rotation by EXIF is applied. Transparency is laid over white. Grey, palette and CMYK become RGB;
    16-bit becomes 8-bit (65535 to 255), floating point is read as 0 to 1. Of an animation it is the
    first frame.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    path = Path(path)
    # Sizes are checked here, with a limit of our own, before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        return _decoded(path, _opened(path))


#: A photo and what the network is given of it, or why there is none.
Prepared = tuple[Image.Image, Tensor] | PhotoError


def prepared(
    paths: Iterable[Path], preprocess: Preprocess, *, count: int
) -> Iterator[tuple[Path, Prepared]]:
    """Yield each path with what became of it, in order; up to `count` are decoded beforehand."""

    def opened(path: Path) -> tuple[Path, Image.Image | PhotoError]:
        # Not in the threads: Pillow's warnings can only be silenced in one thread at a time.
        with warnings.catch_warnings(action="ignore"):
            try:
                return path, _opened(path)
            except PhotoError as error:
                return path, error

    def ready(pair: tuple[Path, Image.Image | PhotoError]) -> tuple[Path, Prepared]:
        path, picture = pair
        if isinstance(picture, PhotoError):
            return path, picture
        try:
            photo = _decoded(path, picture)
            return path, (photo, preprocess(photo))
        except PhotoError as error:
            return path, error

    return ahead(ready, map(opened, paths), threads=min(8, os.cpu_count() or 1), count=count)


def _opened(path: Path) -> Image.Image:
    """Open a photo, whose pixels are not decoded yet; its first frame, if there are several."""
    with _told(path):
        if path.is_dir():
            raise PhotoError(f"{str(path)!r} is a folder; one photo was expected.")
        if path.stat().st_size == 0:
            raise PhotoError(f"{str(path)!r} is empty (0 bytes); a picture was expected.")
        picture = Image.open(path)
        try:
            _check_size(path, picture)
            picture.seek(0)
            if "exif" in picture.info:
                with suppress(Exception):  # it is read here, where its warnings are silenced
                    picture.getexif()
        except BaseException:
            picture.close()
            raise
        return picture


def _decoded(path: Path, opened: Image.Image) -> Image.Image:
    """Decode what was opened to 8-bit RGB, upright, and close the file."""
    with _told(path), opened:
        opened.load()
        return _rgb(path, _upright(opened))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell in one way what is wrong with a photo, as Pillow tells it in many."""
    try:
        yield
    except FileNotFoundError:
        raise MissingPhotoError(f"There is no file {str(path)!r}.") from None
    except Image.DecompressionBombError:  # so large that Pillow does not even open it
        raise PhotoError(
            f"{str(path)!r} claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million "
            "pixels, as decompression bombs do. Make it smaller first."
        ) from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{str(path)!r} is not a picture that can be read, or has no pixels; JPEG, PNG, WebP, "
            "TIFF, GIF, BMP or AVIF was expected."
        ) from None
    except PhotoError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise PhotoError(
            f"{str(path)!r} cannot be decoded: {error or type(error).__name__}. The file is "
            "damaged or cut short; save or download it again."
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return picture


def _check_size(path: Path, picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"{str(path)!r} claims {width} x {height} = {width * height / 1e6:.0f} million pixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} million are decoded. Make it smaller first."
        )


def _rgb(path: Path, picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _deep(path, picture)
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return picture.convert("RGB")


def _deep(path: Path, picture: Image.Image) -> Image.Image:
    """Bring 16-bit and floating point greys to 8 bits."""
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise PhotoError(f"{str(path)!r} holds values that are NaN or infinite.")
    top = 1.0 if picture.mode == "F" and values.max() <= 1 else 65535.0
    if values.min() < 0 or values.max() > top:
        raise PhotoError(
            f"{str(path)!r} holds values from {values.min():g} to {values.max():g}; 0 to {top:g} "
            "was expected. Scale it to 8 or 16 bits first."
        )
    grey = (values / top * 255).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the photos meant by files and folders; of a folder all in it, at any depth, sorted.

    Raises:
        MissingPhotoError: A folder holds no photo.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise MissingPhotoError(
                f"The folder {str(path)!r} holds no photo; files ending in "
                f"{', '.join(sorted(SUFFIXES))} are looked for."
            )
        found.extend(inside)
    distinct: dict[Path, Path] = {}
    for path in found:  # the same file may be named in two ways
        distinct.setdefault(path.resolve(), path)
    return list(distinct.values())


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From a photo to a network's input, and back to the part of the photo that it saw.

    The photo is resized, cropped at its centre to `size`, scaled to [0, 1] and normalised:
    `(x - mean) / std` per channel. The steps and their rounding are torchvision's and timm's.

    Attributes:
        size: Height and width of the input, in pixels; None for the whole resized photo.
        resize: The shorter side of the photo before the crop; or height and width, when the
            proportions are given up; None for the photo as it is.
        longest: With a shorter side in `resize`: the longer one at most.
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
        """Check that the numbers make sense.

        Raises:
            OptionError: They do not.
        """
        for name in ("size", "resize"):
            given = getattr(self, name)
            pair = isinstance(given, list | tuple) and len(given) == 2
            if given is not None and not pair and (name == "size" or not isinstance(given, int)):
                raise OptionError(
                    f"{name} is {given!r}; height and width were expected, as in (224, 224)"
                    + (", or the shorter side." if name == "resize" else ".")
                )
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize or ()
        if min(*(self.size or ()), *sides, self.longest or 1, 1) < 1:
            raise OptionError(f"Cannot resize to {self.resize} and crop to {self.size}: too small.")
        if len(self.mean) != len(self.std) or len(self.mean) not in _MODES or min(self.std) <= 0:
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
        shrunk = photo.convert(_MODES[len(self.mean)]).resize(
            (width, height), _FILTERS[self.interpolation]
        )
        # Where the crop is larger than the photo, the border is black.
        seen = shrunk.crop(self._box(shrunk.width, shrunk.height))
        pixels = (
            torch.from_numpy(np.array(seen)).reshape(seen.height, seen.width, -1).permute(2, 0, 1)
        )
        mean, std = (_by_channel(v) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std

    def picture(self, image: Tensor) -> Image.Image:
        """Return a network's input `[C, H, W]` as a picture: `x * std + mean`, in 8 bits."""
        mean, std = (_by_channel(v) for v in (self.mean, self.std))
        pixels = image.detach().float().cpu() * std + mean
        shown = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        return Image.fromarray(shown.squeeze(-1) if len(self.mean) == 1 else shown).convert("RGB")

    def view(self, photo: Image.Image) -> Image.Image:
        """Return the part of the photo that the network saw, at the photo's own resolution."""
        width, height = self._resized(photo)
        across, down = photo.width / width, photo.height / height
        left, top, right, bottom = self._box(width, height)
        left, right = round(left * across), round(right * across)
        top, bottom = round(top * down), round(bottom * down)
        return photo.crop((left, top, max(right, left + 1), max(bottom, top + 1)))

    def input_size(self, photo: Image.Image) -> tuple[int, int]:
        """Return height and width of the network's input for a photo, without making it."""
        width, height = self._resized(photo)
        return self.size or (height, width)

    def _resized(self, photo: Image.Image) -> tuple[int, int]:
        """Return the width and height of the whole photo before the crop."""
        if self.resize is None:
            return photo.width, photo.height
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        shorter, (low, high) = self.resize, sorted(photo.size)
        if self.longest is not None and shorter * high > self.longest * low:
            shorter = max(1, round(self.longest * low / high))
        if photo.width <= photo.height:
            return shorter, int(shorter * photo.height / photo.width)
        return int(shorter * photo.width / photo.height), shorter

    def point(self, photo: Image.Image, x: float, y: float) -> tuple[float, float]:
        """Return where a point of a photo lies in the network's input, both in pixels."""
        width, height = self._resized(photo)
        left, top, _, _ = self._box(width, height)
        return x * width / photo.width - left, y * height / photo.height - top

    def mask(self, photo: Image.Image, mask: Image.Image) -> Tensor:
        """Return which pixels of the network's input a mask over a photo marks, `[H, W]`.

        The mask goes with the whole photo, at any size; what is not black is marked.

        Raises:
            PhotoError: Its proportions are not those of the photo.
        """
        if abs(mask.width * photo.height - mask.height * photo.width) > max(
            *photo.size, *mask.size
        ):
            raise PhotoError(
                f"The mask is {mask.width} x {mask.height} pixels and its photo {photo.width} x "
                f"{photo.height}; the same proportions were expected."
            )
        width, height = self._resized(photo)
        marked = Image.fromarray((np.asarray(mask.convert("L")) > 0).astype(np.uint8) * 255)
        shrunk = marked.resize((width, height), Image.Resampling.BOX)
        shares = np.asarray(shrunk.crop(self._box(width, height)))
        # Half of a pixel marks it; of what is too thin for that, any of it.
        inside = torch.from_numpy(shares >= 128)
        return inside if inside.any() else torch.from_numpy(shares > 0)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of the centre crop in a resized photo."""
        if self.size is None:
            return 0, 0, width, height
        left, top = _margin(width, self.size[1]), _margin(height, self.size[0])
        return left, top, left + self.size[1], top + self.size[0]


def _by_channel(numbers: Sequence[float]) -> Tensor:
    """Return a number for each channel, `[C, 1, 1]`."""
    return torch.tensor(numbers, dtype=torch.float32, device="cpu").reshape(-1, 1, 1)


def _margin(whole: int, part: int) -> int:
    """Return where a centred part begins; negative when it is larger than the whole."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
