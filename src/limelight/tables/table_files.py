"""Tables as files: CSV and Parquet, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, get_args

from limelight import files
from limelight.errors import OutputError
from limelight.extras import refuse_without

TableFormat = Literal["csv", "parquet"]

#: The suffixes of tables.
TABLE_FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)

Row = Mapping[str, Any]


@dataclass
class TableFile:
    """A table that grows during a run, and is written at its end.

    Attributes:
        path: The file; its suffix is the format.
        columns: The columns and their types; None to take them from the rows.
        rows: The rows so far, as plain values.
    """

    path: Path
    columns: Mapping[str, type] | None = None
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def plan(cls, path: Path, columns: Mapping[str, type] | None = None) -> TableFile:
        """Return an empty table, after checking that it can be written.

        Raises:
            OutputError: The suffix is unknown, the path is a folder, or nothing can be written
                there.
            MissingPackageError: The package for the format is not installed.
        """
        if files.known_suffix(path, TABLE_FORMATS) == "parquet":
            refuse_without("pyarrow")
        if path.is_dir():
            raise OutputError(
                f"Cannot write {str(path)!r}: there is a folder of that name. Pass another path."
            )
        files.make_folder(path.parent)
        return cls(path, columns)

    def write(self) -> Path:
        """Write the table.

        Raises:
            OutputError: It cannot be written there; a file that was there is untouched.
        """
        if files.known_suffix(self.path, TABLE_FORMATS) == "csv":
            text = csv_text(self.rows, self.columns, line_end="\r\n")
            return files.write_whole(self.path, text.encode())
        return files.write_whole(self.path, self._write_parquet)

    def _write_parquet(self, file: IO[bytes]) -> None:
        import pyarrow
        import pyarrow.parquet

        names = column_names(self.rows, self.columns)
        columns = {name: [_plain_text(row.get(name)) for row in self.rows] for name in names}
        kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        arrays = [
            pyarrow.array(values, type=kinds.get((self.columns or {}).get(name, object)))
            for name, values in columns.items()
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=list(columns)), file)


def column_names(rows: Sequence[Row], columns: Mapping[str, type] | None) -> list[str]:
    """Return the names of the columns: the given ones, or those of all rows, in their order."""
    if columns is not None:
        return list(columns)
    return list(dict.fromkeys(name for row in rows for name in row))


def csv_text(
    rows: Sequence[Row], columns: Mapping[str, type] | None = None, *, line_end: str = "\n"
) -> str:
    """Return rows as CSV with a header, by RFC 4180 when the line end is CR LF.

    A missing value is empty. Floating point numbers have all digits: reading them gives the same
    numbers. Text is written as it is, also where it begins with '=': a changed name would be
    another name.
    """
    buffer = io.StringIO()
    names = column_names(rows, columns)
    writer = csv.DictWriter(buffer, names, lineterminator=line_end)
    writer.writeheader()
    writer.writerows({name: _plain_text(row.get(name)) for name in names} for row in rows)
    return buffer.getvalue()


def _plain_text(value: Any) -> Any:
    r"""Return text as UTF-8 can hold it: bytes of a name that are no text become `\udcff`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
