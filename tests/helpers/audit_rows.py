"""Rows of an audit, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from limelight.audits.rows.columns import AuditRows, Peaks

_TEXTS = ("group", "label", "explained", "message", "layer", "method", "error")
_NUMBERS = (
    "score",
    "energy_inside",
    "pointing_hit",
    "mass_accuracy",
    "object_share",
    "iou",
    "object_coverage",
    "saliency_coverage",
)


def made_rows(count: int, *, peaks: Peaks | None = None, **columns: Any) -> AuditRows:
    """Return so many rows; columns that are not given are empty, and photos have names."""
    values: dict[str, Any] = {name: np.full(count, "", dtype=object) for name in _TEXTS}
    values |= {name: np.full(count, np.nan) for name in (*_NUMBERS, "probability", "right")}
    values |= {
        "photo": np.array([f"photo{i}.png" for i in range(count)], dtype=object),
        "digest": np.array([f"digest{i}" for i in range(count)], dtype=object),
        "look": np.zeros(count, np.uint64),
        "width": np.full(count, 80),
        "height": np.full(count, 80),
        "predicted": np.full(count, "cat", dtype=object),
        "status": np.full(count, "ok", dtype=object),
        "maps": np.ones((count, 4, 4), np.float16),
    }
    for name, given in columns.items():
        kind = values[name].dtype
        values[name] = np.asarray(given, dtype=kind)
    none = np.empty(0, np.int64)
    nothing = Peaks(none, none, none, np.empty(0), np.empty((0, 1)))
    return AuditRows(**values, peaks=nothing if peaks is None else peaks)
