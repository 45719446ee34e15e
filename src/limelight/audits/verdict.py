"""An audit in one sentence, as a table of its findings, and as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isnan, nan
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

import numpy as np

from limelight.audits.results import (
    Audit,
    Case,
    ClassSummary,
    EvidenceCluster,
    Finding,
    GroupSummary,
)
from limelight.audits.rows.columns import AuditRows
from limelight.plain import MINUS

#: How many findings the sentence names, and how many photos `audit_as_dict` gives for each.
_MOST_NAMES, _MOST_EXAMPLES = 3, 10


#: What stands where a figure is not known.
UNKNOWN = "\N{EN DASH}"


class Interval(Protocol):
    """A value and the ends of its interval."""

    @property
    def value(self) -> float: ...  # noqa: D102

    @property
    def low(self) -> float: ...  # noqa: D102

    @property
    def high(self) -> float: ...  # noqa: D102


def verdict(audit: Audit) -> str:
    """Return what an audit found, in one sentence with the number of photos, interval and chance.

    Chance is the share of right answers of a network that always says the most common class.
    """
    why = reasons(audit.rows)
    if not audit.rows.ok.any():
        told = f" ({why[0].reason.rstrip('.')})" if why else ""
        return f"{_answers(audit)}, and no photo has a map that can be read{told}."
    return f"{_answers(audit)}, {'; '.join(_found(audit))}."


def chance(rows: AuditRows) -> float:
    """Return the share of the most common true class; NaN where not all classes are known.

    A photo may be known to be right without one true class: any of the objects on it will do.
    """
    known = Counter(rows.label[~np.isnan(rows.right)].tolist())
    return max(known.values()) / known.total() if known and "" not in known else nan


class HeatOnObjects(NamedTuple):
    """The share of the heat on the marked objects, beside that of uniform maps.

    Attributes:
        share: The mean of `energy_inside`.
        chance: The mean of `object_share`.
        photos: Over how many photos.
    """

    share: float
    chance: float
    photos: int


def heat_on_objects(rows: AuditRows) -> HeatOnObjects | None:
    """Return how much of the heat lies on the marked objects; None where none are known."""
    inside = ~np.isnan(rows.energy_inside)
    if not inside.any():
        return None
    share, even = (float(each[inside].mean()) for each in (rows.energy_inside, rows.object_share))
    return HeatOnObjects(share, even, int(inside.sum()))


def as_share(value: float, digits: int = 0) -> str:
    """Return a share in percent; a dash where it is not known."""
    return UNKNOWN if isnan(value) else f"{value:.{digits}%}".replace("-", MINUS)


def as_change(value: float, digits: int = 0) -> str:
    """Return a change of a share in points of a percent, with its sign."""
    return UNKNOWN if isnan(value) else f"{100 * value:+.{digits}f}".replace("-", MINUS)


def as_excess(value: float) -> str:
    """Return an excess of wrong answers in percent, with its sign; a dash where not known."""
    return UNKNOWN if isnan(value) else f"{as_change(value, 1)}%"


def with_interval(estimate: Interval | None) -> str:
    """Return a share in percent with its 95 % interval, as in `72% [66, 77]`."""
    if estimate is None or isnan(estimate.value):
        return UNKNOWN
    if isnan(estimate.low):
        return as_share(estimate.value)
    low, high = (f"{100 * end:.0f}".replace("-", MINUS) for end in (estimate.low, estimate.high))
    return f"{as_share(estimate.value)} [{low}, {high}]"


def change_with_interval(estimate: Interval) -> str:
    """Return a change in points of a percent with its 95 % interval, as in `+19 [13, 25]`."""
    if isnan(estimate.low):
        return as_change(estimate.value)
    return f"{as_change(estimate.value)} [{as_change(estimate.low)}, {as_change(estimate.high)}]"


def as_probability(p: float) -> str:
    """Return a p-value with two digits; a dash where nothing was tested."""
    return UNKNOWN if isnan(p) else "<0.001" if p < 0.001 else f"{p:.2g}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, as in `1 photo` or `2,000 photos`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _answers(audit: Audit) -> str:
    """Return how many answers are right."""
    photos = counted(len(audit.rows), "photo")
    if audit.total > len(audit.rows):
        photos = f"{photos}, a sample of {audit.total:,}"
    if audit.accuracy is None or isnan(audit.accuracy.value):
        return f"No true classes are known for the {photos}"
    right = f"The network is right on {with_interval(audit.accuracy)} of {_labelled(audit, photos)}"
    even = chance(audit.rows)
    return right if isnan(even) else f"{right} (chance {as_share(even)})"


def _labelled(audit: Audit, photos: str) -> str:
    known = int((~np.isnan(audit.rows.right)).sum())
    return photos if known == len(audit.rows) else f"{counted(known, 'labelled photo')}"


def _found(audit: Audit) -> list[str]:
    """Return what was found, and what was looked for and was not."""
    found = [_wrong(audit)]
    places = [each for each in audit.findings if each.kind in ("place", "border")]
    if places:
        kinds = counted(len(places), "kind of evidence lies", "kinds of evidence lie")
        found.append(f"{kinds} at a fixed place: {_named(places)}")
    elif any(not isnan(each.place) for each in audit.evidence):
        found.append("none lies at a fixed place")
    marks = [each for each in audit.findings if each.kind == "mark"]
    if marks:
        classes = counted(len(marks), "class has a mark", "classes have marks")
        found.append(f"{classes} in the pixels: {_named(marks)}")
    return found


def _wrong(audit: Audit) -> str:
    """Return which evidence goes with wrong answers, or why that is not known."""
    wrong = [each for each in audit.findings if each.kind == "wrong"]
    if wrong:
        kinds = counted(len(wrong), "kind of evidence goes", "kinds of evidence go")
        return f"and {kinds} with its wrong answers: {_named(wrong)}"
    if audit.accuracy is None:
        unknown = "so which evidence goes with wrong answers is not known"
        if not audit.evidence:
            return f"{unknown}; the photos are too few to sort what the network looks at"
        kinds = counted(len(audit.evidence), "kind")
        return f"{unknown}; the network looks at {kinds} of evidence"
    tested = [each for each in audit.classes if each.tested]
    if not tested:
        return f"and what goes with its wrong answers could not be tested{_why_untested(audit)}"
    if len(tested) == len(audit.classes):
        return "and no evidence goes with its wrong answers"
    classes = f"{len(tested)} of {counted(len(audit.classes), 'class', 'classes')}"
    return f"and no evidence goes with its wrong answers in the {classes} that could be tested"


def _why_untested(audit: Audit) -> str:
    """Return why the largest of the classes that could not be tested could not be."""
    told = [each for each in audit.classes if each.reason and not each.tested]
    if not told:
        return ""
    name = f"{told[0].name}: " if len(audit.classes) > 1 else ""
    return f" ({name}{told[0].reason.rstrip('.')})"


def _named(findings: Sequence[Finding]) -> str:
    names = [f"“{each.title}”" for each in findings[:_MOST_NAMES]]
    more = len(findings) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def photos_of(audit: Audit, finding: Finding) -> list[int]:
    """Return the numbers of the rows that a finding is about, in order.

    They are the photos that have the evidence; for a mark, the photos of its class.
    """
    if finding.evidence is not None:
        return [int(number) for number in finding.evidence.photos]
    assert finding.mark is not None
    return np.flatnonzero(true_classes(audit.rows) == finding.mark.label).tolist()


def true_classes(rows: AuditRows) -> np.ndarray:
    """Return the true class of each row, `[N]`; the predicted one where no labels are known."""
    return rows.label if (rows.label != "").any() else rows.predicted


class Reason(NamedTuple):
    """Why photos have no map that can be read.

    Attributes:
        reason: The reason, without the photo's name.
        photos: How many photos it holds for.
        first: The path of the first.
    """

    reason: str
    photos: int
    first: str


def reasons(rows: AuditRows) -> list[Reason]:
    """Return why photos have no map that can be read, the most common reason first."""
    told = reason_of_each(rows)
    counts, first = Counter[str](), dict[str, str]()
    for number in np.flatnonzero(~rows.ok).tolist():
        counts[told[number]] += 1
        first.setdefault(told[number], str(rows.photo[number]))
    return [Reason(reason, count, first[reason]) for reason, count in counts.most_common()]


def reason_of_each(rows: AuditRows) -> list[str]:
    """Return why each photo has no map that can be read, `[N]`; "" where it has one."""
    told = []
    for number, ok in enumerate(rows.ok.tolist()):
        why = rows.error[number] or rows.message[number] or rows.status[number] or "no map"
        told.append("" if ok else _without_name(str(why), str(rows.photo[number])))
    return told


def _without_name(reason: str, photo: str) -> str:
    """Return a reason without the name of its photo, so that equal reasons count together."""
    for name in filter(None, (photo, PurePath(photo).name)):
        reason = reason.replace(name, "…")
    return reason.removeprefix("…: ")


def findings_table(audit: Audit) -> list[dict[str, Any]]:
    """Return a row of plain values for each finding, the largest first; NaN where not known."""
    return [_finding_row(audit, number, each) for number, each in enumerate(audit.findings, 1)]


def _finding_row(audit: Audit, number: int, finding: Finding) -> dict[str, Any]:
    evidence, mark, removal = finding.evidence, finding.mark, finding.removal
    return {
        "number": number,
        "kind": finding.kind,
        "title": finding.title,
        "class": evidence.predicted if evidence else mark.label if mark else "",
        "photos": len(photos_of(audit, finding)),
        "sources": evidence.sources if evidence else None,
        "heat_share": float(evidence.heat_share) if evidence else nan,
        **_ends("right_with", evidence.right_with if evidence else None),
        **_ends("right_without", evidence.right_without if evidence else None),
        "excess": float(evidence.excess) if evidence else nan,
        "p": float(evidence.p if evidence else mark.p if mark else nan),
        "place": float(evidence.place) if evidence else nan,
        "border": float(evidence.border) if evidence else nan,
        "lift": float(mark.lift) if mark else nan,
        "removal": float(removal.change) if removal else nan,
        "random_removal": float(removal.random_change) if removal else nan,
        "relabel": len(finding.relabel),
    }


def _ends(name: str, estimate: Interval | None) -> dict[str, float]:
    values = (estimate.value, estimate.low, estimate.high) if estimate else (nan, nan, nan)
    return {
        key: float(value)
        for key, value in zip((name, f"{name}_low", f"{name}_high"), values, strict=True)
    }


def audit_as_dict(audit: Audit) -> dict[str, Any]:
    """Return an audit as plain values, for JSON: `limelight.plain.as_json` makes NaN null.

    Of the photos of each finding and case the first ten are named; `lists/` has all.
    """
    on_objects = heat_on_objects(audit.rows)
    return {
        "verdict": verdict(audit),
        "photos": len(audit.rows),
        "total": audit.total,
        "sources": audit.sources,
        "right": _estimate(audit.accuracy),
        "chance": chance(audit.rows),
        "heat_on_objects": on_objects and on_objects._asdict(),
        "findings": [
            row
            | {
                "sentence": each.sentence,
                "advice": each.advice,
                "size": float(each.size),
                "evidence": each.evidence.name if each.evidence else None,
                "box": [float(side) for side in each.mark.box] if each.mark else None,
                "examples": _paths(audit, photos_of(audit, each)),
            }
            for row, each in zip(findings_table(audit), audit.findings, strict=True)
        ],
        "evidence": [_evidence(audit, each) for each in audit.evidence],
        "marks": [
            {
                "label": each.label,
                "box": [float(side) for side in each.box],
                "strength": float(each.strength),
                "p": float(each.p),
                "lift": float(each.lift),
                "photos": int(each.photos),
            }
            for each in audit.marks
        ],
        "classes": [_class(each) for each in audit.classes],
        "groups": [_group(each) for each in audit.groups],
        "cases": [_case(audit, each) for each in audit.cases],
        "statuses": {str(name): int(count) for name, count in audit.statuses.items()},
        "warnings": list(audit.warnings),
        "unseen": list(audit.unseen),
        "seed": audit.seed,
        "run": dict(audit.run),
    }


def _evidence(audit: Audit, evidence: EvidenceCluster) -> dict[str, Any]:
    return {
        "name": evidence.name,
        "class": evidence.predicted,
        "photos": len(evidence.photos),
        "sources": int(evidence.sources),
        "heat_share": float(evidence.heat_share),
        "right_with": _estimate(evidence.right_with),
        "right_without": _estimate(evidence.right_without),
        "excess": float(evidence.excess),
        "p": float(evidence.p),
        "place": float(evidence.place),
        "border": float(evidence.border),
        "centre": [float(share) for share in evidence.centre],
        "alike": list(evidence.alike),
        "examples": _paths(audit, evidence.photos.tolist()),
    }


def _class(each: ClassSummary) -> dict[str, Any]:
    return {
        "name": each.name,
        "photos": int(each.photos),
        "sources": int(each.sources),
        "wrong": None if each.wrong is None else int(each.wrong),
        "right": _estimate(each.right),
        "tested": bool(each.tested),
        "reason": each.reason,
    }


def _group(each: GroupSummary) -> dict[str, Any]:
    return {
        "name": each.name,
        "photos": int(each.photos),
        "right": _estimate(each.right),
        "energy": _estimate(each.energy),
        "difference": _estimate(each.difference),
    }


def _case(audit: Audit, each: Case) -> dict[str, Any]:
    return {
        "right": bool(each.right),
        "relation": each.relation,
        "photos": len(each.photos),
        "examples": _paths(audit, each.photos),
    }


def _estimate(estimate: Interval | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {end: float(getattr(estimate, end)) for end in ("value", "low", "high")}


def _paths(audit: Audit, numbers: Sequence[int]) -> list[str]:
    return [str(audit.rows.photo[number]) for number in numbers[:_MOST_EXAMPLES]]
