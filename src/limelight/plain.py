"""Plain values as strict JSON, and text that is safe to show."""

from __future__ import annotations

import json
import re
from math import inf, isfinite, isnan, nan
from typing import Any


def as_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return plain values as JSON; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_nulled(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def to_json_number(value: float) -> float | str | None:
    """Return a number as a value for JSON: None for NaN, and "Infinity" or "-Infinity"."""
    if isfinite(value):
        return value
    return None if isnan(value) else spelled(value)


def from_json_number(value: float | str | None) -> float:
    """Return the number that `to_json_number` was given."""
    return nan if value is None else float(value)


def spelled(value: float) -> str:
    """Return a number as text that Python and JavaScript both read."""
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else "Infinity" if value == inf else "-Infinity"


#: The true minus sign, as wide as a plus.
MINUS = "\N{MINUS SIGN}"

#: Characters that a terminal obeys or cannot show: control characters except tab and newline, marks
#: that turn the direction of writing, and surrogates, which stand for bytes that are no text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text with such characters written out, as in `\x1b[2J`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
