"""From photos to rows: decode, look, and compare with what is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from limelight.ahead import Room, ahead
from limelight.audits.data.truth import Truth
from limelight.audits.rows.looking import Looked, Looker
from limelight.errors import PhotoError
from limelight.metrics.objects import Objects
from limelight.metrics.photo_sources import digest_of_file
from limelight.photos.batches import Prepared, input_batches, prepared
from limelight.photos.memory import PHOTO_BYTES, PhotoSize

Row = dict[str, Any]


def _leave(_photo: str) -> None:
    """Leave the file of a photo where it is."""


@dataclass
class RowMaker:
    """Makes the rows of photos, a batch at a time, while the next photos are decoded.

    Attributes:
        looker: Looks at batches of images.
        truth: What is known of the photos.
        local: Returns a file with a photo, by its path or URL.
        done_with: Called with a photo when its file is no longer needed.
        batch: How many photos go through the network together.
        workers: How many threads decode; None for one per processor, up to eight.
    """

    looker: Looker
    truth: Truth
    local: Callable[[str], Path] = Path
    done_with: Callable[[str], None] = _leave
    batch: int = 8
    workers: int | None = None
    _fetched: dict[Path, _Fetched] = field(default_factory=dict, repr=False)

    def rows(self, photos: Iterable[str]) -> Iterator[list[Row]]:
        """Yield the rows of photos batch by batch, in order.

        A photo that cannot be read gives a row with the error. Any other error concerns all photos
        and is raised.
        """
        room = Room(PHOTO_BYTES)
        preprocess = self.looker.network.preprocess
        batches = prepared(
            self._files(photos), preprocess, batch=self.batch, room=room, threads=self.workers
        )
        for loaded in batches:
            begun = [self._begin(each) for each in loaded]
            looked = self._look(loaded, begun)
            rows = [self._finish(start, None if start.error else next(looked)) for start in begun]
            for each, row in zip(loaded, rows, strict=True):
                room.give(each.taken)
                self.done_with(row["photo"])
            del loaded, begun, looked
            yield rows

    def _files(self, photos: Iterable[str]) -> Iterator[Path]:
        """Yield a file for each photo; those that are elsewhere are fetched ahead."""
        count = 2 * self.batch
        for fetched in ahead(self._fetch, photos, threads=min(8, count), count=count):
            self._fetched[fetched.path] = fetched
            yield fetched.path

    def _fetch(self, photo: str) -> _Fetched:
        try:
            return _Fetched(photo, self.local(photo))
        except PhotoError as error:
            return _Fetched(photo, Path(photo), error)

    def _begin(self, loaded: Prepared) -> _Begun:
        """Begin the row of a photo with what is known without the network."""
        photo, path, error = self._fetched.pop(loaded.path)
        error = error or loaded.error
        known = self.truth.of(photo)
        row: Row = {"photo": photo, "label": known.label or None, "group": known.group or None}
        objects: dict[str, Objects] = {}
        label = None
        row |= {"bytes": file_bytes(path), "digest": digest_of_file(path)}
        if loaded.photo is not None:
            size = PhotoSize.of(loaded.photo)
            row |= {"width": size.width, "height": size.height}
            try:
                objects = self.truth.objects(photo, size, self.looker.network.preprocess)
                label = self._label_to_explain(known.label)
            except PhotoError as problem:
                error = problem
        if error is not None:
            error = PhotoError(str(error).replace(str(path), photo))  # not that of a fetched copy
            loaded.image = None
        loaded.photo = None  # it may be large
        return _Begun(row, objects, label, error)

    def _label_to_explain(self, label: str) -> int | None:
        """Return the class of a label, if maps of the labels are asked for.

        Raises:
            PhotoError: No class is known.
        """
        if self.looker.plan.explained == "predicted":
            return None
        indices = sorted(self.truth.classes_of(label)) if label else []
        if len(indices) != 1:
            raise PhotoError(
                "Maps of the labels were asked for, and "
                + (
                    f"the label {label!r} goes with {len(indices)} classes of the network; one was "
                    "expected."
                    if label
                    else "no label is known for this photo."
                )
            )
        return indices[0]

    def _look(self, loaded: Sequence[Prepared], begun: Sequence[_Begun]) -> Iterator[Looked]:
        """Yield what became of each image that could be read, in order."""
        labels = deque(start.label for start in begun if start.error is None)
        for images in input_batches(loaded):
            of_batch = [label for label in (labels.popleft() for _ in images) if label is not None]
            yield from self.looker.look(images, of_batch or None)

    def _finish(self, begun: _Begun, looked: Looked | None) -> Row:
        """Return the whole row."""
        row, objects, error = begun.row, begun.objects, begun.error
        if looked is None:
            return row | {"error": str(error)}
        row |= looked.columns
        if looked.predicted is not None:
            label = row["label"] or ""
            row["right"] = self.truth.is_right(label, looked.predicted, list(objects))
        if objects:
            explained = -1 if looked.explained is None else looked.explained
            row |= looked.beside(self.truth.inside(objects, explained))
        return row


def file_bytes(path: Path) -> int:
    """Return the size of a photo's file; of a picture in a file, the size of that; else 0."""
    for file in (path, path.parent):
        try:
            if file.is_file():
                return file.stat().st_size
        except OSError:
            return 0
    return 0


class _Fetched(NamedTuple):
    """A photo, a file with it, and why there is none, if so."""

    photo: str
    path: Path
    error: PhotoError | None = None


class _Begun(NamedTuple):
    """The row of a photo before the network is run; the label is given where it is explained."""

    row: Row
    objects: dict[str, Objects]
    label: int | None
    error: PhotoError | None
