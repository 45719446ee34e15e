"""Write tables into pages of the documentation: `make tables`.

What stands between `<!-- methods -->` (or `metrics`, or `errors`) and `<!-- end -->` is written
from METHODS, METRICS and the words of the page; tests/test_docs.py demands that it is as new.
"""

from __future__ import annotations

from pathlib import Path

from limelight.methods import METHODS
from limelight.methods.method import MethodFamily
from limelight.metrics import METRICS
from limelight.web.wording import words

ROOT = Path(__file__).parent.parent
TITLES: dict[MethodFamily, str] = {
    "weighted": "One weight per channel",
    "pointwise": "One weight per cell",
    "spectral": "Leading components",
    "pixels": "Gradients at the input",
    "perturbed": "What is covered",
    "attention": "Transformers",
    "words": "Vision-language models",
    "control": "What a method has to beat",
}


def table(*rows: tuple[str, ...]) -> str:
    """Return a table in Markdown; the first row is its head."""
    head, *others = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *others])


def code(formula: str) -> str:
    """Return a cell of code, in which a pipe would end the cell."""
    return f"`{formula}`".replace("|", r"\|")


def methods() -> str:
    """Return a table per family."""
    tables = []
    for family, title in TITLES.items():
        rows = [row for row in METHODS.values() if row.family == family]
        cells = [(code(row.name), code(row.formula), row.paper) for row in rows]
        tables.append(f"**{title}**\n\n" + table(("name", "raw map", "paper"), *cells))
    return "\n\n".join(tables)


def metrics() -> str:
    """Return the table of metrics."""
    rows = METRICS.values()
    cells = [(code(row.name), code(row.formula), row.better, row.paper) for row in rows]
    return table(("metric", "formula", "better", "paper"), *cells)


def errors() -> str:
    """Return the table of the errors of the page: their codes and sentences."""
    texts = [(name, text) for name, text in words("en")["errors"].items() if name != "library"]
    return table(("code", "what it says"), *((code(name), text) for name, text in texts))


PAGES = {
    "docs/methods.md": ("methods", methods),
    "docs/measure.md": ("metrics", metrics),
    "docs/page-api.md": ("errors", errors),
}


def renewed(page: str) -> str:
    """Return the text of a page of PAGES with its tables as they are now."""
    section, write = PAGES[page]
    before, after = (ROOT / page).read_text().split(f"<!-- {section} -->\n")
    _, after = after.split("<!-- end -->", maxsplit=1)
    return f"{before}<!-- {section} -->\n\n{write()}\n\n<!-- end -->{after}"


if __name__ == "__main__":
    for path in PAGES:
        (ROOT / path).write_text(renewed(path))
