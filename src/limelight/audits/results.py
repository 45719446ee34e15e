"""What an audit found: kinds of evidence, marks, findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from limelight.audits.rows.columns import AuditRows, Numbers
from limelight.metrics.intervals import Estimate

FindingKind = Literal["wrong", "place", "border", "mark"]


@dataclass(frozen=True, eq=False)
class EvidenceCluster:
    """One kind of evidence for a class: places that look alike, and that the class's maps heat.

    Attributes:
        name: What to call it: the class, and a number by its share of the heat.
        predicted: The predicted class; "" for all classes with few photos together.
        peaks: The numbers of its peaks in the rows, those nearest to its centre first.
        photos: The numbers of the rows that have it, with at least half of their highest heat, in
            order.
        sources: Of how many sources (groups, or photos that look different) those are.
        heat_share: Which share of the heat at the class's peaks is its own.
        right_with: The share of right answers where it is there; None where that is not known.
        right_without: The same where it is not.
        excess: How many wrong answers the photos with it have beyond their share, per photo of the
            class: `(wrong with - wrong * share with) / photos`; NaN where that is not known.
        p: The probability of so large an excess of any kind of evidence by chance; NaN where it was
            not tested.
        place: How many standard deviations its positions are closer together than chance; NaN
            where it was not tested.
        border: The same for how close it is to the border; all evidence of the class that lies
            there is taken together.
        centre: Its mean position, down and across, as shares of what the network sees.
        alike: The names of other evidence for the class that may be the same thing.
    """

    name: str
    predicted: str
    peaks: Numbers
    photos: Numbers
    sources: int
    heat_share: float
    right_with: Estimate | None = None
    right_without: Estimate | None = None
    excess: float = nan
    p: float = nan
    place: float = nan
    border: float = nan
    centre: tuple[float, float] = (nan, nan)
    alike: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Mark:
    """A place at which the pixels of a class differ from those of the rest, without the network.

    Attributes:
        label: The class: the true one, or the predicted one where no labels are known.
        pixels: Which of the pixels of what the network sees differ, `[80, 80]`.
        box: Left, top, right and bottom of them, as shares of what the network sees.
        strength: The largest `|t|` in it.
        p: The probability of so large a `|t|` of any pixel and class by chance.
        lift: The mean heat there, over that of a uniform map, of the third of the class's photos
            that shows the mark most; NaN without maps.
        photos: How many photos of the class were compared.
        lift_without: The same of the third that shows it least; of other classes where nearly all
            photos of the class have the mark.
        heat_t: The t of their difference, over sources.
    """

    label: str
    pixels: npt.NDArray[np.bool_]
    box: tuple[float, float, float, float]
    strength: float
    p: float
    lift: float
    photos: int
    lift_without: float = nan
    heat_t: float = nan


@dataclass(frozen=True)
class Removal:
    """What became of the answers when evidence was painted over.

    Attributes:
        right: How many right answers were tried.
        wrong: How many wrong ones.
        right_lost: The share of right answers that became wrong.
        wrong_mended: The share of wrong answers that became right.
        change: The change of accuracy that follows, `-acc right_lost + (1 - acc) wrong_mended`.
        random_change: The same with holes of equal size at random places.
        low, high: Ends of the 95 % interval of `change - random_change`.
    """

    right: int
    wrong: int
    right_lost: float
    wrong_mended: float
    change: float
    random_change: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Finding:
    """Something that the network looks at and perhaps should not.

    Attributes:
        kind: `wrong` (evidence that wrong answers have too often), `place` (evidence at one place
            of the picture), `border` (evidence at its border), `mark` (a place where the pixels of
            the class differ).
        title: What it is, in a few words.
        sentence: The finding with its figures.
        advice: What to do.
        size: What findings are ranked by: the excess of wrong answers per photo of the class; 0
            where wrong answers do not show it.
        evidence: The evidence, unless it is a mark.
        mark: The mark, if it is one.
        removal: What removing the evidence does; None where that was not tried.
        relabel: Numbers of the rows whose label may be wrong.
    """

    kind: FindingKind
    title: str
    sentence: str
    advice: str
    size: float
    evidence: EvidenceCluster | None = None
    mark: Mark | None = None
    removal: Removal | None = None
    relabel: Numbers = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class ClassSummary:
    """The answers of one predicted class.

    Attributes:
        name: The class.
        photos: How many photos were said to be of it.
        sources: Of how many sources they are.
        wrong: How many of those answers are wrong; None where that is not known.
        right: The share of right answers; None where that is not known.
        tested: Whether its wrong answers could be tested.
        reason: Why not, if so.
        heat: The mean heat over its photos, `[h][w]`; () where none has a map that can be read.
        heat_right: The same over right answers.
        heat_wrong: The same over wrong ones.
    """

    name: str
    photos: int
    sources: int
    wrong: int | None
    right: Estimate | None
    tested: bool
    reason: str
    heat: tuple[tuple[float, ...], ...]
    heat_right: tuple[tuple[float, ...], ...] = ()
    heat_wrong: tuple[tuple[float, ...], ...] = ()


#: How the hot pixels lie to the objects: they agree, lie within them, around them, or apart.
Relation = Literal["aligned", "within", "around", "apart"]


@dataclass(frozen=True)
class Case:
    """One of the eight cases of right or wrong answers x how the heat lies to the objects.

    These are the cases of Boggust et al. 2022 (Shared Interest), section 3.

    Attributes:
        right: Whether the answers are right.
        relation: How the hot pixels lie to the marked objects.
        photos: The numbers of the rows, in order.
    """

    right: bool
    relation: Relation
    photos: tuple[int, ...]


@dataclass(frozen=True)
class GroupSummary:
    """Accuracy and energy of one group or class, beside the rest.

    Attributes:
        name: The group.
        photos: How many photos it has.
        right: The share of right answers; None where that is not known.
        energy: The share of the heat on the objects; None where that is not known.
        difference: The right answers less those of the rest, with an interval over sources.
    """

    name: str
    photos: int
    right: Estimate | None
    energy: Estimate | None
    difference: Estimate | None


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit.

    Attributes:
        rows: The rows that were searched: all of them, or a sample of many.
        total: How many photos the run has.
        classes: The predicted classes, that with the most photos first.
        evidence: All kinds of evidence, class by class, that with the most heat first.
        marks: The places at which a class's pixels differ.
        findings: The findings, the largest first.
        cases: The eight cases, where labels and objects are known.
        groups: Figures by group, where groups are known.
        accuracy: The share of right answers; None where no labels are known.
        sources: Of how many sources the photos are.
        statuses: How many maps have each status, and how many photos an error.
        warnings: What limits this audit, in sentences: related photos, few wrong answers, ...
        unseen: What no audit of this kind can see, in sentences.
        seed: The seed of all that was drawn at random.
        run: How the rows were made: network, method, layer, versions.
    """

    rows: AuditRows
    total: int
    classes: tuple[ClassSummary, ...]
    evidence: tuple[EvidenceCluster, ...]
    marks: tuple[Mark, ...]
    findings: tuple[Finding, ...]
    cases: tuple[Case, ...]
    groups: tuple[GroupSummary, ...]
    accuracy: Estimate | None
    sources: int
    statuses: Mapping[str, int]
    warnings: tuple[str, ...]
    unseen: tuple[str, ...]
    seed: int
    run: Mapping[str, Any]
