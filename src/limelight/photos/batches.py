"""Photos decoded ahead of their turn, in batches that fit the memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import torch
from torch import Tensor

from limelight.ahead import Room, ahead
from limelight.errors import PhotoError
from limelight.photos.memory import is_large
from limelight.photos.opened import OpenedPicture, StackEndError
from limelight.photos.pictures import open_picture
from limelight.photos.preprocess import Preprocess, bytes_of_input, bytes_to_draw_on
from limelight.photos.raster import Photo


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
    photo: Photo | None = None
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
    picture: OpenedPicture | None = None
    error: PhotoError | None = None
    bytes: int = 0
    ends: bool = False


#: The most photos that are decoded ahead: each is an open file.
_AHEAD = 32


def prepared(
    paths: Iterable[Path],
    preprocess: Preprocess,
    *,
    batch: int,
    room: Room,
    threads: int | None = None,
) -> Iterator[list[Prepared]]:
    """Yield the photos in batches, in order; the next batches are decoded ahead.

    All photos in work fit in the room, so large ones come in smaller batches. The caller gives back
    the bytes that a photo took, and takes photos off the list when done with them.

    Args:
        paths, preprocess: The photos, and how they become inputs.
        batch: How many photos a batch has at most.
        room: The bytes that photos may take.
        threads: How many threads decode; None for one per processor, up to eight.
    """

    def prepare(opened: _OpenedPhoto) -> Prepared:
        done = Prepared(opened.path, opened.bytes, error=opened.error)
        if opened.picture is None:
            return done
        try:
            done.photo = opened.picture.decode()
            done.image = preprocess(done.photo)
        except PhotoError as error:
            done.photo, done.error = None, error
        finally:
            opened.picture = None
        return done

    group: list[Prepared] = []
    for done, ends in ahead(
        lambda opened: (prepare(opened), opened.ends),
        _mark_batches(_open_each(paths, preprocess), batch, room.size),
        threads=threads or min(8, os.cpu_count() or 1),
        count=min(2 * batch, max(_AHEAD, 2 * (threads or 0))),
        room=room,
        needs=lambda opened: opened.bytes,
        alone=lambda opened: is_large(opened.bytes),
    ):
        group.append(done)
        del done
        if ends:
            yield group
            group = []


def input_batches(loaded: Sequence[Prepared]) -> Iterator[Tensor]:
    """Yield the inputs of photos in batches; the photos no longer hold them, as they may be large.

    Inputs of different sizes go through the network one by one.
    """
    inputs = deque[Tensor]()
    for photo in loaded:
        if photo.image is not None:
            inputs.append(photo.image)
            photo.image = None
    if len({image.shape for image in inputs}) == 1:
        images = torch.stack(tuple(inputs))
        inputs.clear()
        yield images
    while inputs:
        yield torch.stack((inputs.popleft(),))


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


def _open_each(paths: Iterable[Path], preprocess: Preprocess) -> Iterator[_OpenedPhoto]:
    """Open photos; of a stack that ends early, the pictures behind its end are left out."""
    ended = set[Path]()
    for path in paths:
        if path.parent not in ended:
            opened = _open(path, preprocess)
            if isinstance(opened.error, StackEndError):
                ended.add(path.parent)
            yield opened
            del opened


def _open(path: Path, preprocess: Preprocess) -> _OpenedPhoto:
    """Open a photo, or note why it cannot be opened."""
    try:
        picture = open_picture(path, preprocess.channels, preprocess.frames)
    except PhotoError as error:
        return _OpenedPhoto(path, error=error)
    needed = max(picture.bytes, bytes_to_draw_on(preprocess, picture.size))
    needed += preprocess.bytes_to_resize(picture.size)
    needed += bytes_of_input(preprocess, picture.size)
    return _OpenedPhoto(path, picture, bytes=needed)
