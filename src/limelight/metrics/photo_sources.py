"""Photos that are loaded when they are needed, in two halves: to choose on, and to confirm on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b, file_digest
from os import fsencode
from pathlib import Path
from typing import NamedTuple

from limelight.errors import InputError, PhotoError
from limelight.inputs import ModelInputs
from limelight.metrics.annotation_files import Annotations, join_objects
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.objects import Objects
from limelight.models.network import Network
from limelight.photos.memory import PhotoSize
from limelight.targets import ScoreTarget

#: Each half of the photos has to be large enough for a claim.
FEWEST_PHOTOS = 2 * FEWEST_IMAGES


#: How many bytes the digest of a photo has.
DIGEST_BYTES = 16


class LoadedPhoto(NamedTuple):
    """A photo as it is measured: the network's input, what is explained, and its objects."""

    inputs: ModelInputs
    target: ScoreTarget
    objects: Objects | None = None


class PhotoSource(NamedTuple):
    """A photo that is loaded when it is needed.

    Attributes:
        name: What to call it.
        digest: A digest of its content. It decides which half the photo is in, so that copies are
            in the same half, and the order of the photos does not matter.
        load: Loads it, or raises a PhotoError.
    """

    name: str
    digest: str
    load: Callable[[], LoadedPhoto]


def halves(photos: Sequence[PhotoSource]) -> tuple[list[PhotoSource], list[PhotoSource]]:
    """Return the different photos in two halves.

    Raises:
        InputError: There are fewer than 16 different photos.
    """
    different = {photo.digest: photo for photo in photos}
    if len(different) < FEWEST_PHOTOS:
        count = len(different)
        given = "There is 1 photo" if count == 1 else f"There are {count} different photos"
        raise InputError(
            f"{given}; at least {FEWEST_PHOTOS} were expected, {FEWEST_IMAGES} to choose on and "
            f"{FEWEST_IMAGES} to confirm the choice."
        )
    in_order = [different[digest] for digest in sorted(different)]
    half = (len(in_order) + 1) // 2
    return in_order[:half], in_order[half:]


def photo_source(
    path: Path, network: Network, target: ScoreTarget, annotations: Annotations | None = None
) -> PhotoSource:
    """Return a photo file, with what is marked on it if annotations are given.

    Its objects are all that is marked. A photo on which nothing is marked cannot be loaded.
    """

    def load() -> LoadedPhoto:
        photo = network.load_photo(path)
        inputs = ModelInputs.of(network.images(photo))
        if annotations is None:
            return LoadedPhoto(inputs, target)
        marked = annotations.objects(path, PhotoSize.of(photo), network.preprocess)
        if not marked:
            raise PhotoError(
                f"Nothing is marked on {str(path)!r}, in the part that the network sees."
            )
        return LoadedPhoto(inputs, target, join_objects(marked))

    return PhotoSource(str(path), digest_of_file(path), load)


def digest_of_file(path: Path) -> str:
    """Return a digest of what is in a file; of its name, if it cannot be read."""
    if path.is_file():  # reading a pipe might never end
        with suppress(OSError), path.open("rb") as file:
            return file_digest(file, _empty_digest).hexdigest()
    return blake2b(
        fsencode(path), digest_size=DIGEST_BYTES
    ).hexdigest()  # loading says what is wrong


def _empty_digest() -> blake2b:
    return blake2b(digest_size=DIGEST_BYTES)
