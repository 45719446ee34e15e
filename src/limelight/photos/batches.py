"""Photos decoded ahead of their turn, in batches that fit the memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from PIL import Image
from torch import Tensor

from limelight.ahead import Room, ahead
from limelight.errors import PhotoError
from limelight.photos.decode import decoded, open_photo, photo_errors, upright_size
from limelight.photos.memory import MAX_PIXELS, bytes_to_decode, is_large
from limelight.photos.preprocess import Preprocess, bytes_of_input, bytes_to_draw_on


@dataclass(slots=True)
class Prepared:
    """A photo and the network's input made from it, or the error.

    Attributes:
        path: The file.
        taken: The bytes that it has taken of the room.
        photo: The whole photo; None after an error.
        image: The network's input `[C, H, W]`; None after an error.
        error: Why the photo cannot be read; None when it can.
    """

    path: Path
    taken: int = 0
    photo: Image.Image | None = None
    image: Tensor | None = None
    error: PhotoError | None = None


@dataclass(slots=True)
class _OpenedPhoto:
    """A photo whose pixels are not decoded yet.

    Attributes:
        path: The file.
        picture: The photo; None after an error.
        error: Why the photo cannot be opened; None when it can.
        bytes: The most bytes that it takes on its way to the network.
        ends: Whether a batch ends with it.
    """

    path: Path
    picture: Image.Image | None = None
    error: PhotoError | None = None
    bytes: int = 0
    ends: bool = False


#: The most photos that are decoded ahead: each is an open file.
_AHEAD = 32


def prepared(
    paths: Iterable[Path], preprocess: Preprocess, *, batch: int, room: Room
) -> Iterator[list[Prepared]]:
    """Yield the photos in batches, in order; the next batches are decoded ahead.

    All photos in work fit in the room, so large ones come in smaller batches. The caller gives back
    the bytes that a photo took, and takes photos off the list when done with them.
    """

    def prepare(opened: _OpenedPhoto) -> Prepared:
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
        lambda opened: (prepare(opened), opened.ends),
        _mark_batches((_open(path, preprocess) for path in paths), batch, room.size),
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


def _mark_batches(photos: Iterable[_OpenedPhoto], batch: int, room: int) -> Iterator[_OpenedPhoto]:
    """Mark where a batch ends: after `batch` photos, or before one for which there is no room."""
    count = taken = 0
    for opened, following in pairwise(chain(photos, [None])):
        assert opened is not None
        count, taken = count + 1, taken + opened.bytes
        if following is None or count == batch or taken + following.bytes > room:
            opened.ends, count, taken = True, 0, 0
        yield opened
        del opened, following


def _open(path: Path, preprocess: Preprocess) -> _OpenedPhoto:
    """Open a photo, or note why it cannot be opened."""
    # Not in the threads: Pillow's warnings can only be silenced in one thread at a time.
    with warnings.catch_warnings(action="ignore"):
        try:
            picture = open_photo(path)
            with photo_errors(path):
                size = upright_size(picture)
                drawing = bytes_to_draw_on(preprocess, size)
                needed = max(bytes_to_decode(path, picture), drawing)
                needed += preprocess.bytes_to_resize(size)
                needed += bytes_of_input(preprocess, size)
                return _OpenedPhoto(path, picture, bytes=needed)
        except PhotoError as error:
            return _OpenedPhoto(path, error=error)


def _decoded_quietly(path: Path, picture: Image.Image) -> Image.Image:
    """Decode a photo without a warning about its size, which was checked."""
    if picture.width * picture.height < (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return decoded(path, picture)
    # So large a photo is decoded in the caller's thread, see `is_large`.
    with warnings.catch_warnings(action="ignore"):
        return decoded(path, picture)
