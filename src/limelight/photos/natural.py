"""The order of file names in which frame-10 comes after frame-2."""

from __future__ import annotations

import re
from pathlib import Path

_Part = tuple[tuple[str, int], ...]


def natural(path: Path) -> tuple[tuple[_Part, ...], str]:
    """Return a key that sorts paths folder by folder, and the numbers in names by their value."""
    return tuple(map(_by_number, path.parts)), str(path)


def _by_number(name: str) -> _Part:
    """Return letters and numbers in turn, as "a2b" becomes (("a", 2), ("b", -1))."""
    return tuple(
        (letters, int(digits) if digits else -1)
        for letters, digits in re.findall(r"(\D*)(\d*)", name)
        if letters or digits
    )
