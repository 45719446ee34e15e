"""Whether a kind of evidence keeps to one place of the picture, or to its border."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limelight.audits.results import EvidenceCluster
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.audits.searches.related import FEWEST_SOURCES

#: Evidence keeps to one place from so many standard deviations on. Objects have their places too,
#: so chance alone is no bar: kinds of evidence in sets without a planted cue reach 6.
PLACE_LIMIT = 7.0

#: And to the border from so many on; without a planted cue they reach 5.
BORDER_LIMIT = 5.0

#: Evidence lies at the border if so many of its peaks are in the outermost cells. All of it that a
#: class has is a frame only if so many are on each of two opposite sides: what stands on the
#: lower edge is none.
IN_OUTERMOST, ON_OPPOSITE = 1 / 2, 1 / 10

#: How often peaks are drawn.
DRAWS = 400

#: At most so many peaks are drawn. The deviations of a mean shrink with their number, and with
#: enough of them every natural habit of a class would pass the limits.
MOST_DRAWN = 100

#: And at most this share of the peaks beside those at the border: draws that take nearly all of
#: them would hardly differ.
_SHARE_DRAWN = 1 / 4

#: So many numbers are drawn at once.
_AT_ONCE = 2_000_000


def with_places(
    rows: AuditRows, sources: Numbers, evidence: Sequence[EvidenceCluster], *, seed: int
) -> list[EvidenceCluster]:
    """Return kinds of evidence with how much they keep to one place, and to the border.

    The spread of n peaks at positions x_i is `sqrt(mean_i |x_i - mean x|^2)`, and their distance to
    the border is the mean of `min(down, 1 - down, across, 1 - across)`, in shares of what the
    network sees. Both are compared with those of equally many peaks of the same class, drawn from
    equally many sources: `z = (mean of the draws - own) / standard deviation of the draws`.

    Evidence has none where the class has peaks of fewer than `FEWEST_SOURCES` sources, or no more
    peaks than are drawn, or where all draws are the same.

    The sides of a frame look unlike each other, and each is a kind of evidence. So all kinds of a
    class that lie at the border are taken together for their distance to it, and compared with the
    other peaks of the class, which do not hold the frame.

    Args:
        rows: The rows.
        sources: The source of each row, `[N]`.
        evidence: The kinds of evidence.
        seed: Of the draws.
    """
    pools = dict[str, _Pool]()
    placed = []
    for number, each in enumerate(evidence):
        if each.predicted not in pools:
            pools[each.predicted] = _Pool.of(rows, sources, each.predicted, evidence)
        points = _positions(rows)[each.peaks]
        drawn = np.random.default_rng([seed, number])
        place, border = pools[each.predicted].deviations(points, each.sources, drawn)
        down, across = points.mean(0).tolist()
        placed.append(replace(each, place=place, border=border, centre=(down, across)))
    for number, (name, pool) in enumerate(pools.items()):
        drawn = np.random.default_rng([seed, len(evidence), number])
        border = _border_together(rows, sources, evidence, name, pool, drawn)
        if not np.isnan(border):
            placed = [
                replace(each, border=border)
                if each.predicted == name and lies_at_border(rows, each)
                else each
                for each in placed
            ]
    return placed


def lies_at_border(rows: AuditRows, evidence: EvidenceCluster) -> bool:
    """Return whether half of the peaks of evidence are in the outermost cells."""
    return bool(_on_sides(rows, evidence.peaks).any(0).mean() >= IN_OUTERMOST)


def surrounds(rows: AuditRows, peaks: Numbers) -> bool:
    """Return whether enough of the peaks are on each of two opposite sides."""
    top, bottom, left, right = _on_sides(rows, peaks).mean(1)
    return bool(max(min(top, bottom), min(left, right)) >= ON_OPPOSITE)


def _on_sides(rows: AuditRows, peaks: Numbers) -> npt.NDArray[np.bool_]:
    """Return which peaks are in the outermost cells: top, bottom, left and right, `[4, n]`."""
    height, width = rows.maps.shape[1:]
    row, column = rows.peaks.row[peaks], rows.peaks.column[peaks]
    return np.stack([row == 0, row == height - 1, column == 0, column == width - 1])


def _border_together(
    rows: AuditRows,
    sources: Numbers,
    evidence: Sequence[EvidenceCluster],
    name: str,
    pool: _Pool,
    drawn: np.random.Generator,
) -> float:
    """Return by how many deviations all evidence at the border is closer to it than the rest is.

    NaN where there is none, or too little beside it.
    """
    kinds = [each for each in evidence if each.predicted == name and lies_at_border(rows, each)]
    if not kinds:
        return nan
    peaks = np.concatenate([each.peaks for each in kinds])
    others = pool.without(peaks)
    most = min(MOST_DRAWN, int(_SHARE_DRAWN * len(others.points)))
    count = len(np.unique(sources[rows.peaks.photo[peaks]]))
    return others.deviations(_positions(rows)[peaks], count, drawn, most)[1]


def _positions(rows: AuditRows) -> Floats:
    """Return where all peaks are, down and across, as shares of what the network sees, `[P, 2]`."""
    cells = np.stack([rows.peaks.row, rows.peaks.column], 1)
    positions: Floats = (cells + 0.5) / rows.maps.shape[1:]
    return positions


def _spread(points: Floats) -> Floats:
    """Return the spread of positions, `[..., n, 2]`."""
    away = points - points.mean(-2, keepdims=True)
    spread: Floats = np.sqrt((away**2).sum(-1).mean(-1))
    return spread


def _distance(points: Floats) -> Floats:
    """Return the mean distance of positions to the border, `[..., n, 2]`."""
    distance: Floats = np.minimum(points, 1 - points).min(-1).mean(-1)
    return distance


class _Pool(NamedTuple):
    """The peaks of a class, P of them, from S sources.

    Attributes:
        peak: Their numbers in the rows, `[P]`.
        points: Their positions, `[P, 2]`.
        source: The source of each, from 0 to S - 1, `[P]`.
    """

    peak: Numbers
    points: Floats
    source: Numbers

    @classmethod
    def of(
        cls, rows: AuditRows, sources: Numbers, name: str, evidence: Sequence[EvidenceCluster]
    ) -> _Pool:
        """Collect the peaks of a class; of all classes without evidence of their own for ""."""
        if name:
            chosen = rows.predicted == name
        else:
            chosen = ~np.isin(rows.predicted, [each.predicted for each in evidence])
        own = np.flatnonzero((chosen & rows.of_answer)[rows.peaks.photo])
        _, source = np.unique(sources[rows.peaks.photo[own]], return_inverse=True)
        return cls(own, _positions(rows)[own], source)

    def without(self, peaks: Numbers) -> _Pool:
        """Return the pool without some peaks."""
        kept = ~np.isin(self.peak, peaks)
        _, source = np.unique(self.source[kept], return_inverse=True)
        return _Pool(self.peak[kept], self.points[kept], source)

    def deviations(
        self, points: Floats, sources: int, drawn: np.random.Generator, most: int = MOST_DRAWN
    ) -> tuple[float, float]:
        """Return by how many deviations positions `[n, 2]` are closer together, and to the border.

        Args:
            points: The positions of the evidence.
            sources: Of how many sources they are.
            drawn: Draws the peaks.
            most: How many are drawn at most.
        """
        count = min(len(points), most)
        known = int(self.source.max(initial=-1)) + 1
        if known < FEWEST_SOURCES or not 0 < count < len(self.points):
            return nan, nan
        draws = list(self._draws(count, min(sources, count), drawn))
        spreads = np.concatenate([_spread(each) for each in draws])
        distances = np.concatenate([_distance(each) for each in draws])
        return _below(float(_spread(points)), spreads), _below(float(_distance(points)), distances)

    def _draws(self, count: int, sources: int, drawn: np.random.Generator) -> Iterator[Floats]:
        """Yield drawn positions, `[D, n, 2]` and `DRAWS` in all: sources first, then their peaks.

        Where the drawn sources have too few peaks, further ones join them.
        """
        size = int(self.source.max()) + 1
        at_once = max(1, _AT_ONCE // len(self.points))
        for start in range(0, DRAWS, at_once):
            many = min(at_once, DRAWS - start)
            rank = np.argsort(drawn.random((many, size)), 1).argsort(1)
            late = np.maximum(rank - sources + 1, 0)[:, self.source]
            order = late + drawn.random((many, len(self.points)))
            yield self.points[np.argpartition(order, count - 1, 1)[:, :count]]


def _below(own: float, draws: Floats) -> float:
    """Return by how many of their standard deviations a figure is below those of the draws."""
    deviation = float(draws.std())
    if deviation <= 1e-9:
        return nan
    return float((draws.mean() - own) / deviation)
