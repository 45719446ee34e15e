"""Tables of what was measured, for the pages of methods and of metrics."""

from __future__ import annotations

from collections.abc import Sequence

from site_pages.markdown import code, file_of, table
from site_pages.measured import MeasuredRow, SanityRow

#: What the pages with measured values are called.
TITLES = {
    "measure.md": "Is the map true?",
    "choose.md": "Which map for my network?",
    "benchmarks.md": "Benchmarks",
}

_LEAD = (
    "*Lead* is by how much the map is better than the better control, image by image, with its "
    "95 % interval."
)


def measured_table(found: Sequence[MeasuredRow], *, by_metric: bool) -> str:
    """Return a table of measured values: of one method by metric, or of one metric by method."""
    rows = []
    for each in found:
        where = f"{each.network}, {each.place}"
        first = link("metrics", each.metric) if by_metric else link("methods", each.method)
        values = (each.n, each.own, each.random, each.centre, each.lead, each.beats_chance)
        rows.append((first, where, *values))
    head = ("network, where", "n", "map", "random", "centre", "lead", "beats chance")
    metrics = ", ".join(code(name) for name in dict.fromkeys(each.metric for each in found))
    note = _LEAD if by_metric else f"Measured as {metrics}. {_LEAD}"
    return f"{table(('metric' if by_metric else 'method', *head), rows)}\n\n{note}"


def sanity_table(found: Sequence[SanityRow], *, with_method: bool) -> str:
    """Return a table of results of the test of sanity."""
    head = ("network, where", "n", "likeness", "test of sanity")
    rows = [(each.network, each.n, each.likeness, each.verdict) for each in found]
    if not with_method:
        return table(head, rows)
    names = [link("methods", each.method) for each in found]
    return table(("method", *head), [(n, *row) for n, row in zip(names, rows, strict=True)])


def link(folder: str, name: str) -> str:
    """Return a link to the page of a row, from the page of another."""
    return f"[{code(name)}](../{folder}/{file_of(name.partition(':')[0])}.md)"


def sources(found: Sequence[MeasuredRow | SanityRow]) -> str:
    """Return links to the pages that say how something was measured."""
    pages = dict.fromkeys(each.page for each in found)
    links = " and ".join(f"[{TITLES[page.partition('#')[0]]}](../{page})" for page in pages)
    return f"How this was measured: {links}."
