"""The evidence of each class, and the eight cases, as a report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from limelight.audits.pages.page import (
    crop_tile,
    of_different_photos,
    peaks_with,
    photo_tile,
    spot_of,
)
from limelight.audits.pages.thumbnails import Thumbnails, Wanted
from limelight.audits.results import Audit, Case, EvidenceCluster
from limelight.audits.verdict import UNKNOWN, as_excess, as_probability, as_share, with_interval

#: The most kinds of evidence that are listed, their crops, and all crops of them together.
MOST_KINDS, _KIND_CROPS, _ALL_KIND_CROPS = 300, 8, 400

#: The most photos of a case that are shown.
_CASE_PHOTOS = 4

_RELATIONS = {
    "aligned": "Heat and object agree",
    "within": "Heat is a part of the object",
    "around": "Heat is the object and more",
    "apart": "Heat is elsewhere",
}


def want_inventory_pictures(audit: Audit) -> Wanted:
    """Return which pictures the evidence and the cases show."""
    wanted = Wanted()
    for peaks in _evidence_peaks(audit).values():
        wanted.crops.update((peak, spot_of(audit.rows, peak)) for peak in peaks)
    for case in audit.cases:
        wanted.tiles.update(case.photos[:_CASE_PHOTOS])
    return wanted


def _evidence_peaks(audit: Audit) -> dict[int, list[int]]:
    """Return which peaks stand for each kind of evidence, as far as the page has room for them."""
    chosen: dict[int, list[int]] = {}
    left = _ALL_KIND_CROPS
    for number, evidence in enumerate(audit.evidence[:MOST_KINDS]):
        having = peaks_with(audit.rows, evidence)
        peaks = of_different_photos(audit.rows, having, min(_KIND_CROPS, left))
        chosen[number] = peaks
        left -= len(peaks)
    return chosen


def evidence_by_class(audit: Audit, pictures: Thumbnails) -> list[dict[str, Any]]:
    """Return for each class its evidence: what wrong answers look at, then what right ones do."""
    peaks, classes = _evidence_peaks(audit), dict[str, list[int]]()
    for number in peaks:
        classes.setdefault(audit.evidence[number].predicted, []).append(number)
    photos = {each.name: each.photos for each in audit.classes}
    order = sorted(classes, key=lambda name: -photos.get(name, 0))
    reasons = {each.name: each.reason for each in audit.classes if not each.tested}
    parts = []
    for name in order:
        groups = [
            {
                "kinds": [_kind(audit, each, peaks[each], pictures) for each in group],
                "good": _is_good([audit.evidence[each] for each in group]),
                "alike": len(group) > 1,
                "excess": _excess_together([audit.evidence[each] for each in group]),
            }
            for group in _alike(audit, classes[name])
        ]
        parts.append(
            {
                "name": name or "All classes with few photos",
                "photos": photos.get(name),
                "reason": reasons.get(name, ""),
                "suspect": [each for each in groups if each["good"] is False],
                "good": [each for each in groups if each["good"]],
                "unknown": [each for each in groups if each["good"] is None],
            }
        )
    return parts


def _excess_together(group: Sequence[EvidenceCluster]) -> str:
    """Return the excess of a group of evidence; "" where it is not known."""
    excess = sum(each.excess for each in group)
    return "" if isnan(excess) else as_excess(excess)


def _is_good(group: Sequence[EvidenceCluster]) -> bool | None:
    """Return whether right answers have evidence more often than wrong ones; None if unknown."""
    excess = sum(each.excess for each in group)
    return None if isnan(excess) else excess < 0


def _alike(audit: Audit, numbers: Sequence[int]) -> list[list[int]]:
    """Return kinds of evidence in groups of those that may be the same thing."""
    groups: list[list[int]] = []
    for number in numbers:
        near = [
            group for group in groups if any(_may_be_one(audit, number, each) for each in group)
        ]
        groups = [group for group in groups if group not in near]
        groups.append(sorted([number, *(each for group in near for each in group)]))
    return sorted(groups)


def _may_be_one(audit: Audit, number: int, other: int) -> bool:
    first, second = audit.evidence[number], audit.evidence[other]
    return first.name in second.alike or second.name in first.alike


def _kind(audit: Audit, number: int, peaks: Sequence[int], pictures: Thumbnails) -> dict[str, Any]:
    evidence = audit.evidence[number]
    known = evidence.right_with is not None
    return {
        "name": evidence.name,
        "crops": [
            crop_tile(audit.rows, peak, spot_of(audit.rows, peak), pictures) for peak in peaks
        ],
        "photos": len(evidence.photos),
        "heat": as_share(evidence.heat_share),
        "bar": round(100 * min(max(evidence.heat_share, 0.0), 1.0), 1),
        "with_it": with_interval(evidence.right_with) if known else "",
        "without": with_interval(evidence.right_without) if known else "",
        "excess": "" if isnan(evidence.excess) else as_excess(evidence.excess),
        "p": "" if isnan(evidence.p) else as_probability(evidence.p),
    }


def case_cells(audit: Audit, pictures: Thumbnails) -> list[dict[str, Any]]:
    """Return the eight cases, wrong answers first, with their photos."""
    total = sum(len(case.photos) for case in audit.cases)
    order = {name: number for number, name in enumerate(("apart", "around", "within", "aligned"))}
    cases = sorted(audit.cases, key=lambda case: (case.right, order[case.relation]))
    return [_case(audit, case, total, pictures) for case in cases]


def _case(audit: Audit, case: Case, total: int, pictures: Thumbnails) -> dict[str, Any]:
    rows, numbers = audit.rows, list(case.photos)
    return {
        "answer": "right" if case.right else "wrong",
        "relation": _RELATIONS[case.relation],
        "name": f"{'right' if case.right else 'wrong'}, {case.relation}",
        "photos": len(numbers),
        "share": as_share(len(numbers) / total) if total else UNKNOWN,
        "energy": as_share(_mean(rows.energy_inside[numbers])),
        "chance": as_share(_mean(rows.object_share[numbers])),
        "tiles": [photo_tile(rows, each, pictures) for each in numbers[:_CASE_PHOTOS]],
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
