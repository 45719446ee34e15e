"""Rows of an audit in which kinds of evidence are planted: what lies under each peak is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from helpers.audits import GRID, audit_rows
from limelight.audits.rows.columns import AuditRows, Peaks


class Planted(NamedTuple):
    """Rows, the planted kind of each peak `[P]`, and which kinds each photo has `[N, kinds]`."""

    rows: AuditRows
    kind: npt.NDArray[np.int64]
    has: npt.NDArray[np.bool_]

    @property
    def sources(self) -> npt.NDArray[np.int64]:
        """Each photo as a source of its own."""
        return np.arange(len(self.rows))


def planted(
    has: Sequence[Sequence[bool]] | npt.NDArray[np.bool_],
    *,
    predicted: Sequence[str] | None = None,
    features: int = 6,
    noise: float = 0.1,
    seed: int = 0,
    **columns: Any,
) -> Planted:
    """Return rows of photos `[N]` that have kinds of evidence, `[N, kinds]` yes or no.

    Each kind that a photo has is a peak with the features of the kind and noise.
    """
    has = np.asarray(has, dtype=bool)
    random = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(99).standard_normal((has.shape[1], features))
    photo, kind = np.nonzero(has)
    drawn = centres[kind] + noise * random.standard_normal((len(photo), features))
    peaks = Peaks(
        photo,
        random.integers(0, GRID, len(photo)),
        random.integers(0, GRID, len(photo)),
        random.uniform(0.6, 1.0, len(photo)).astype(np.float32),
        drawn.astype(np.float16).astype(np.float32),
    )
    maps = np.zeros((len(has), GRID, GRID))
    maps[photo, peaks.row, peaks.column] = peaks.heat
    names = ["cat"] * len(has) if predicted is None else list(predicted)
    given: dict[str, Any] = {
        "photo": [f"{number:05d}.png" for number in range(len(has))],
        "digest": [f"{(number * 2654435761) % 2**32:08x}" for number in range(len(has))],
        "predicted": names,
        "explained": names,
    }
    rows = audit_rows(len(has), maps, **(given | columns))
    return Planted(replace(rows, peaks=peaks), kind, has)


def reordered(rows: AuditRows, order: npt.NDArray[np.int64]) -> AuditRows:
    """Return the rows in another order: row i is the row `order[i]` of those given."""
    place = np.argsort(order)
    peaks = rows.peaks
    moved = Peaks(place[peaks.photo], peaks.row, peaks.column, peaks.heat, peaks.features)
    shuffled = np.random.default_rng(1).permutation(len(moved))
    columns = {name: getattr(rows, name)[order] for name in vars(rows) if name != "peaks"}
    parts = {name: values[shuffled] for name, values in vars(moved).items()}
    return AuditRows(**columns, peaks=Peaks(**parts))
