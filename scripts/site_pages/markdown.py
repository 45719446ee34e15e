"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    """Return code in a line of text."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def cell(text: str) -> str:
    """Return a text for the cell of a table, which a pipe would end."""
    return text.replace("|", r"\|").replace("\n", " ")


def block(language: str, text: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```"


def page(title: str, first: str, sections: Iterable[tuple[str, str]]) -> str:
    """Return a page: a title, a first paragraph, and sections with their headings."""
    parts = [f"# {title}", first, *(f"## {name}\n\n{text}" for name, text in sections)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def file_of(name: str) -> str:
    """Return the name of the file of a row: a plus sign is not for addresses."""
    return name.replace("+", "p")


def anchor_of(text: str, letters: int = 70) -> str:
    """Return the words of a text as an anchor, without its end if it is long."""
    words = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
    return words if len(words) <= letters else words[:letters].rpartition("-")[0]
