"""Plain values as JSON, strictly, and plain text."""

from __future__ import annotations

import json
import re
from math import inf, isfinite, isnan, nan
from typing import Any


def as_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return plain values as JSON; NaN and infinity, which it does not have, become null."""
    return json.dumps(_nulled(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def written(value: float) -> float | str | None:
    """Return a number as JSON has it: None for NaN, and "Infinity" or "-Infinity"."""
    if isfinite(value):
        return value
    return None if isnan(value) else spelled(value)


def number(value: float | str | None) -> float:
    """Return the number that was `written`."""
    return nan if value is None else float(value)


def spelled(value: float) -> str:
    """Return a number as text that Python and JavaScript both read."""
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else "Infinity" if value == inf else "-Infinity"


#: Characters that a terminal obeys or cannot show: controls but tab and newline, marks that turn
#: the direction of writing, and what stands for bytes of a name that are no text.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text with what a terminal would obey written out, as in `\x1b[2J`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
