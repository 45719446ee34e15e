"""Links from the tables of committed pages to the generated pages, for the site alone.

On GitHub the pages of methods and metrics are not there, so the tables have no links.
"""

from __future__ import annotations

import re

from limelight.methods import METHODS
from limelight.metrics import METRICS
from site_pages.markdown import file_of

#: The pages with tables, and the names in their first column with the folder of their pages.
_TABLES: dict[str, tuple[str, frozenset[str]]] = {
    "methods.md": ("methods", frozenset(METHODS)),
    "measure.md": ("metrics", frozenset(METRICS)),
}

#: A name in the first cell of a row.
_FIRST_CELL = re.compile(r"^\| `([a-z+-]+)` \|", re.MULTILINE)


def linked(path: str, markdown: str) -> str:
    """Return a page of docs whose tables link to the pages of methods or metrics.

    Args:
        path: Its path in docs.
        markdown: Its text.
    """
    folder, known = _TABLES.get(path, ("", frozenset()))

    def link(cell: re.Match[str]) -> str:
        name = cell[1]
        return f"| [`{name}`]({folder}/{file_of(name)}.md) |" if name in known else cell[0]

    return _FIRST_CELL.sub(link, markdown) if folder else markdown
