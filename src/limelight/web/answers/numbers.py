"""Numbers as JSON knows them."""

from __future__ import annotations

import math


def finite(value: float) -> float | None:
    """Return a number, or None for one that JSON does not know."""
    return value if math.isfinite(value) else None
