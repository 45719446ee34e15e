"""Where the heat of the same photos moved between two networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from limelight.audits.results import Audit, EvidenceCluster, Finding, Mark
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.audits.verdict import true_classes
from limelight.metrics.intervals import Estimate, PairedDifference, difference, mean

#: Two kinds of evidence are the same if, on at least this share of the photos that both networks
#: say to be of the class, a peak of one is within this distance of one of the other, as a share of
#: the picture's side.
_SAME_SHARE, _SAME_DISTANCE = 0.5, 0.15

#: The fewest photos of a class of which the change of the mean map is computed.
_FEWEST_PHOTOS = 2


@dataclass(frozen=True, eq=False)
class Paired:
    """A figure of both networks on the same photos.

    Attributes:
        a, b: The mean of each, with its 95 % interval over sources.
        change: b less a, paired, with the interval of the change.
    """

    a: Estimate
    b: Estimate
    change: PairedDifference


@dataclass(frozen=True, eq=False)
class ClassMove:
    """How the mean map of a class changed.

    Attributes:
        name: The class: the true one, or that which A predicts where no labels are known.
        photos: How many photos have both maps.
        a, b: The mean share of the heat in each cell, `[h, w]`, which sum to 1.
        moved: Which share of the heat moved, on average over the photos: half the sum of |b - a|.
    """

    name: str
    photos: int
    a: Floats
    b: Floats
    moved: Estimate


@dataclass(frozen=True, eq=False)
class FindingMove:
    """A finding of one audit, and what the other network does there.

    Attributes:
        of: Whose finding it is, `A` or `B`.
        number: Its number in that audit, from 1.
        finding: The finding.
        same: The number of the other audit's finding of the same thing; None if it has none.
        heat: The share of the heat in the 3 x 3 cells around the finding's peaks, or on its mark,
            of its own network (`a`) and of the other (`b`); None where no photo has both maps.
    """

    of: str
    number: int
    finding: Finding
    same: int | None
    heat: Paired | None


@dataclass(frozen=True, eq=False)
class PhotoPairs:
    """The same photos in two audits.

    Attributes:
        first, second: The numbers of their rows, `[P]` each.
        shares, other_shares: The share of the heat in each cell of both, `[P, h, w]`; NaN without
            a map.
        sources: The source of each.
    """

    first: Numbers
    second: Numbers
    shares: Floats
    other_shares: Floats
    sources: Sequence[str]

    def reversed(self) -> PhotoPairs:
        """Return the pairs with the second audit first."""
        return PhotoPairs(self.second, self.first, self.other_shares, self.shares, self.sources)


def heat_shares(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return the share of the heat in each cell of the finer of two grids, `[P, h, w]` each."""
    grid = tuple(map(max, first.shape[1:], second.shape[1:]))
    shares = []
    for maps in (first, second):
        heat = torch.from_numpy(maps.astype(np.float32))[:, None]
        finer = interpolate(heat, grid, mode="bilinear", align_corners=False)[:, 0].numpy()
        total = finer.sum((1, 2), keepdims=True)
        shares.append(finer / np.where(total > 0, total, np.nan))
    return shares[0], shares[1]


def paired(
    a: Floats, b: Floats, sources: Sequence[str], *, yes_or_no: bool = False
) -> Paired | None:
    """Return a figure of both, on the photos on which both are known; None without any."""
    known = ~np.isnan(a) & ~np.isnan(b)
    if not known.any():
        return None
    images = [source for source, keep in zip(sources, known.tolist(), strict=True) if keep]
    first, second = (torch.from_numpy(np.asarray(each[known], np.float64)) for each in (a, b))
    return Paired(
        mean(first, images=images, yes_or_no=yes_or_no),
        mean(second, images=images, yes_or_no=yes_or_no),
        difference(second, first, images=images, yes_or_no=yes_or_no),
    )


def class_moves(names: np.ndarray, pairs: PhotoPairs, moved: Floats) -> tuple[ClassMove, ...]:
    """Return how the mean map of each class changed."""
    known = ~np.isnan(moved)
    moves = []
    for name, _ in Counter(names[known].tolist()).most_common():
        members = np.flatnonzero(known & (names == name))
        if len(members) < _FEWEST_PHOTOS:
            continue
        moves.append(
            ClassMove(
                str(name),
                len(members),
                pairs.shares[members].mean(0, dtype=np.float64),
                pairs.other_shares[members].mean(0, dtype=np.float64),
                mean(
                    torch.from_numpy(moved[members].astype(np.float64)),
                    images=[pairs.sources[each] for each in members.tolist()],
                ),
            )
        )
    return tuple(moves)


def finding_moves(of: str, audit: Audit, other: Audit, pairs: PhotoPairs) -> list[FindingMove]:
    """Return the findings of an audit beside the other one."""
    return [
        FindingMove(
            of,
            number,
            finding,
            next(
                (
                    place
                    for place, each in enumerate(other.findings, 1)
                    if _are_same(finding, each, audit.rows, other.rows, pairs)
                ),
                None,
            ),
            _heat_there(finding, audit.rows, pairs),
        )
        for number, finding in enumerate(audit.findings, 1)
    ]


def _are_same(
    finding: Finding, other: Finding, rows: AuditRows, other_rows: AuditRows, pairs: PhotoPairs
) -> bool:
    """Return whether two findings are of the same thing: one place of the same photos, or mark."""
    if finding.mark is not None and other.mark is not None:
        return _marks_overlap(finding.mark, other.mark)
    if finding.evidence is None or other.evidence is None:
        return False
    if finding.evidence.predicted != other.evidence.predicted:
        return False
    return _same_places(finding.evidence, other.evidence, rows, other_rows, pairs)


def _marks_overlap(a: Mark, b: Mark) -> bool:
    left, top = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    right, bottom = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    return a.label == b.label and left < right and top < bottom


def _same_places(
    one: EvidenceCluster,
    other: EvidenceCluster,
    rows: AuditRows,
    other_rows: AuditRows,
    pairs: PhotoPairs,
) -> bool:
    """Return whether the peaks of two kinds of evidence are at the same places of the same photos.

    Only photos that both networks say to be of the class can have both.
    """
    ours, theirs = _places(rows, one), _places(other_rows, other)
    both = [
        (first, second)
        for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        if rows.predicted[first] == other_rows.predicted[second] == one.predicted
    ]
    fewer = min(
        sum(first in ours for first, _ in both), sum(second in theirs for _, second in both)
    )
    if not fewer:
        return False
    near = sum(
        any(
            max(abs(x - u), abs(y - v)) <= _SAME_DISTANCE
            for x, y in ours[first]
            for u, v in theirs[second]
        )
        for first, second in both
        if first in ours and second in theirs
    )
    return near >= _SAME_SHARE * fewer


def _places(rows: AuditRows, evidence: EvidenceCluster) -> dict[int, list[tuple[float, float]]]:
    """Return the places of the evidence's peaks by the number of their row, as shares."""
    down, across = rows.maps.shape[1:]
    places: dict[int, list[tuple[float, float]]] = {}
    for peak in evidence.peaks.tolist():
        place = (
            (int(rows.peaks.column[peak]) + 0.5) / across,
            (int(rows.peaks.row[peak]) + 0.5) / down,
        )
        places.setdefault(int(rows.peaks.photo[peak]), []).append(place)
    return places


def _heat_there(finding: Finding, rows: AuditRows, pairs: PhotoPairs) -> Paired | None:
    """Return which share of the heat lies where a finding is, in both networks."""
    inside = _cells_of(finding, rows, pairs.shares.shape[1:])
    members = [place for place, number in enumerate(pairs.first.tolist()) if number in inside]
    if not members:
        return None
    cells = np.stack([inside[int(pairs.first[place])] for place in members])
    ours, theirs = (
        (shares[members] * cells).sum((1, 2)) for shares in (pairs.shares, pairs.other_shares)
    )
    return paired(ours, theirs, [pairs.sources[place] for place in members])


def _cells_of(
    finding: Finding, rows: AuditRows, grid: Sequence[int]
) -> dict[int, npt.NDArray[np.bool_]]:
    """Return which cells of a grid a finding is at, `[h, w]`, by the number of the row."""
    y, x = ((np.arange(count) + 0.5) / count for count in grid)
    if finding.mark is not None:
        left, top, right, bottom = finding.mark.box
        half_down, half_across = (0.5 / count for count in grid)
        down = (y > top - half_down) & (y < bottom + half_down)
        across = (x > left - half_across) & (x < right + half_across)
        members = np.flatnonzero(true_classes(rows) == finding.mark.label).tolist()
        return dict.fromkeys(members, down[:, None] & across)
    assert finding.evidence is not None
    h, w = rows.maps.shape[1:]
    cells: dict[int, npt.NDArray[np.bool_]] = {}
    for number, places in _places(rows, finding.evidence).items():
        for across_at, down_at in places:
            near = (np.abs(y - down_at) < 1.5 / h)[:, None] & (np.abs(x - across_at) < 1.5 / w)
            cells[number] = cells.get(number, False) | near
    return cells
