"""What the pages of methods and of metrics have in common."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

from limelight.registry import Entry, expected_value
from site_pages.markdown import code, table
from site_pages.measured import departures
from site_pages.row_words import OPTION_WORDS, option_words

#: The sections of a docstring behind which there is no more prose.
_SECTIONS = re.compile(r"^(Args|Returns|Raises):$", re.MULTILINE)


def prose(row: Entry) -> tuple[str, str]:
    """Return the first line of a function's docstring, and its other paragraphs."""
    text = _SECTIONS.split(inspect.getdoc(row.function) or "")[0]
    first, _, others = text.partition("\n\n")
    return first, others.strip()


def check_words(row: Entry, tables: Mapping[str, Mapping[str, object]]) -> None:
    """Tell which words of its own the page of a row still lacks.

    Args:
        row: The row of METHODS or METRICS.
        tables: Where the words of each row are, by the file and the name there.

    Raises:
        LookupError: There are none for this row, or for one of its options.
    """
    missing = [where for where, words in tables.items() if row.name not in words]
    missing += [
        f"OPTION_WORDS of row_words.py (for the option {option!r})"
        for option in row.known_options
        if not {option, f"{row.name} {option}"} & OPTION_WORDS.keys()
    ]
    if missing:
        raise LookupError(
            f"The page of {row.name} has no words yet. Add an entry in scripts/site_pages: "
            f"{', '.join(missing)}. docs/adding.md has an example."
        )


def formula_part(row: Entry, words: Mapping[str, str], signs: Mapping[str, str]) -> str:
    """Return a formula, what its signs mean, and what the function's docstring says of it."""
    names = [sign for sign in signs[row.name].split("; ") if sign]
    explained = table(("sign", "meaning"), [(code(name), words[name]) for name in names])
    parts = [f"```text\n{row.formula}\n```", explained if names else "", prose(row)[1]]
    return "\n\n".join(part for part in parts if part)


def options_part(row: Entry, kind: str) -> str:
    """Return the table of a row's options."""
    if not row.known_options:
        return f"This {kind} has no options of its own."
    rows = [
        (
            code(name),
            code(_shown(default)),
            expected_value(name, default),
            option_words(row.name, name),
        )
        for name, default in row.known_options.items()
    ]
    name, default = next(iter(row.known_options.items()))
    setting = f"{row.name}:{name}={_shown(default)}" if default not in (None, "") else ""
    example = f"Set them behind the name, as in `{setting}`." if setting else ""
    return f"{table(('option', 'default', 'takes', 'what it sets'), rows)}\n\n{example}"


def _shown(value: object) -> str:
    """Return a value of an option as the command line takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value) or '""'


def departures_part(row: Entry, page: str, otherwise: str, more: str) -> str:
    """Return where limelight departs from a row's paper; `otherwise` if it does not."""
    found = departures(page, row.name)
    if not found:
        return f"{row.paper}.\n\n{otherwise} {more}"
    rows = [(each["names"], each["paper"], each["here"], each["why"]) for each in found]
    head = ("of", "the paper", "here", "why")
    return f"{row.paper}.\n\nWhere limelight departs from it:\n\n{table(head, rows)}\n\n{more}"
