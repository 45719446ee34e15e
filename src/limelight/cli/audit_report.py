"""What `limelight audit` prints: the verdict, the findings, and where the report is."""

from __future__ import annotations

from math import isnan
from typing import Any

from rich.markup import escape
from rich.table import Table

from limelight.audits.pages.differing import (
    AuditDifference,
    difference_as_dict,
    difference_sentence,
)
from limelight.audits.results import Audit
from limelight.audits.verdict import (
    audit_as_dict,
    counted,
    findings_table,
    heat_on_objects,
    verdict,
)
from limelight.cli.output import Console, document

#: How many findings are printed; the report has all.
_MOST_FINDINGS = 10


def print_audit(console: Console, audit: Audit, out: str, *, as_json: bool, report: bool) -> None:
    """Print what an audit found, for a machine or for people."""
    if as_json:
        document(audit_as_dict(audit) | {"out": out})
        return
    console.print(f"[bold]{escape(verdict(audit))}[/]", highlight=False)
    on_objects = heat_on_objects(audit.rows)
    if on_objects:
        console.print(
            f"On the marked objects lies {on_objects.share:.0%} of the heat; uniform maps have "
            f"{on_objects.chance:.0%} there ({counted(on_objects.photos, 'photo')}).",
            highlight=False,
        )
    rows = findings_table(audit)
    if rows:
        console.print(_table(rows[:_MOST_FINDINGS]))
    if len(rows) > _MOST_FINDINGS:
        console.print(f"... and {len(rows) - _MOST_FINDINGS} more, in the report")
    for warning in audit.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}", highlight=False)
    files = "report.html, lists and findings.json are" if report else "findings.json is"
    console.print(f"{files} in {escape(out)}.")


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return a table of findings."""
    table = Table(box=None, padding=(0, 1))
    headings = ("", "finding", "photos", "right with", "without", "excess", "p", "place z", "lift")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading != "finding")
    for row in rows:
        z = row["place"] if row["kind"] == "place" else row["border"]
        table.add_row(
            str(row["number"]),
            escape(row["title"]),
            str(row["photos"]),
            _share(row["right_with"]),
            _share(row["right_without"]),
            _share(row["excess"], sign="+"),
            _number(row["p"], ".2g"),
            _number(z, ".1f") if row["kind"] in ("place", "border") else "",
            _number(row["lift"], ".2f"),
        )
    return table


def _share(value: float, sign: str = "") -> str:
    return _number(value, f"{sign}.0%")


def _number(value: float, form: str) -> str:
    return "" if isnan(value) else format(value, form)


def print_difference(
    console: Console, difference: AuditDifference, out: str, *, as_json: bool
) -> None:
    """Print what differs between two audits, for a machine or for people."""
    if as_json:
        document(difference_as_dict(difference) | {"out": out})
        return
    folders = [escape(str(each.run.get("folder", ""))) for each in (difference.a, difference.b)]
    console.print(f"A is {folders[0]}, and B is {folders[1]}.", highlight=False)
    console.print(f"[bold]{escape(difference_sentence(difference))}[/]", highlight=False)
    console.print(f"difference.html is in {escape(out)}.")
