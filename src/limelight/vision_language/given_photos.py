"""The photos that a model is asked about, and what stands in for them where they are not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from limelight.errors import InputError
from limelight.models.network import AnyPhoto
from limelight.photos.pictures import load_photo
from limelight.photos.raster import Raster, as_photo, in_own_numbers

#: The longer side of a photo that is blurred away, in pixels; its blur is a quarter of that wide.
_BLURRED_PIXELS = 64


def read_photos(
    photos: AnyPhoto | Sequence[AnyPhoto],
) -> tuple[tuple[Image.Image, ...], tuple[str, ...]]:
    """Return photos in RGB, and their names.

    Raises:
        InputError: There is none, or something is no photo.
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    several = list(photos) if isinstance(photos, list | tuple) else [photos]
    if not several:
        raise InputError("There are no photos in the list; pass one at least.")
    read = [_read(photo, number) for number, photo in enumerate(several, 1)]
    return tuple(picture for picture, _ in read), tuple(name for _, name in read)


def _read(photo: object, number: int) -> tuple[Image.Image, str]:
    """Return a photo in RGB and its name: its file's, or its number among all."""
    if isinstance(photo, str | Path):
        loaded, name = load_photo(photo), Path(photo).name
    elif isinstance(photo, np.ndarray):
        loaded, name = as_photo(photo), ""
    elif isinstance(photo, Image.Image | Raster):
        loaded, name = in_own_numbers(photo), Path(getattr(photo, "filename", "")).name
    else:
        raise InputError(
            f"The photo is a {type(photo).__name__}; a file, a Pillow picture, a Raster or an "
            "array was expected, or a list of them."
        )
    if isinstance(loaded, Raster) and loaded.depth is not None:
        raise InputError(
            f"The photo {name or number} is a volume of {loaded.depth} slices; a picture was "
            "expected. Pass one slice of it."
        )
    picture = loaded.picture() if isinstance(loaded, Raster) else loaded.convert("RGB")
    return picture, name or f"photo {number}"


def stand_ins(
    photos: Sequence[Image.Image], others: Sequence[Image.Image]
) -> list[tuple[Image.Image, ...]]:
    """Return what stands in for photos where they are not seen: each time, one picture for each.

    With other photos it is each of them in turn, cropped about its middle to the shape of the photo
    that it stands in for; without, both pictures that `blurred_away` makes.
    """
    if others:
        return [tuple(ImageOps.fit(other, photo.size) for photo in photos) for other in others]
    return list(zip(*map(blurred_away, photos), strict=True))


def blurred_away(photo: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return two pictures of the same size that tell nothing of a photo but how bright it was.

    The first is the photo in grey, blurred by a Gaussian whose deviation is a quarter of its longer
    side, so that neither shape nor colour is left; the second is its negative. What a model says
    without looking it says of both; of one of them alone it may say the right word by chance. One
    of them may also be like nothing that the model was trained on, such as a dark picture for a
    model that saw bright ones alone; then what it says of it tells little.
    """
    grey = photo.convert("L")
    grey.thumbnail((_BLURRED_PIXELS, _BLURRED_PIXELS))
    blurred = grey.filter(ImageFilter.GaussianBlur(_BLURRED_PIXELS / 4))
    blurred = blurred.resize(photo.size, Image.Resampling.BILINEAR)
    return blurred.convert("RGB"), ImageOps.invert(blurred).convert("RGB")
