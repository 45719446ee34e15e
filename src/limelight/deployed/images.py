"""Photos and arrays, as an exported file takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.deployed.description import Description
from limelight.errors import InputError, PhotoError
from limelight.photos.crops import CroppedPhoto, name_of_file
from limelight.photos.pictures import load_photo
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo, Raster, as_photo, in_own_numbers

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPhoto:
    """A photo as a file takes it.

    Attributes:
        array: What the file takes: `[C, H, W]`, or `[H, W, C]` bytes if it prepares photos itself.
        crop: The photo, with the box that the network sees; all of it if that is not yet known;
            None for a volume.
    """

    array: Array
    crop: CroppedPhoto | None


#: A photo as a user has it: its file, or decoded; an array is `[H, W]`, `[H, W, C]` or `[C, H, W]`.
AnyPhoto = str | Path | Image.Image | Raster | Array | PreparedPhoto


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images for a file, in the portions in which it takes them.

    Attributes:
        portions: What is passed to the file, one after the other.
        count: How many images there are; a last portion may repeat its last image to be full.
        crops: The photos, with the box that the network sees; None for an array, and for
            volumes.
    """

    portions: list[Array]
    count: int
    crops: tuple[CroppedPhoto, ...] | None = None


def read_images(
    inputs: AnyPhoto | Sequence[AnyPhoto], description: Description, preprocess: Preprocess | None
) -> Images:
    """Return photos, or an array `[B, C, *image]`, as a file takes them.

    An array with as many axes as the network's input is that input; so is any array where the file
    does not say how a photo becomes one.

    Raises:
        InputError: They are not what the file takes.
        PhotoError: A photo cannot be read.
    """
    axes = None if isinstance(inputs, Raster) else getattr(inputs, "ndim", None)
    if axes is not None and (axes == len(description.input_shape) + 1 or preprocess is None):
        if description.preprocessing_inside:
            raise InputError(
                f"An array of shape {list(np.asarray(inputs).shape)} was given, and the file makes "
                "the network's input itself. Pass photos: a list of paths, Pillow pictures or "
                "arrays [H, W, C] of bytes."
            )
        return _of_array(np.asarray(inputs), description)
    single = isinstance(inputs, str | Path | Image.Image | Raster | PreparedPhoto)
    photos: Any = [inputs] if single or axes is not None else inputs
    if not isinstance(photos, Iterable):
        raise InputError(f"{inputs!r} was given; {_expected(description)} was expected.")
    prepared = [prepare_photo(photo, description, preprocess) for photo in photos]
    if not prepared:
        raise InputError("No photo was given; at least one was expected.")
    arrays = [each.array for each in prepared]
    known = [each.crop for each in prepared if each.crop is not None]
    crops = tuple(known) if len(known) == len(prepared) else None
    if description.preprocessing_inside:
        return Images(arrays, len(arrays), crops)
    return replace(_of_array(np.stack(arrays), description), crops=crops)


def prepare_photo(
    photo: AnyPhoto, description: Description, preprocess: Preprocess | None
) -> PreparedPhoto:
    """Return a photo as a file takes it.

    Raises:
        InputError: What was given is no photo, or the file takes none.
        PhotoError: It cannot be read, or becomes no input of the file.
    """
    if isinstance(photo, PreparedPhoto):
        return photo
    if preprocess is None:
        raise InputError(
            "A photo was given, and the file does not say how a photo becomes the network's input. "
            f"Pass an array {_shape(description)} of float32, or export the network again as a "
            "Network, which has a Preprocess."
        )
    if description.preprocessing_inside:
        picture = _picture(photo, preprocess.channels)
        array = np.asarray(picture).reshape(picture.height, picture.width, -1)
        return PreparedPhoto(array, CroppedPhoto.uncropped(picture, name_of_file(picture)))
    decoded = _decoded(photo, preprocess.channels)
    array = preprocess.array(decoded)
    if array.shape != description.input_shape:
        name = name_of_file(decoded)
        raise PhotoError(
            f"The photo {name!r} becomes an input {list(array.shape)}, and the file takes "
            f"{list(description.input_shape)}. Pass a photo of another size, or export the network "
            "with a Preprocess of one size."
        )
    return PreparedPhoto(array, None if preprocess.takes_volumes else preprocess.crop(decoded))


def _expected(description: Description) -> str:
    """Return what a file takes, in words."""
    photo = "a photo or a list of them (a path, a Pillow picture, a Raster or an array of pixels)"
    array = f"an array {_shape(description)} of float32"
    if description.preprocessing_inside:
        return photo
    return array if description.preprocess is None else f"{photo}, or {array}"


def _shape(description: Description) -> str:
    return f"[{', '.join(map(str, ('B', *description.input_shape)))}]"


def _of_array(array: Array, description: Description) -> Images:
    """Return an array in portions of the batch that a file takes.

    Raises:
        InputError: It has another shape or type than the file takes.
    """
    expected = f"an array {_shape(description)} of float32"
    if array.shape[1:] != description.input_shape or not len(array):
        raise InputError(
            f"An array of shape {list(array.shape)} was given; the file takes {expected}."
        )
    if array.dtype.kind != "f":
        advice = (
            " Pass pictures as photos: a list of paths, Pillow pictures or arrays [H, W, C]."
            if description.preprocess is not None
            else ""
        )
        raise InputError(
            f"An array of {array.dtype} was given; the file takes {expected}, scaled and "
            f"normalised.{advice}"
        )
    images, size = array.astype(np.float32, copy=False), description.batch or len(array)
    portions = [images[first : first + size] for first in range(0, len(images), size)]
    missing = size - len(portions[-1])
    if missing:
        portions[-1] = np.concatenate([portions[-1], *[portions[-1][-1:]] * missing])
    return Images(portions, len(images))


def _decoded(photo: AnyPhoto, channels: int) -> Photo:
    """Return a photo decoded, in the channels that the network takes."""
    if isinstance(photo, str | Path):
        return load_photo(photo, channels=channels)
    if isinstance(photo, Image.Image | Raster):
        return photo
    if hasattr(photo, "ndim"):
        return as_photo(np.asarray(photo), channels)
    raise InputError(
        f"A {type(photo).__name__} was given; a photo was expected: a path, a Pillow picture, a "
        "Raster or an array."
    )


def _picture(photo: AnyPhoto, channels: int) -> Image.Image:
    """Return a photo as a picture of 8 bits in grey or RGB, for a file that prepares it itself.

    Raises:
        PhotoError: It has deeper numbers.
    """
    decoded = in_own_numbers(_decoded(photo, channels))
    if isinstance(decoded, Raster):
        if decoded.values.dtype != np.uint8 or decoded.depth is not None:
            raise PhotoError(
                f"The photo has numbers of {decoded.values.dtype}, and the file takes bytes. Pass "
                "a photo of 8 bits, or export the network without the preprocessing."
            )
        decoded = decoded.picture()
    name = name_of_file(photo) or name_of_file(decoded)
    if isinstance(photo, str | Path):
        name = Path(photo).name
    picture = decoded.convert("L" if channels == 1 else "RGB")
    picture.filename = name  # type: ignore[attr-defined]
    return picture
