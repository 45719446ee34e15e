"""How the reference reads our docstrings; mkdocs.yml names this file."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: An argument's line that tells of several, and what follows it, further to the right.
_TOGETHER = re.compile(r"^( *)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)$", re.MULTILINE)
_ARGUMENTS = re.compile(r"^( *)Args:\n(?:\1 +\S.*\n| *\n)*(?:\1 +\S.*)?", re.MULTILINE)


class ArgumentsTogether(griffe.Extension):
    """`output, grid: As in explain.` tells of two arguments, each with its own type."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Write them one by one."""
        if obj.docstring is not None:
            obj.docstring.value = one_by_one(obj.docstring.value)


def one_by_one(docstring: str) -> str:
    """Return a docstring in which each argument has a line of its own."""

    def lines(together: re.Match[str]) -> str:
        space, names, text = together.groups()
        return "\n".join(f"{space}{name}: {text}" for name in names.split(", "))

    return _ARGUMENTS.sub(lambda section: _TOGETHER.sub(lines, section[0]), docstring)
