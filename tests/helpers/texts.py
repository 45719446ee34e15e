"""The texts of a page, by their keys."""

from __future__ import annotations

from typing import Any


def flat(texts: dict[str, Any], above: str = "") -> dict[str, str]:
    found = dict[str, str]()
    for key, text in texts.items():
        if isinstance(text, dict):
            found |= flat(text, f"{above}{key}.")
        elif isinstance(text, list):
            found |= {f"{above}{key}.{number}": one for number, one in enumerate(text)}
        else:
            found[above + key] = text
    return found
