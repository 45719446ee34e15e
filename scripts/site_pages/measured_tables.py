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

_COLUMNS = (
    "*map* is the mean over n images; *random* and *centre* are the same for two controls that know"
    " nothing of the network, noise and a blob in the middle of the picture. *lead* is by how much "
    "the map is better than the better control, image by image, with its 95 % interval. *beats "
    "chance* is stricter: it is corrected for all methods that were compared, which few images "
    "seldom survive."
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
    first = verdict(found) if by_metric else f"Measured as {metrics}."
    return f"{first} {_COLUMNS}\n\n{table(('metric' if by_metric else 'method', *head), rows)}"


def verdict(found: Sequence[MeasuredRow]) -> str:
    """Return how often a method was shown to beat chance, by network, in a sentence."""
    networks = dict.fromkeys(each.network for each in found)
    told = []
    for network in networks:
        rows = [each.beats_chance == "yes" for each in found if each.network == network]
        told.append(f"{sum(rows)} of {len(rows)} measurements on {network}")
    return f"**Shown to beat chance in {', '.join(told)}.**"


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
