"""The search of an audit: all queries over its rows, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from limelight.audits.data.views import PhotoViews
from limelight.audits.results import Audit, ClassSummary, EvidenceCluster, Finding
from limelight.audits.rows.columns import AuditRows, Numbers
from limelight.audits.searches.cases import (
    FEWEST_WRONG,
    cases_of,
    class_summaries,
    groups_of,
    share_of_right,
    statuses_of,
)
from limelight.audits.searches.conclusions import findings_of
from limelight.audits.searches.evidence import SMALL_CLASS, find_evidence
from limelight.audits.searches.pixels import MarkSearch, search_marks
from limelight.audits.searches.placing import with_places
from limelight.audits.searches.related import related_warning, sources_of
from limelight.audits.searches.removal import remove
from limelight.audits.searches.wrong_answers import with_wrong_answers
from limelight.audits.verdict import as_share, counted
from limelight.models.network import Network
from limelight.progress import ProgressCallback
from limelight.targets.outputs import LogitsKey

#: Removal is tried for so many findings, the first ones.
MOST_REMOVED = 8

#: With fewer photos only a large effect can be seen.
FEW_PHOTOS = 100

#: So many classes are named in a warning.
_MOST_NAMED = 5

#: What no search of this kind can see.
UNSEEN = (
    "A cue without a place, such as a dark background, a colour cast or the grain of one camera: "
    "maps and crops show places.",
    "A cue that is on nearly all photos of a class, as long as it goes with right answers: without "
    "photos that contradict it, nothing but its crops tells it from the object. The evidence of "
    "each class shows them.",
    "A cue that several classes share, or that speaks against a class: evidence is sorted within "
    "the photos said to be of one class, and maps show what speaks for it.",
    "What is smaller than a cell of the maps, or lies beside an object in the same cells: it is in "
    "one crop with it.",
    "What the training photos have and these photos have not.",
    "Whether evidence is right to use: to statistics a cap and a stethoscope are the same. People "
    "who look at the crops can tell.",
)


def search(
    rows: AuditRows,
    total: int,
    run: Mapping[str, Any],
    views: PhotoViews,
    *,
    network: Network | None = None,
    output: LogitsKey | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Return what the rows of an audit show.

    1. Find out which photos are related.
    2. Sort the places that the maps heat into kinds of evidence.
    3. Test which of them wrong answers have too often, and which keep to one place or the border.
    4. Compare the pixels of the classes.
    5. Make findings of that, and paint over the evidence of the first ones, if there is a network.

    Args:
        rows: The rows.
        total: How many photos the run has, if the rows are a sample.
        run: How the rows were made, for the report.
        views: Reads the photos again.
        network: The network, to try what removing evidence does; None to leave that out.
        output: The part of what it returns that holds the logits.
        seed: Of all that is drawn at random.
        progress: Is told how far the slow parts are.

    Raises:
        OptionError: scikit-learn is not installed.
    """
    sources = sources_of(rows)
    evidence = find_evidence(rows, sources, seed=seed)
    evidence = with_wrong_answers(rows, sources, evidence, seed=seed)
    evidence = with_places(rows, sources, evidence, seed=seed)
    marks = search_marks(rows, sources, views, seed=seed, progress=progress)
    findings = findings_of(rows, evidence, marks.marks)
    if network is not None:
        findings = _with_removal(
            network, views, rows, sources, findings, seed=seed, output=output, progress=progress
        )
    classes, known = class_summaries(rows, sources), np.isfinite(rows.right)
    return Audit(
        rows=rows,
        total=total,
        classes=classes,
        evidence=tuple(evidence),
        marks=marks.marks,
        findings=tuple(findings),
        cases=cases_of(rows),
        groups=groups_of(rows, sources),
        accuracy=share_of_right(rows.right[known], sources[known]),
        sources=len(np.unique(sources)),
        statuses=statuses_of(rows),
        warnings=tuple(_warnings(rows, sources, total, classes, evidence, marks)),
        unseen=UNSEEN,
        seed=seed,
        run=run,
    )


def _with_removal(
    network: Network,
    views: PhotoViews,
    rows: AuditRows,
    sources: Numbers,
    findings: Sequence[Finding],
    *,
    seed: int,
    output: LogitsKey | None,
    progress: ProgressCallback | None,
) -> list[Finding]:
    """Return findings with what removing their evidence does, for the first ones that have any."""
    tried = list[Finding]()
    left = MOST_REMOVED
    for finding in findings:
        removal = None
        if finding.evidence is not None and left:
            left -= 1
            removal = remove(
                network,
                views,
                rows,
                sources,
                finding.evidence,
                seed=seed,
                output=output,
                progress=progress,
            )
        tried.append(replace(finding, removal=removal))
    return tried


def _warnings(
    rows: AuditRows,
    sources: Numbers,
    total: int,
    classes: Sequence[ClassSummary],
    evidence: Sequence[EvidenceCluster],
    marks: MarkSearch,
) -> list[str]:
    """Return what limits this audit, in sentences."""
    told = [related_warning(rows, sources)]
    if total > len(rows):
        told.append(
            f"The run has {counted(total, 'photo')}, and a sample of {len(rows):,} was searched."
        )
    if not np.isfinite(rows.right).any():
        told.append(
            "No true classes are known, so wrong answers cannot be told from right ones. Give "
            "labels to have the evidence of wrong answers tested."
        )
    else:
        told.append(_few_wrong(classes))
        unknown = int((~np.isfinite(rows.right) & (rows.error == "")).sum())
        if unknown:
            told.append(
                f"Of {counted(unknown, 'photo')} of {len(rows):,} it is not known whether the "
                "answer is right, as they have no label: shares of right and wrong answers leave "
                "them out."
            )
    if len(rows) < FEW_PHOTOS:
        told.append(
            f"With {counted(len(rows), 'photo')} only what most photos of a class share can be "
            "seen, and no finding does not mean that there is no cue."
        )
    unreadable = int((~rows.ok).sum())
    if unreadable:
        told.append(
            f"{counted(unreadable, 'photo')} of {len(rows):,} have no map that can be read, and "
            "were left out of the search for evidence."
        )
    others = int((rows.ok & ~rows.of_answer).sum())
    if others:
        told.append(
            f"The maps of {counted(others, 'photo')} are of another class than the predicted one: "
            "of their label. The search for evidence leaves them out, so it cannot test wrong "
            "answers. Explain the predicted classes for that."
        )
    told += [_small_classes(rows, evidence), _unread(marks)]
    return [each for each in told if each]


def _few_wrong(classes: Sequence[ClassSummary]) -> str:
    """Return which classes have too few wrong answers to test them; "" if none has."""
    few = [each for each in classes if each.wrong is not None and each.wrong < FEWEST_WRONG]
    if not few:
        return ""
    named = ", ".join(f"{each.wrong} of {each.photos} {each.name!r}" for each in few[:_MOST_NAMED])
    more = len(few) - _MOST_NAMED
    return (
        f"Too few wrong answers to test: {named}{f' and {more} more classes' if more > 0 else ''}; "
        f"about {FEWEST_WRONG} a class are needed. What a class looks at is listed by its share of "
        "the heat instead. Photos that are as biased as those the network learned from have few "
        "wrong answers and hide its cue: add photos in which the cue that you suspect is missing, "
        "or goes with another class."
    )


def _small_classes(rows: AuditRows, evidence: Sequence[EvidenceCluster]) -> str:
    """Return how many classes have too few photos to look at alone; "" if none has."""
    names, counts = np.unique(rows.predicted[rows.of_answer].astype(str), return_counts=True)
    small = (counts < SMALL_CLASS) & (names != "")
    if not small.any():
        return ""
    count, photos = int(small.sum()), int(counts[small].sum())
    share = as_share(photos / max(int(counts.sum()), 1))
    named = ", ".join(repr(str(name)) for name in names[small][:_MOST_NAMED])
    sorted_together = any(not each.predicted for each in evidence)
    return (
        f"{counted(count, 'class was', 'classes were')} predicted for fewer than {SMALL_CLASS} "
        f"photos{' each' if count > 1 else ''} ({share} of all): {named}"
        + (f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else "")
        + (
            ". What they look at is sorted together, as 'small classes', and not tested."
            if sorted_together
            else ". These are too few photos to sort what they show."
        )
    )


def _unread(marks: MarkSearch) -> str:
    """Return what the comparison of pixels left out; "" if nothing."""
    told = []
    if marks.unread:
        told.append(
            f"{counted(marks.unread, 'photo')} could not be read again to compare pixels; were "
            "they moved?"
        )
    if not marks.classes:
        told.append(
            "The pixels of the classes could not be compared: that takes two classes, one of them "
            "with 20 photos of 10 sources."
        )
    return " ".join(told)
