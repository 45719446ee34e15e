"""Photos decoded ahead, in batches that fit the memory."""

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
from limelight.photos.decode import decoded, open_photo, telling, upright_size
from limelight.photos.memory import MAX_PIXELS, bytes_to_decode, bytes_to_draw, is_large
from limelight.photos.preprocess import Preprocess, bytes_of_input


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
                size = upright_size(picture)
                whole = bytes_to_decode(path, picture), bytes_to_draw(preprocess.view_size(size))
                needed = max(whole) + preprocess.bytes_to_resize(size)
                return _Opened(path, picture, bytes=needed + bytes_of_input(preprocess, size))
        except PhotoError as error:
            return _Opened(path, error=error)


def _decoded_quietly(path: Path, picture: Image.Image) -> Image.Image:
    """Decode a photo without a warning of its size, which was checked."""
    if picture.width * picture.height < (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return decoded(path, picture)
    # So large a one is decoded in the caller's thread, see `is_large`.
    with warnings.catch_warnings(action="ignore"):
        return decoded(path, picture)
