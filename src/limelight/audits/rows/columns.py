"""The rows of an audit: one for each photo, in Parquet, and as arrays to search."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from limelight.errors import OptionError
from limelight.plain import as_json

if TYPE_CHECKING:
    import pyarrow

Floats = npt.NDArray[np.floating]
Numbers = npt.NDArray[np.integer]
Texts = npt.NDArray[np.object_]

#: The version of the files' form. A reader refuses files of a later one.
FORMAT = 1

#: The columns of a row, with their types in Arrow. They are part of the files: docs/audit.md has
#: what each holds.
ROW_COLUMNS: Mapping[str, str] = {
    "photo": "string",
    "bytes": "int64",
    "digest": "string",
    "look": "uint64",
    "width": "int32",
    "height": "int32",
    "group": "string",
    "label": "string",
    "predicted": "string",
    "probability": "float",
    "right": "bool",
    "explained": "string",
    "score": "float",
    "status": "string",
    "message": "string",
    "layer": "string",
    "method": "string",
    "map": "list<halffloat>",
    "map_scale": "float",
    "peak_cells": "list<int32>",
    "peak_heat": "list<halffloat>",
    "peak_features": "list<halffloat>",
    "energy_inside": "float",
    "pointing_hit": "float",
    "mass_accuracy": "float",
    "object_share": "float",
    "iou": "float",
    "object_coverage": "float",
    "saliency_coverage": "float",
    "error": "string",
}

#: Columns that are stored byte by byte, which makes half-precision numbers shorter.
_SPLIT = ("map", "peak_heat", "peak_features")

#: Columns of numbers that may be missing.
_NUMBERS = (
    "probability",
    "right",
    "score",
    "energy_inside",
    "pointing_hit",
    "mass_accuracy",
    "object_share",
    "iou",
    "object_coverage",
    "saliency_coverage",
)

_KEY = b"limelight"

#: A byte of a file's name that is no text, as Python holds it, written out.
_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


class MapForm(NamedTuple):
    """The form of the maps and of the features in all rows of a run.

    Attributes:
        grid: Rows h and columns w of cells. Cell (i, j) is the part of the network's input from
            `i H / h` to `(i + 1) H / h` down, and from `j W / w` to `(j + 1) W / w` across.
        features: How many numbers K describe what is under a peak.
    """

    grid: tuple[int, int]
    features: int


@dataclass(frozen=True, eq=False)
class Peaks:
    """The local maxima of maps, P in all, and what the network saw under them.

    Attributes:
        photo: The number of the row that each is of, `[P]`.
        row: The row of its cell, `[P]`.
        column: The column of its cell, `[P]`.
        heat: The heat there, `[P]`; 1 is the highest of the photo.
        features: The mean of early activations in the 3 x 3 cells around it, weighed by their heat,
            `[P, K]`.
    """

    photo: Numbers
    row: Numbers
    column: Numbers
    heat: Floats
    features: Floats

    def __len__(self) -> int:
        """Return how many peaks there are."""
        return len(self.photo)

    def of_photos(self, chosen: npt.NDArray[np.bool_]) -> Peaks:
        """Return the peaks of chosen rows, `[N]` yes or no, with the numbers of the rows left."""
        kept, number = chosen[self.photo], np.cumsum(chosen) - 1
        return Peaks(
            number[self.photo[kept]],
            self.row[kept],
            self.column[kept],
            self.heat[kept],
            self.features[kept],
        )


@dataclass(frozen=True, eq=False)
class AuditRows:
    """The rows of an audit as arrays: N photos.

    Texts are "" where a value is missing, numbers NaN.

    Attributes:
        photo: Path or URL of the file, `[N]`.
        digest: The digest of its content.
        look: A 64-bit difference hash of what the network sees: few bits differ where two photos
            look alike.
        width, height: Its size in pixels; 0 where it could not be read.
        group: What the photo belongs to (a patient, a film), as the user said.
        label: The true class, as the user said.
        predicted: The class with the highest score.
        probability: Its probability.
        right: Whether the answer is right: 1, 0, or NaN where that is not known.
        explained: The class that the map is of.
        score: Its score, before softmax.
        status: The status of the map; `ok` where it can be read.
        message: What the status means, where it is not ok.
        layer, method: How the map was made.
        energy_inside: The share of the heat that lies on the marked objects.
        pointing_hit: Whether the highest heat lies on one.
        mass_accuracy: The share of the positive relevance that lies on them.
        object_share: The share of the picture that they cover, which is what chance gives.
        iou: Intersection over union of the objects and the hot pixels: those with at least half of
            the highest heat.
        object_coverage: The share of the objects that is hot.
        saliency_coverage: The share of the hot pixels that lies on the objects.
        error: Why there is no map.
        maps: The heat, `[N, h, w]`; 1 is the highest of each photo. It is 0 where there is no map.
        peaks: The local maxima of the maps.
    """

    photo: Texts
    digest: Texts
    look: npt.NDArray[np.uint64]
    width: Numbers
    height: Numbers
    group: Texts
    label: Texts
    predicted: Texts
    probability: Floats
    right: Floats
    explained: Texts
    score: Floats
    status: Texts
    message: Texts
    layer: Texts
    method: Texts
    energy_inside: Floats
    pointing_hit: Floats
    mass_accuracy: Floats
    object_share: Floats
    iou: Floats
    object_coverage: Floats
    saliency_coverage: Floats
    error: Texts
    maps: npt.NDArray[np.float16]
    peaks: Peaks

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.photo)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which rows have a map that can be read, `[N]`."""
        ok: npt.NDArray[np.bool_] = self.status == "ok"
        return ok

    @property
    def of_answer(self) -> npt.NDArray[np.bool_]:
        """Which rows have a map that can be read of the predicted class, not of another, `[N]`."""
        same = (self.explained == self.predicted) | (self.explained == "")
        of_answer: npt.NDArray[np.bool_] = self.ok & same
        return of_answer

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which answers are wrong, `[N]`."""
        wrong: npt.NDArray[np.bool_] = self.right == 0
        return wrong

    @property
    def by_content(self) -> Numbers:
        """The numbers of the rows by content, then by name, `[N]`: not as they were read."""
        return np.lexsort((self.photo.astype(str), self.digest.astype(str)))

    @property
    def rank(self) -> Numbers:
        """The place of each row among those by content, `[N]`."""
        rank = np.empty(len(self), np.int64)
        rank[self.by_content] = np.arange(len(self))
        return rank

    def take(self, chosen: npt.NDArray[np.bool_]) -> AuditRows:
        """Return chosen rows, `[N]` yes or no, with their peaks."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        peaks = parts.pop("peaks").of_photos(chosen)
        return AuditRows(**{name: values[chosen] for name, values in parts.items()}, peaks=peaks)


def write_rows(file: IO[bytes], rows: Sequence[Mapping[str, Any]], form: MapForm) -> None:
    """Write rows, each a value for every one of `ROW_COLUMNS` or fewer, as a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    facts = {"format": FORMAT, "grid": form.grid, "features": form.features}
    schema = pyarrow.schema(
        [(name, _arrow_type(kind)) for name, kind in ROW_COLUMNS.items()],
        {_KEY: as_json(facts).encode()},
    )
    columns = {name: [row.get(name) for row in rows] for name in ROW_COLUMNS}
    arrays = [
        _halves(values)
        if name in _SPLIT
        else pyarrow.array(map(_plain_text, values), schema.field(name).type)
        for name, values in columns.items()
    ]
    leaves = {name: f"{name}.list.element" for name in _SPLIT}
    pyarrow.parquet.write_table(
        pyarrow.Table.from_arrays(arrays, schema=schema),
        file,
        compression="zstd",
        use_dictionary=[
            name for name, kind in ROW_COLUMNS.items() if kind == "string" and name != "photo"
        ],
        use_byte_stream_split=list(leaves.values()),
    )


def _plain_text(value: Any) -> Any:
    r"""Return a value; of text, bytes of a file's name that are no text become `\udcff`."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def photo_name(text: str) -> str:
    """Return the name of a photo from what stands in its row."""
    if "\\udc" not in text:
        return text
    return _BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def _arrow_type(kind: str) -> pyarrow.DataType:
    import pyarrow

    if kind.startswith("list<"):
        return pyarrow.list_(pyarrow.type_for_alias(kind[5:-1]))
    return pyarrow.type_for_alias(kind)


def _halves(values: Sequence[Any]) -> pyarrow.Array:
    """Return lists of numbers in half precision."""
    import pyarrow

    counts = [0 if each is None else np.size(each) for each in values]
    known = [np.asarray(each, dtype=np.float16).ravel() for each in values if each is not None]
    flat = np.concatenate(known) if known else np.empty(0, np.float16)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = pyarrow.array([each is None for each in values], pyarrow.bool_())
    return pyarrow.ListArray.from_arrays(pyarrow.array(ends), pyarrow.array(flat), mask=mask)


def read_form(schema: pyarrow.Schema, name: str) -> MapForm:
    """Return the form of the maps in a file of rows.

    Raises:
        OptionError: It is no file of rows, or one of a later version.
    """
    import json

    try:
        facts = json.loads((schema.metadata or {})[_KEY])
        form = MapForm((int(facts["grid"][0]), int(facts["grid"][1])), int(facts["features"]))
        version = int(facts["format"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise OptionError(
            f"{name!r} does not hold rows of an audit. Pass a folder of `limelight audit`."
        ) from error
    if version > FORMAT:
        raise OptionError(
            f"{name!r} was written by a later limelight (form {version}; this one reads form "
            f"{FORMAT}). Install that one."
        )
    return form


def as_arrays(table: pyarrow.Table, form: MapForm) -> AuditRows:
    """Return a table of rows as arrays."""
    count = table.num_rows

    def column(name: str) -> Any:
        return table.column(name).combine_chunks()

    def texts(name: str) -> Texts:
        return np.array([value or "" for value in column(name).to_pylist()], dtype=object)

    def numbers(name: str) -> Floats:
        values = column(name).to_pylist()
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def counts(name: str) -> Numbers:
        return np.array([value or 0 for value in column(name).to_pylist()], dtype=np.int64)

    def lists(name: str, kind: type[np.generic]) -> tuple[npt.NDArray[Any], Numbers]:
        values = column(name)
        return (
            np.asarray(values.flatten()).astype(kind),
            np.array(values.value_lengths().fill_null(0)).astype(np.int64),
        )

    heat, cells_of = lists("map", np.float16)
    maps = np.zeros((count, *form.grid), np.float16)
    maps[cells_of > 0] = heat.reshape(-1, *form.grid)
    cells, peaks_of = lists("peak_cells", np.int64)
    features, _ = lists("peak_features", np.float32)
    look = [value or 0 for value in column("look").to_pylist()]
    arrays: dict[str, Any] = {
        name: texts(name) for name, kind in ROW_COLUMNS.items() if kind == "string"
    }
    arrays["photo"] = np.array(list(map(photo_name, arrays["photo"])), dtype=object)
    arrays |= {name: numbers(name) for name in _NUMBERS}
    return AuditRows(
        **arrays,
        width=counts("width"),
        height=counts("height"),
        look=np.array(look, dtype=np.uint64),
        maps=maps,
        peaks=Peaks(
            np.repeat(np.arange(count), peaks_of),
            cells // form.grid[1],
            cells % form.grid[1],
            lists("peak_heat", np.float32)[0],
            features.reshape(len(cells), form.features),
        ),
    )
