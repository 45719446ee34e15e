"""Findings: what of the evidence and the marks is worth a look, in which order, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from limelight.audits.results import EvidenceCluster, Finding, Mark
from limelight.audits.rows.columns import AuditRows, Numbers
from limelight.audits.searches.mark_heat import around, looks_at
from limelight.audits.searches.placing import (
    BORDER_LIMIT,
    PLACE_LIMIT,
    lies_at_border,
    surrounds,
)
from limelight.audits.verdict import as_probability, counted, with_interval

#: Evidence is reported with a p below this, and with at least this excess of wrong answers. A small
#: p alone is no reason: fair networks have it too, as their wrong answers lack the object.
ALPHA, LEAST_EXCESS = 0.05, 0.05

#: Evidence is at one place only if so many of its peaks lie in two by two cells: people stand near
#: the middle of their portraits, too, which is unlike chance and no stamp.
IN_FOUR_CELLS = 2 / 3

#: A wrong answer with at least this probability is a confident one.
CONFIDENT = 0.9

#: A mark and evidence are at one place if the evidence is no further from its pixels than this.
_NEAR = 0.1

#: What training can do about evidence.
_TRAIN = "train away from it (limelight.training.inside on its evidence_masks)"

#: So many classes are named in a sentence.
_MOST_NAMED = 3


def findings_of(
    rows: AuditRows, evidence: Sequence[EvidenceCluster], marks: Sequence[Mark]
) -> list[Finding]:
    """Return the findings: first those that wrong answers show, by their excess.

    They are followed by evidence at one place or at the border, the furthest from chance first,
    and by marks: those that the network looks at, then the others. One kind of evidence is one
    finding, however many tests it fails.
    """
    wrong, placed = list[Finding](), list[Finding]()
    framed = set[str]()
    for each in evidence:
        if is_wrong(each):
            wrong.append(_of_wrong(rows, evidence, each, marks))
        elif keeps_to_place(rows, each):
            placed.append(_of_place(rows, [each], marks))
        elif each.predicted not in framed and (frame := frame_of(rows, evidence, each)):
            framed.add(each.predicted)
            placed.append(_of_place(rows, frame, marks, at_border=True))
        elif keeps_to_mark(each, marks):
            placed.append(_of_place(rows, [each], marks))
    wrong.sort(key=lambda finding: -finding.size)
    placed.sort(key=lambda finding: -_strength(finding.evidence))
    reported = [finding.evidence for finding in (*wrong, *placed) if finding.evidence]
    marked = [_of_mark(reported, mark) for mark in marks]
    marked.sort(key=lambda finding: not (finding.mark and _is_used(finding.mark, reported)))
    return _with_relabel(rows, evidence, [*wrong, *placed, *marked])


def is_wrong(evidence: EvidenceCluster) -> bool:
    """Return whether wrong answers have the evidence too often to be chance, and by much."""
    return evidence.p < ALPHA and evidence.excess >= LEAST_EXCESS


def keeps_to_place(rows: AuditRows, evidence: EvidenceCluster) -> bool:
    """Return whether evidence keeps to one place: far beyond chance, and within four cells."""
    if not evidence.place > PLACE_LIMIT:
        return False
    height, width = rows.maps.shape[1:]
    counts = np.zeros((height + 1, width + 1), np.int64)
    for down in (0, 1):
        for across in (0, 1):
            row, column = rows.peaks.row[evidence.peaks], rows.peaks.column[evidence.peaks]
            np.add.at(counts, (row + down, column + across), 1)
    return bool(counts.max() >= IN_FOUR_CELLS * len(evidence.peaks))


def keeps_to_mark(evidence: EvidenceCluster, marks: Sequence[Mark]) -> bool:
    """Return whether evidence is closer together than chance at a mark of its class.

    It need not be within four cells, as a line of text is not: the pixels say that it is no habit.
    """
    return evidence.place > PLACE_LIMIT and any(_at(evidence, mark) for mark in marks)


def frame_of(
    rows: AuditRows, evidence: Sequence[EvidenceCluster], each: EvidenceCluster
) -> Sequence[EvidenceCluster]:
    """Return the evidence that keeps to the border together with one kind, and that kind first.

    There is none if the kind does not lie there, or if together they are not on two opposite sides.
    """
    if not each.border > BORDER_LIMIT or not lies_at_border(rows, each):
        return ()
    kinds = [each]
    for other in evidence:
        same = other.predicted == each.predicted and other.name != each.name
        if same and lies_at_border(rows, other):
            kinds.append(other)
    return kinds if surrounds(rows, np.concatenate([kind.peaks for kind in kinds])) else ()


def place_in_words(down: float, across: float) -> str:
    """Return where a point is, by thirds of the picture: `top left`, `centre`, ..."""
    row = ("top", "", "bottom")[min(int(down * 3), 2)]
    column = ("left", "", "right")[min(int(across * 3), 2)]
    return f"{row} {column}".strip() or "centre"


def _strength(evidence: EvidenceCluster | None) -> float:
    """Return how far from chance the place of evidence is, in units of its limit."""
    assert evidence is not None
    return float(np.nanmax([evidence.place / PLACE_LIMIT, evidence.border / BORDER_LIMIT]))


def _of_wrong(
    rows: AuditRows,
    evidence: Sequence[EvidenceCluster],
    each: EvidenceCluster,
    marks: Sequence[Mark],
) -> Finding:
    """Return the finding of evidence that wrong answers have too often."""
    count = int(
        (rows.of_answer & np.isfinite(rows.right) & (rows.predicted == each.predicted)).sum()
    )
    sentence = (
        f"Of the answers {each.predicted!r}, {with_interval(each.right_with)} are right where this "
        f"evidence is, and {with_interval(each.right_without)} where it is not. That is "
        f"{counted(round(each.excess * count), 'wrong answer')} of {count:,} more than its share "
        f"({_p_equals(each.p)}, over all evidence and classes)."
    )
    if each.alike:
        sentence += f" It may be one thing with {_listed(each.alike)}."
    return Finding(
        "wrong",
        each.name,
        sentence + _placed_too(rows, evidence, each, marks) + _marked_too(each, marks),
        _advice_on_wrong(rows, evidence, each),
        each.excess,
        evidence=each,
    )


def _advice_on_wrong(
    rows: AuditRows, evidence: Sequence[EvidenceCluster], each: EvidenceCluster
) -> str:
    """Return what to do about evidence of wrong answers."""
    wrong = each.photos[rows.wrong[each.photos]]
    true = Counter(str(label) for label in rows.label[wrong] if label)
    others = [repr(name) for name, _ in true.most_common(_MOST_NAMED)]
    good = [
        other.name
        for other in evidence
        if other.predicted == each.predicted and other.excess < 0 and other.name not in each.alike
    ]
    beside = f" Right answers rather have {_listed(good[:_MOST_NAMED])}." if good else ""
    return (
        "Look at the crops. If they show nothing that makes a photo "
        f"{each.predicted!r}, add photos of {each.predicted!r} without it"
        + (f" and of {_listed(others)} with it" if others else "")
        + f", or {_TRAIN}.{beside} First go through the evidence of all classes: a cue that right "
        "and wrong answers share is in no finding."
    )


def _of_place(
    rows: AuditRows,
    kinds: Sequence[EvidenceCluster],
    marks: Sequence[Mark],
    *,
    at_border: bool = False,
) -> Finding:
    """Return the finding of evidence that keeps to one place, or that does to the border together.

    It is shown by the first kind of evidence.
    """
    each, *others_there = kinds
    where = "the border" if at_border else f"the {place_in_words(*each.centre)}"
    deviations = each.border if at_border else each.place
    limit = BORDER_LIMIT if at_border else PLACE_LIMIT
    kept = (
        "closer to the border than other places that its maps heat"
        if at_border
        else "closer together than as many other places that its maps heat"
    )
    together = (
        f", together with those of {_listed([other.name for other in others_there])},"
        if others_there
        else ""
    )
    sentence = (
        f"The places of this evidence for {each.predicted!r}{together} are {kept}: by "
        f"{deviations:.1f} standard deviations (limit {limit:.0f}). Objects move from photo to "
        "photo; stamps, logos and frames do not."
    )
    if each.right_with and each.right_without:
        sentence += (
            f" {with_interval(each.right_with)} of the answers are right where it is, and "
            f"{with_interval(each.right_without)} where it is not."
        )
    true = Counter(str(name) for name in rows.predicted if name and name != each.predicted)
    others = [repr(name) for name, _ in true.most_common(1)]
    return Finding(
        "border" if at_border else "place",
        f"{each.name}, at {where}",
        sentence + _marked_too(each, marks),
        f"Look at the crops. If they show a stamp, a frame or the like, crop or paint over {where} "
        f"in the photos of {each.predicted!r}, add photos of it without"
        + (f" and of {others[0]} with it" if others else "")
        + f", or {_TRAIN}.",
        0.0,
        evidence=each,
    )


def _of_mark(evidence: Sequence[EvidenceCluster], mark: Mark) -> Finding:
    """Return the finding of pixels that differ at a place."""
    left, top, right, bottom = mark.box
    where, name = _box_in_words(mark), repr(mark.label)
    sentence = (
        f"The fine structure of the {counted(mark.photos, 'photo')} of {name} differs from all "
        f"others' at {where}, from {left:.0%} to {right:.0%} across and {top:.0%} to {bottom:.0%} "
        f"down (|t| = {mark.strength:.1f}, {_p_equals(mark.p)}). It is in the data; "
        f"{_use_of(mark, evidence)}."
    )
    there = [each.name for each in evidence if _at(each, mark)]
    if there:
        sentence += f" Evidence lies there: {_listed(there)}."
    advice = (
        f"Look at the photos of {name} at that place. If it is a stamp or the like, crop it or "
        f"paint it over, or add photos of {name} without it"
    )
    unused = ". This network does not rely on it, and the next one may."
    advice += unused if _is_used(mark, evidence) is False else ", and train again."
    return Finding("mark", f"Pixels of {name}, at {where}", sentence, advice, 0.0, mark=mark)


def _is_used(mark: Mark, reported: Sequence[EvidenceCluster]) -> bool | None:
    """Return whether the network looks at a mark; None where that cannot be told.

    It does where the place is hotter with the mark than without it, or where evidence of the class
    keeps to that place.
    """
    if any(keeps_to_mark(each, [mark]) for each in reported):
        return True
    return looks_at(mark)


def _use_of(mark: Mark, evidence: Sequence[EvidenceCluster]) -> str:
    """Return whether the network looks at a mark, with the figures that say so."""
    looks = _is_used(mark, evidence)
    if looks is None:
        return "whether the network looks at it is not known, as the class has too few maps"
    grade = "the network looks at it" if looks else "nothing shows that the network looks at it"
    if not np.isfinite(mark.lift):
        return grade
    return (
        f"{grade}: where photos show the mark most, their maps have {mark.lift:.2f} times the heat "
        f"of a uniform map there, and {mark.lift_without:.2f} times where they show it least"
    )


def _box_in_words(mark: Mark) -> str:
    """Return where a mark is: at a place, or all over."""
    left, top, right, bottom = mark.box
    if (right - left) * (bottom - top) > 0.5:
        return "places all over the picture"
    return f"the {place_in_words((top + bottom) / 2, (left + right) / 2)}"


def _at(evidence: EvidenceCluster, mark: Mark) -> bool:
    """Return whether the middle of evidence for a class is near the pixels of its mark."""
    side = len(mark.pixels)
    down, across = (min(int(share * side), side - 1) for share in evidence.centre)
    near = around(mark.pixels, round(_NEAR * side))
    return evidence.predicted == mark.label and bool(near[down, across])


def _placed_too(
    rows: AuditRows,
    evidence: Sequence[EvidenceCluster],
    each: EvidenceCluster,
    marks: Sequence[Mark],
) -> str:
    """Return a sentence on evidence that also keeps to a place; "" if it does not."""
    if keeps_to_place(rows, each) or keeps_to_mark(each, marks):
        where = place_in_words(*each.centre)
        return f" It keeps to one place, the {where} ({each.place:.1f} standard deviations)."
    if frame_of(rows, evidence, each):
        return f" It keeps to the border ({each.border:.1f} standard deviations)."
    return ""


def _marked_too(evidence: EvidenceCluster, marks: Sequence[Mark]) -> str:
    """Return a sentence on a mark at the place of evidence; "" if there is none."""
    if not any(_at(evidence, mark) for mark in marks):
        return ""
    return f" The pixels of {evidence.predicted!r} differ there too: see that finding."


def _p_equals(p: float) -> str:
    """Return a p-value as it stands in a sentence, as in `p = 0.03` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {as_probability(p)}"


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _with_relabel(
    rows: AuditRows, evidence: Sequence[EvidenceCluster], findings: Sequence[Finding]
) -> list[Finding]:
    """Return findings with the photos whose label may be wrong, once for each class."""
    told, done = list[Finding](), set[str]()
    for finding in findings:
        name = finding.evidence.predicted if finding.evidence else ""
        numbers: Numbers = np.empty(0, np.int64)
        if finding.kind == "wrong" and name not in done:
            done.add(name)
            numbers = perhaps_mislabelled(rows, evidence, name)
        told.append(_relabelled(finding, numbers))
    return told


def _relabelled(finding: Finding, numbers: Numbers) -> Finding:
    """Return a finding with the photos to relabel."""
    if not len(numbers):
        return finding
    advice = (
        f"{finding.advice} Check the labels of {counted(len(numbers), 'photo')} as well: the "
        "network was sure, and looked at what right answers look at."
    )
    return replace(finding, relabel=numbers, advice=advice)


def perhaps_mislabelled(rows: AuditRows, evidence: Sequence[EvidenceCluster], name: str) -> Numbers:
    """Return the confident wrong answers of a class that have only the evidence of right ones.

    That is evidence with an excess of at most 0. Such a photo looks like what the network says.
    """
    good, bad = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for each in evidence:
        if each.predicted == name:
            (good if each.excess <= 0 else bad)[rows.peaks.photo[each.peaks]] = True
    chosen = (rows.predicted == name) & rows.wrong & good & ~bad
    numbers: Numbers = np.flatnonzero(chosen & (rows.probability >= CONFIDENT))
    return numbers[np.argsort(-rows.probability[numbers], kind="stable")]
