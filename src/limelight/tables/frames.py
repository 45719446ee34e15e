"""Rows as a data frame of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

#: The types of pandas for the types of columns; those of whole numbers can be missing.
_DTYPES = {int: "Int64", float: "float64", str: "object", bool: "boolean"}


def as_frame(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type] | None = None
) -> pandas.DataFrame:
    """Return rows as a data frame.

    Args:
        rows: The rows, all with the same keys.
        columns: The types of the columns, so that an empty one has its type too; None to take them
            from the values.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    import pandas

    if columns is None:
        return pandas.DataFrame.from_records(list(rows))
    return pandas.DataFrame(
        {
            name: pandas.Series([row.get(name) for row in rows], dtype=_DTYPES[kind])
            for name, kind in columns.items()
        }
    )
