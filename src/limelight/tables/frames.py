"""Rows as a data frame of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from limelight.errors import OptionError

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
        OptionError: pandas is not installed.
    """
    refuse_without("pandas", "to_frame() returns a data frame of pandas")
    import pandas

    if columns is None:
        return pandas.DataFrame.from_records(list(rows))
    return pandas.DataFrame(
        {
            name: pandas.Series([row.get(name) for row in rows], dtype=_DTYPES[kind])
            for name, kind in columns.items()
        }
    )


def refuse_without(package: str, purpose: str, extra: str = "tables") -> None:
    """Refuse what needs a package of an extra, if that is not installed.

    Raises:
        OptionError: It is not.
    """
    if find_spec(package) is None:
        raise OptionError(
            f"{purpose}, and {package} is not installed: pip install 'limelight[{extra}]'."
        )
