"""The option --table: the results of a command as a table in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from limelight.cli.option_groups import path_option
from limelight.cli.run_record import RunRecord
from limelight.cli.words import under_option
from limelight.tables import TableFile

TablePath = Annotated[
    Path | None,
    path_option(
        "--table",
        help="Also write the results as a table: FILE.csv or FILE.parquet. A photo that failed is "
        "a row with its error.",
    ),
]


def plan_table(path: Path | None, columns: Mapping[str, type] | None = None) -> TableFile | None:
    """Return the table to write, if one is asked for; fail before any work is done."""
    if path is None:
        return None
    with under_option("--table"):
        return TableFile.plan(path, columns)


def write_table(table: TableFile | None, run: RunRecord) -> None:
    """Write the table with what was done, however the run ended."""
    if table is not None:
        with run.file(table.path), under_option("--table"):
            table.write()


def write_summary(
    table: TableFile | None, rows: Iterable[Mapping[str, Any]], run: RunRecord
) -> None:
    """Write a table over all photos; each photo that failed has a row of its own."""
    if table is not None:
        nothing = {"photo": None, "error": None}
        table.rows += [{**row, **nothing} for row in rows]
        table.rows += run.failed
        write_table(table, run)
