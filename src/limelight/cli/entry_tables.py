"""The rows of METHODS and METRICS, as text and as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from rich.markup import escape
from rich.table import Table

from limelight.methods import Method
from limelight.metrics import Metric

_Row = TypeVar("_Row", bound=Method | Metric)


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
    }


def entries_table(rows: Iterable[_Row], remark: Callable[[_Row], str] | None = None) -> Table:
    """Return a table of rows, grouped by family.

    Args:
        rows: The rows.
        remark: Returns a line about a row, to stand between its formula and its paper.
    """
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    family = ""
    for row in rows:
        if row.family != family:
            family = row.family
            table.add_row(f"[bold]{family}[/]", "")
        facts = [row.formula, *([remark(row)] if remark else []), row.paper]
        if row.known_options:
            settings = (f"{name}={value}" for name, value in row.known_options.items())
            facts.append(f"options: {', '.join(settings)}")
        text = f"{escape(row.use)}\n[dim]{escape(chr(10).join(facts))}[/]"
        table.add_row(f"  [bold cyan]{row.name}[/]", text)
    return table
