"""The rows of a run in files, each written whole or not at all, so that a run can go on."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import numpy as np

from limelight.audits.rows.columns import (
    AuditRows,
    MapForm,
    as_arrays,
    photo_name,
    read_form,
    write_rows,
)
from limelight.errors import OptionError

#: The folder of the rows, in that of the run.
ROWS = "rows"

#: A file is written when it has so many rows, or after a fifth of the time that the run has taken,
#: but at least one second and at most a minute: a run that is killed loses no more than that.
MOST_ROWS, SHARE_OF_TIME, LEAST_SECONDS, MOST_SECONDS = 1024, 0.2, 1.0, 60.0

#: With more rows, so many are read: those whose photos have the lowest digests.
MOST_READ = 200_000


class Folder(Protocol):
    """A folder for what a run writes: on this machine, or elsewhere."""

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all; return its path or URL."""

    def read(self, name: str) -> bytes:
        """Return what a file holds."""

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the files that begin with a prefix, sorted."""


class Shards:
    """The rows of a run, in Parquet files of a folder.

    Attributes:
        folder: The folder of the run.
        form: The form of the maps.
    """

    def __init__(self, folder: Folder, form: MapForm) -> None:
        """Begin with no rows to write."""
        self.folder, self.form = folder, form
        self._rows: list[Mapping[str, Any]] = []
        self._began = self._written = time.monotonic()
        self._next = 1 + max(map(_number, shard_names(folder)), default=0)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of a batch, and write a file when it is time.

        A file holds whole batches: rounding depends on what goes through the network together, and
        a run that goes on with whole batches gives the rows of one that was never interrupted.

        Raises:
            OutputError: It cannot be written. The rows before it are kept.
        """
        self._rows += rows
        now = time.monotonic()
        wait = min(MOST_SECONDS, max(LEAST_SECONDS, SHARE_OF_TIME * (now - self._began)))
        if len(self._rows) >= MOST_ROWS or now - self._written >= wait:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are left.

        Raises:
            OutputError: They cannot be written. The rows before them are kept.
        """
        if self._rows:
            buffer = BytesIO()
            write_rows(buffer, self._rows, self.form)
            self.folder.write(f"{ROWS}/part-{self._next:06d}.parquet", buffer.getvalue())
            self._next, self._rows = self._next + 1, []
        self._written = time.monotonic()


def shard_names(folder: Folder) -> list[str]:
    """Return the names of the files of rows, in the order in which they were written."""
    return [name for name in folder.names(f"{ROWS}/") if name.endswith(".parquet")]


def _number(name: str) -> int:
    """Return the number of a file of rows; 0 for other names."""
    digits = name.rpartition("-")[2].removesuffix(".parquet")
    return int(digits) if digits.isdigit() else 0


def read_done(folder: Folder) -> dict[str, int]:
    """Return the photos whose rows are written, with their sizes in bytes."""
    done = dict[str, int]()
    for name in shard_names(folder):
        table = _table(folder, name, ["photo", "bytes"])
        sizes = [size or 0 for size in table.column("bytes").to_pylist()]
        done.update(zip(_photos(table), sizes, strict=True))
    return done


class ReadRows(NamedTuple):
    """Rows that were read: all of a run, or a sample.

    Attributes:
        rows: The rows, sorted by photo.
        total: How many the run has.
    """

    rows: AuditRows
    total: int


def read_rows(
    folder: Folder, most: int = MOST_READ, among: Collection[str] | None = None
) -> ReadRows:
    """Return the rows of a run; of more than `most`, those with the lowest digests.

    A photo that was done again counts once, by its last row.

    Args:
        folder: The folder of the run.
        most: How many rows are read at most.
        among: The photos whose rows count; None for all.

    Raises:
        OptionError: The folder holds no rows.
    """
    import pyarrow

    names = shard_names(folder)
    if not names:
        raise OptionError(
            "There are no rows of an audit in the folder. Pass photos and a network to make some."
        )
    last = _last_rows(folder, names, None if among is None else set(among))
    chosen = {row.place for row in nsmallest(most, last.values())}
    tables, form = list[Any](), None
    for number, name in enumerate(names):
        table = _table(folder, name)
        form = read_form(table.schema, name)
        is_chosen = [(number, row) in chosen for row in range(table.num_rows)]
        tables.append(table.filter(pyarrow.array(is_chosen, pyarrow.bool_())))
    assert form is not None
    table = pyarrow.concat_tables(tables)
    order = np.argsort(np.array(_photos(table), dtype=object), kind="stable")
    return ReadRows(as_arrays(table.take(pyarrow.array(order)), form), len(last))


class _Place(NamedTuple):
    """Where the row of a photo is; those of lower digests come first.

    Attributes:
        digest: The digest of the photo.
        place: The number of the file, and of the row in it.
    """

    digest: str
    place: tuple[int, int]


def _last_rows(
    folder: Folder, names: Sequence[str], among: Collection[str] | None
) -> dict[str, _Place]:
    """Return where the last row of each photo is."""
    last = dict[str, _Place]()
    for number, name in enumerate(names):
        table = _table(folder, name, ["photo", "digest"])
        pairs = zip(_photos(table), table["digest"].to_pylist(), strict=True)
        for row, (photo, digest) in enumerate(pairs):
            if among is None or photo in among:
                last[photo] = _Place(digest or "", (number, row))
    return last


def _photos(table: Any) -> list[str]:
    """Return the names of the photos in a table of rows."""
    return list(map(photo_name, table["photo"].to_pylist()))


def _table(folder: Folder, name: str, columns: Sequence[str] | None = None) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(BytesIO(folder.read(name)), columns=columns)
    except (pyarrow.ArrowException, OSError) as error:  # what Arrow raises depends on the fault
        raise OptionError(
            f"{name!r} is no Parquet file of an audit ({error}). Delete it, and its photos are "
            "done again."
        ) from error
