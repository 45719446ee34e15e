"""Photos: find them, decode them safely, and prepare them as a network wants them."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from limelight.ahead import Room, ahead
from limelight.errors import MissingPhotoError, OptionError, PhotoError
from limelight.pieces import pieces

#: More pixels than this are taken for a decompression bomb (an honest photo has 50 million).
MAX_PIXELS = 150_000_000

#: So many bytes are spent on photos: on decoding one, or on all that are in work at a time.
PHOTO_BYTES = 1_200_000_000

#: The decoders that are let at a file. Others, some of them programs of their own, never see one.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")

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


class Sized(Protocol):
    """A photo, or what is as large as one."""

    @property
    def width(self) -> int:
        """Its width in pixels."""

    @property
    def height(self) -> int:
        """Its height in pixels."""


@dataclass(frozen=True, slots=True)
class PhotoSize:
    """How large a photo is, when its pixels are no longer needed."""

    width: int
    height: int

    @classmethod
    def of(cls, photo: Sized) -> PhotoSize:
        """Return the size of a photo."""
        return cls(photo.width, photo.height)


def load_photo(path: str | Path) -> Image.Image:
    """Decode a photo to 8-bit RGB, upright.

    Rotation by EXIF is applied. Transparency is laid over white. Grey, palette and CMYK become RGB;
    16-bit becomes 8-bit (65535 to 255), floating point is read as 0 to 1. Of an animation it is the
    first frame. It takes at most `PHOTO_BYTES` of memory.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is empty, truncated, no picture, or too large.
    """
    # Sizes are checked here, with a limit of our own, before anything is decoded.
    with warnings.catch_warnings(action="ignore"):
        return _decoded(_named(path), open_photo(path))


def _named(path: str | Path) -> Path:
    """Return a name as a path; an empty one would be the working directory.

    Raises:
        MissingPhotoError: It is empty.
    """
    if path == "":
        raise MissingPhotoError(
            "'' is an empty name; that of a photo or a folder was expected. Is a variable not set?"
        )
    return Path(path)


@dataclass(slots=True)
class Prepared:
    """A photo and what the network is given of it, or why there is none.

    Attributes:
        path: The file.
        taken: The bytes that are taken for it in the room.
        photo: The whole photo.
        image: The network's input `[C, H, W]`.
        error: Why there is neither, if so.
    """

    path: Path
    taken: int = 0
    photo: Image.Image | None = None
    image: Tensor | None = None
    error: PhotoError | None = None


@dataclass(slots=True)
class _Opened:
    """A photo whose pixels are not decoded yet, and whether a batch ends with it."""

    path: Path
    picture: Image.Image | None = None
    error: PhotoError | None = None
    bytes: int = 0
    ends: bool = False


#: More photos than this are not decoded beforehand: each is an open file.
_AHEAD = 32


def prepared(
    paths: Iterable[Path], preprocess: Preprocess, *, batch: int, room: Room
) -> Iterator[list[Prepared]]:
    """Yield the photos by batches, in order, what became of each; the next ones are decoded ahead.

    All that are in work fit in the room, so that large ones make smaller batches. What a photo took
    of it is given back by the caller, who also takes photos off the list when done with them.
    """

    def ready(opened: _Opened) -> Prepared:
        done = Prepared(opened.path, opened.bytes, error=opened.error)
        if opened.picture is None:
            return done
        try:
            done.photo = _decoded_quietly(opened.path, opened.picture)
            done.image = preprocess(done.photo)
        except PhotoError as error:
            done.photo, done.error = None, error
        finally:
            opened.picture = None
        return done

    group: list[Prepared] = []
    for done, ends in ahead(
        lambda opened: (ready(opened), opened.ends),
        _batched((_opened(path, preprocess) for path in paths), batch, room.size),
        threads=min(8, os.cpu_count() or 1),
        count=min(2 * batch, _AHEAD),
        room=room,
        needs=lambda opened: opened.bytes,
        alone=lambda opened: is_large(opened.bytes),
    ):
        group.append(done)
        del done
        if ends:
            yield group
            group = []


def _batched(photos: Iterable[_Opened], batch: int, room: int) -> Iterator[_Opened]:
    """Mark where a batch ends: after so many photos, or before one for which there is no room."""
    count = taken = 0
    for opened, following in pairwise(chain(photos, [None])):
        assert opened is not None
        count, taken = count + 1, taken + opened.bytes
        if following is None or count == batch or taken + following.bytes > room:
            opened.ends, count, taken = True, 0, 0
        yield opened
        del opened, following


def _opened(path: Path, preprocess: Preprocess) -> _Opened:
    """Open a photo, or note why it cannot be."""
    # Not in the threads: Pillow's warnings can only be silenced in one thread at a time.
    with warnings.catch_warnings(action="ignore"):
        try:
            picture = open_photo(path)
            with telling(path):
                size = _upright_size(picture)
                whole = _bytes_to_decode(path, picture), bytes_to_draw(preprocess.view_size(size))
                needed = max(whole) + preprocess.bytes_to_resize(size)
                return _Opened(path, picture, bytes=needed + bytes_of_input(preprocess, size))
        except PhotoError as error:
            return _Opened(path, error=error)


def _decoded_quietly(path: Path, picture: Image.Image) -> Image.Image:
    """Decode a photo without a warning of its size, which was checked."""
    if picture.width * picture.height < (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return _decoded(path, picture)
    # So large a one is decoded in the caller's thread, see `is_large`.
    with warnings.catch_warnings(action="ignore"):
        return _decoded(path, picture)


def open_photo(path: str | Path) -> Image.Image:
    """Open a photo, whose pixels are not decoded yet; its first frame, if there are several.

    Raises:
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    path = _named(path)
    with telling(path):
        _check_file(path)
        # Formats that this Pillow was built without are not known to it.
        Image.init()
        picture = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
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


def photo_size(path: str | Path) -> PhotoSize:
    """Return how large a photo is when it is upright, without decoding it.

    Raises:
        MissingPhotoError, PhotoError: As `open_photo`.
    """
    with warnings.catch_warnings(action="ignore"), open_photo(path) as opened:
        return _upright_size(opened)


def _upright_size(picture: Image.Image) -> PhotoSize:
    """Return the size of a picture once it is turned as its Exif says."""
    try:
        turned = picture.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
    except Exception:  # as `_upright`: it stays as it is
        turned = False
    return PhotoSize(*(picture.size[::-1] if turned else picture.size))


#: What is no file, by the type that the system says it is.
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_file(path: Path) -> None:
    """Refuse what is no file that could be read twice, or holds nothing.

    Raises:
        PhotoError: It is.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        os.listdir(path)  # fails if it may not be read
        if not _inside(path):
            raise MissingPhotoError(_no_photo(path))
        raise PhotoError(f"{str(path)!r} is a folder; one photo was expected.")
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise PhotoError(
            f"{str(path)!r} is {kind}; a file was expected. Save the photo as one first."
        )
    if found.st_size == 0:
        raise PhotoError(f"{str(path)!r} is empty (0 bytes); a picture was expected.")


def _decoded(path: Path, opened: Image.Image) -> Image.Image:
    """Decode what was opened to 8-bit RGB, upright, and close the file."""
    try:
        with telling(path), opened:
            opened.load()
            upright = _upright(opened)
            return _rgb(path, upright)
    except PhotoError:
        opened.close()  # the error's traceback would keep its pixels
        raise


def silence_decoders() -> None:
    """Keep libtiff from writing to stderr itself: what it finds wrong is raised as an error, too.

    This holds for the whole process, so it is for one that is limelight's own.
    """
    with suppress(OSError, AttributeError):  # where Pillow was built without it, or holds it inside
        from PIL import _imaging

        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Tell as a PhotoError what is wrong with a photo, as Pillow tells it in many."""
    name = repr(str(path))
    try:
        yield
    except PhotoError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise MissingPhotoError(f"There is no file {name}.") from None
    except Image.DecompressionBombError:  # so large that Pillow does not even open it
        raise PhotoError(
            f"{name} claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million "
            "pixels, as decompression bombs do. Make it smaller first."
        ) from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not a picture that can be read, or has no pixels; JPEG, PNG, WebP, "
            "TIFF, GIF, BMP, AVIF, JPEG 2000 or PPM was expected."
        ) from None
    except MemoryError as error:
        raise PhotoError(
            f"{name} cannot be decoded: {str(error) or 'MemoryError'}. There is not enough memory; "
            "make it smaller first."
        ) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        refused = _refused(path, error)
        raise refused or PhotoError(
            f"{name} cannot be decoded: {error or type(error).__name__}. The file is "
            "damaged or cut short; save or download it again."
        ) from error


def _refused(path: Path, error: Exception) -> PhotoError | None:
    """Return what the system has against a file; None when it is the decoder that complains."""
    name, code = repr(str(path)), getattr(error, "errno", None)
    if "\0" in str(path):
        return MissingPhotoError(f"There is no file {name}: no name holds a null byte.")
    if code is None:
        return None
    if code == errno.ELOOP:
        return MissingPhotoError(
            f"{name} is a link that leads back to itself; a file was expected."
        )
    if code == errno.ENAMETOOLONG:
        return MissingPhotoError(f"There is no file {name}: the name is longer than any can be.")
    if code in (errno.EACCES, errno.EPERM):
        return PhotoError(
            f"{name} may not be read: {os.strerror(code)}. Allow it, or its folder, to be read."
        )
    return PhotoError(f"{name} cannot be read: {os.strerror(code)}.")


def _upright(picture: Image.Image) -> Image.Image:
    """Return a picture turned as its Exif says, without a copy of one that is upright."""
    try:
        if picture.getexif().get(_ORIENTATION, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged Exif is no reason to refuse the pixels
        return picture


_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


def _check_size(path: Path, picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"{str(path)!r} claims {width} x {height} = {width * height / 1e6:.0f} million pixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} million are decoded. Make it smaller first."
        )
    needed = _bytes_to_decode(path, picture)
    if needed > PHOTO_BYTES:
        raise PhotoError(
            f"{str(path)!r} is a {picture.format} of {width} x {height} pixels, which takes "
            f"{needed / 1e9:.1f} GB to decode; at most {PHOTO_BYTES / 1e9:.1f} GB are spent on a "
            "photo. Make it smaller first, or save it as PNG or JPEG."
        )


def is_large(taken: int) -> bool:
    """Say whether a photo leaves no room for another like it.

    It is then worked on in one thread alone: of others' memory, what is freed is kept for them.
    """
    return taken > PHOTO_BYTES / 2


def bytes_to_draw(photo: Sized) -> int:
    """Return how much a photo and a picture drawn of it take, in bytes."""
    return 8 * photo.width * photo.height


def bytes_of_input(preprocess: Preprocess, photo: Sized) -> int:
    """Return how much a network's input for a photo takes, while it is made or used, in bytes.

    32-bit floats of three channels take 12 bytes a pixel; what it is made of takes 11, and what is
    explained of it keeps the heatmap beside it.
    """
    height, width = preprocess.input_size(photo)
    return 24 * height * width


def _bytes_to_decode(path: Path, picture: Image.Image) -> int:
    """Return how much it takes to decode what was opened, in bytes; found by measuring.

    A picture in RGB takes 4 bytes a pixel, and so does what it is converted from. Some decoders
    work on the whole of it besides.
    """
    pixels, bands = picture.width * picture.height, len(picture.getbands())
    most = 8 * pixels
    if picture.format == "WEBP":  # two canvases, what comes of them, and the picture
        most = 17 * pixels
    elif picture.format == "AVIF":  # frames of up to 16 bits, colours of them, and the picture
        most = 20 * pixels
    elif picture.format == "JPEG2000":  # two 32-bit integers for each value
        most = (4 + 6 * bands) * pixels
    elif picture.format in ("JPEG", "MPO") and picture.info.get("progressive"):
        # All coefficients, 16 bits each, of colours that may have fewer of them than pixels.
        factors = [h * v for _, h, v, _ in getattr(picture, "layer", ())] or [1] * bands
        most = max(most, round((4 + 2 * sum(factors) / max(factors)) * pixels))
    elif picture.format == "TIFF":
        most = max(most, 4 * pixels + _strip_bytes(picture) + path.stat().st_size)
    return most


def _strip_bytes(picture: Image.Image) -> int:
    """Return the size of a strip or tile of a TIFF, which its decoder holds as a whole."""
    tags = getattr(picture, "tag_v2", {})
    rows = min(int(tags.get(_STRIP_ROWS, picture.height)), picture.height)
    across = int(tags.get(_TILE_WIDTH, picture.width))
    bits = tags.get(_BITS, (8,))
    return across * int(tags.get(_TILE_ROWS, rows)) * sum(map(int, bits)) // 8


_BITS, _STRIP_ROWS, _TILE_WIDTH, _TILE_ROWS = 258, 278, 322, 323


def _rgb(path: Path, picture: Image.Image) -> Image.Image:
    """Return a picture in RGB, with no more than it and the result in memory."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _deep(path, picture)
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    laid = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        clear = picture.crop(box).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        laid.paste(Image.alpha_composite(white, clear).convert("RGB"), box)
    return laid


def _deep(path: Path, picture: Image.Image) -> Image.Image:
    """Bring 16-bit and floating point greys to 8 bits."""
    low, high = np.inf, -np.inf
    for box in pieces(*picture.size):
        values = np.asarray(picture.crop(box))
        if not np.isfinite(values).all():
            raise PhotoError(f"{str(path)!r} holds values that are NaN or infinite.")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    top = 1.0 if picture.mode == "F" and high <= 1 else 65535.0
    if low < 0 or high > top:
        raise PhotoError(
            f"{str(path)!r} holds values from {low:g} to {high:g}; 0 to {top:g} "
            "was expected. Scale it to 8 or 16 bits first."
        )
    rgb = Image.new("RGB", picture.size)
    for box in pieces(*picture.size):
        values = np.asarray(picture.crop(box)).astype(np.float64)
        grey = (values / top * 255).round().astype(np.uint8)
        rgb.paste(Image.fromarray(grey).convert("RGB"), box)
    return rgb


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the photos meant by files and folders; of a folder all in it, at any depth, sorted.

    What cannot be read is among them: `load_photo` says in its turn what is wrong with it.

    Raises:
        MissingPhotoError: A name is empty, or there is nothing but folders without a photo.
    """
    found, void = list[Path](), list[Path]()
    for path in map(_named, paths):
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = _inside(path)
        void += [] if inside else [path]
        found += inside or [path]
    if len(void) == len(found) and void:
        raise MissingPhotoError(_no_photo(void[0]))
    distinct: dict[object, Path] = {}
    for path in found:  # the same file may be named in two ways
        distinct.setdefault(_place_of(path), path)
    return list(distinct.values())


def _inside(folder: Path) -> list[Path]:
    """Return the photos in a folder, sorted, and what in it cannot be looked into."""
    closed = list[Path]()
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
    files = (Path(parent, name) for parent, _, names in walk for name in names)
    photos = [path for path in files if path.suffix.lower() in SUFFIXES and _may_be_file(path)]
    return sorted(photos + closed)


def _may_be_file(path: Path) -> bool:
    """Say whether there is a file, or what cannot be looked at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:
        return True


def _place_of(path: Path) -> object:
    """Return where a path leads; of one that leads nowhere, itself."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _no_photo(folder: Path) -> str:
    return (
        f"{str(folder)!r} is a folder that holds no photo; files ending in "
        f"{', '.join(sorted(SUFFIXES))} are looked for."
    )


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MODES = {1: "L", 3: "RGB"}

#: Larger photos than this, after the resize, are not resized as a whole.
_LARGE = 64_000_000

#: So many pixels are cut out of a photo at a time.
_CUT = 16_000_000


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From a photo to a network's input, and back to the part of the photo that it saw.

    The photo is resized, cropped at its centre to `size`, scaled to [0, 1] and normalised:
    `(x - mean) / std` per channel. The steps and their rounding are torchvision's and timm's, but
    for a photo so thin that it has over 64 million pixels when resized: only what is cropped of it
    is, which rounds otherwise.

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
        seen = self._seen(photo, (width, height))
        pixels = (
            torch.from_numpy(np.array(seen)).reshape(seen.height, seen.width, -1).permute(2, 0, 1)
        )
        mean, std = (_by_channel(v) for v in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std)  # in place: an input may be large

    def _seen(self, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return the photo resized to a size and cropped; outside of it the border is black."""
        mode, filter_ = _MODES[len(self.mean)], _FILTERS[self.interpolation]
        whole = photo if photo.mode == mode else photo.convert(mode)
        width, height = size
        left, top, right, bottom = self._box(width, height)
        if size == photo.size:
            return whole.crop((left, top, right, bottom))
        if width * height <= _LARGE:
            return whole.resize(size, filter_).crop((left, top, right, bottom))
        # Of a photo so thin, only what is seen of it is resized.
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

    def view(self, photo: Image.Image) -> Image.Image:
        """Return the part of the photo that the network saw, at the photo's own resolution."""
        left, top, right, bottom = self._view_box(photo)
        size = right - left, bottom - top
        if size[0] * size[1] <= _CUT:
            return photo.crop((left, top, right, bottom))
        seen = Image.new(photo.mode, size)
        if photo.mode == "P":
            seen.putpalette(photo.getpalette() or [])
        for x1, y1, x2, y2 in pieces(*size, _CUT):  # of larger ones Pillow warns
            seen.paste(photo.crop((left + x1, top + y1, left + x2, top + y2)), (x1, y1))
        return seen

    def view_size(self, photo: Sized) -> PhotoSize:
        """Return how large the view of a photo is, without cutting it out."""
        left, top, right, bottom = self._view_box(photo)
        return PhotoSize(right - left, bottom - top)

    def _view_box(self, photo: Sized) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what the network sees, in pixels of the photo."""
        width, height = self._resized(photo)
        across, down = photo.width / width, photo.height / height
        left, top, right, bottom = self._box(width, height)
        left, right = round(left * across), round(right * across)
        top, bottom = round(top * down), round(bottom * down)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def bytes_to_resize(self, photo: Sized) -> int:
        """Return how much a photo takes resized, and resized along one side only, in bytes."""
        width, height = self._resized(photo)
        if (width, height) == (photo.width, photo.height):
            return 0
        if width * height > _LARGE:  # only what is seen is resized
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
        if abs(mask.width * photo.height - mask.height * photo.width) > max(
            photo.width, photo.height, *mask.size
        ):
            raise PhotoError(
                f"The mask is {mask.width} x {mask.height} pixels and its photo {photo.width} x "
                f"{photo.height}; the same proportions were expected."
            )
        width, height = self._resized(photo)
        marked = mask.convert("L").point(lambda value: 255 * (value > 0))
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
