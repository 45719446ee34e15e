"""The rows of METHODS and METRICS, as text and as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from limelight.methods import Method
from limelight.metrics import Metric
from limelight.registry import expected_value, find_entries

_Row = TypeVar("_Row", bound=Method | Metric)

#: Which rows a command shows.
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Only these, with the ranges of their options."),
]


def named_rows(table: Mapping[str, _Row], kind: str, names: Sequence[str] | None) -> list[_Row]:
    """Return the rows of a table that are named; all if none is.

    Raises:
        UnknownNameError, OptionError: As `find_entry`.
    """
    return find_entries(table, kind, names) if names else list(table.values())


def entry_as_dict(row: Method | Metric) -> dict[str, Any]:
    """Return a row as plain values."""
    return {
        "name": row.name,
        "formula": row.formula,
        "family": row.family,
        "needs": sorted(row.needs),
        "options": row.known_options,
        "paper": row.paper,
        "use": row.use,
        "avoid": row.avoid,
    }


def entries_table(
    rows: Iterable[_Row],
    remark: Callable[[_Row], str] | None = None,
    *,
    with_ranges: bool = False,
) -> Table:
    """Return a table of rows, grouped by family.

    Args:
        rows: The rows.
        remark: Returns a line about a row, to stand between its formula and its paper.
        with_ranges: Whether to say which values each option takes.
    """
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    family = ""
    for row in rows:
        if row.family != family:
            family = row.family
            table.add_row(f"[bold]{family}[/]", "")
        facts = [row.formula, *([remark(row)] if remark else []), row.paper]
        settings = [f"{name}={value}" for name, value in row.known_options.items()]
        if with_ranges:
            ranges = (expected_value(*option) for option in row.known_options.items())
            facts += [f"{own}  {range_}" for own, range_ in zip(settings, ranges, strict=True)]
        elif settings:
            facts.append(f"options: {', '.join(settings)}")
        text = f"{escape(row.use)}\n[italic]Not:[/] {escape(row.avoid)}"
        text += f"\n[dim]{escape(chr(10).join(facts))}[/]"
        table.add_row(f"  [bold cyan]{row.name}[/]", text)
    return table
