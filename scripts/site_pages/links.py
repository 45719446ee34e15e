"""What differs in committed pages between GitHub and the site.

On GitHub the pages of methods and metrics are not there, so the tables have no links; and a pipe in
code in a table has a backslash before it, which the site would show.
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

#: Code with pipes, in the row of a table.
_CODE_IN_ROW = re.compile(r"(?<=\| )`[^`\n]*`(?= \|)")

#: A name in the first cell of a row.
_FIRST_CELL = re.compile(r"^\| `([a-z+-]+)` \|", re.MULTILINE)


def linked(path: str, markdown: str) -> str:
    """Return a page of docs as the site shows it.

    Its tables of methods or metrics link to their pages, and have no backslashes before pipes.

    Args:
        path: Its path in docs.
        markdown: Its text.
    """
    folder, known = _TABLES.get(path, ("", frozenset()))

    def link(cell: re.Match[str]) -> str:
        name = cell[1]
        return f"| [`{name}`]({folder}/{file_of(name)}.md) |" if name in known else cell[0]

    plain = _CODE_IN_ROW.sub(lambda code: code[0].replace(r"\|", "|"), markdown)
    return _FIRST_CELL.sub(link, plain) if folder else plain
