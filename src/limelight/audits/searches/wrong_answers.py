"""Whether the wrong answers of a class have a kind of evidence more often than its right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limelight.audits.results import EvidenceCluster
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.audits.searches.cases import share_of_right, untested
from limelight.audits.searches.evidence import classes_of

#: How many permutations are drawn.
PERMUTATIONS = 1999

#: So many numbers are permuted at once.
_AT_ONCE = 4_000_000

#: Sources of like size are exchanged; fewer than this many join those of the next size.
_FEWEST_ALIKE = 5


def with_wrong_answers(
    rows: AuditRows, sources: Numbers, evidence: Sequence[EvidenceCluster], *, seed: int
) -> list[EvidenceCluster]:
    """Return kinds of evidence with how often answers are right, and what the wrong ones tell.

    The excess of a kind of evidence is `(w - W n / N) / N`: of the N photos of the class W are
    answered wrongly, and of the n with the evidence w.

    Its p is that of the max-T test (Westfall and Young 1993, section 2.6): the share of
    permutations in which any kind of evidence of any class has as large a statistic. Permuted
    are, within each class, the sources' shares of wrong answers, between sources of like size, so
    that photos of one source count as the one witness that they are; where each photo is a source
    of its own, these are the permutations of the photos. The statistic is linear in the shares,
    `T = sum_s r_s n_s (m_s - m)`: r_s is the share of wrong answers of source s, n_s its photos,
    m_s the share of them that have the evidence, and m that of all; each T is divided by its
    standard deviation over the permutations, after its mean was taken off.

    Evidence of small classes together, and of a class with fewer than 20 wrong answers or fewer
    than 10 sources, has no p.

    Args:
        rows: The rows. Without labels the evidence is returned as it is.
        sources: The source of each row, `[N]`.
        evidence: The kinds of evidence.
        seed: Of the permutations.
    """
    known = rows.of_answer & np.isfinite(rows.right)
    rank = rows.rank
    members = dict(classes_of(rows))
    told, tests, tested = list[EvidenceCluster](), list[_Test](), list[int]()
    for name in dict.fromkeys(each.predicted for each in evidence):
        photos = np.flatnonzero(known & members[name])
        photos = photos[np.argsort(rank[photos])]
        own = [each for each in evidence if each.predicted == name]
        has = np.stack([np.isin(photos, each.photos) for each in own], 1)
        if name and not untested(rows.right[photos] == 0, sources[photos]):
            tested += range(len(told), len(told) + len(own))
            tests.append(_Test.of(rows.right[photos] == 0, sources[photos], has))
        told += [
            _with_figures(each, rows.right[photos], sources[photos], has[:, number])
            for number, each in enumerate(own)
        ]
    for number, p in zip(tested, _max_t(tests, seed), strict=True):
        told[number] = replace(told[number], p=float(p))
    return told


def _with_figures(
    evidence: EvidenceCluster, right: Floats, sources: Numbers, has: npt.NDArray[np.bool_]
) -> EvidenceCluster:
    """Return evidence with the shares of right answers, and the excess of wrong ones."""
    if not len(right):
        return evidence
    wrong = right == 0
    excess = (wrong[has].sum() - wrong.sum() * has.mean()) / len(right)
    return replace(
        evidence,
        right_with=share_of_right(right[has], sources[has]),
        right_without=share_of_right(right[~has], sources[~has]),
        excess=float(excess),
    )


class _Test(NamedTuple):
    """The S sources of one class: their shares of wrong answers are permuted, their weights stay.

    Attributes:
        shares: The sources' shares of wrong answers, `[S]`.
        stratum: Which sources are of like size, `[S]`, numbered from 0 in the order of the sources.
        weights: `n_s (m_s - m)` for each kind of evidence, `[S, E]`.
        middle: The mean of each statistic over the permutations, `[E]`.
        deviation: Its standard deviation, `[E]`.
    """

    shares: Floats
    stratum: Numbers
    weights: Floats
    middle: Floats
    deviation: Floats

    @classmethod
    def of(
        cls, wrong: npt.NDArray[np.bool_], sources: Numbers, has: npt.NDArray[np.bool_]
    ) -> _Test:
        """Return the test of a class: N photos, and which kinds of evidence they have, `[N, E]`."""
        _, first, member = np.unique(sources, return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))  # sources by their first photo, not by their number
        member = place[member]
        sizes = np.bincount(member)
        shares = np.bincount(member, wrong) / sizes
        present = np.stack([np.bincount(member, each) for each in has.T.astype(float)], 1)
        weights = present - sizes[:, None] * has.mean(0)
        order = np.argsort(sizes, kind="stable")
        shares, weights, stratum = shares[order], weights[order], _strata(sizes[order])
        middle, variance = np.zeros(has.shape[1]), np.zeros(has.shape[1])
        for each in range(int(stratum.max()) + 1):
            r, w = shares[stratum == each], weights[stratum == each]
            middle += len(r) * r.mean() * w.mean(0)
            variance += r.var() * ((w - w.mean(0)) ** 2).sum(0) * len(r) / max(len(r) - 1, 1)
        return cls(shares, stratum, weights, middle, np.sqrt(variance))

    def statistics(self, shares: Floats) -> Floats:
        """Return the statistics `[R, E]` of shares `[R, S]`; 0 where no permutation changes it."""
        scale = np.abs(self.weights).sum(0)
        varies = self.deviation > 1e-9 * np.maximum(scale, 1e-300)
        values = shares @ self.weights - self.middle
        standard: Floats = np.where(varies, values / np.where(varies, self.deviation, 1), 0.0)
        return standard

    def permuted(self, random: np.random.Generator, count: int) -> Floats:
        """Return shares permuted between sources of like size, `[count, S]`."""
        drawn = [
            random.permuted(np.tile(self.shares[self.stratum == each], (count, 1)), axis=1)
            for each in range(int(self.stratum.max()) + 1)
        ]
        return np.concatenate(drawn, axis=1)


def _strata(sizes: Numbers) -> Numbers:
    """Return which sources are of like size, `[S]`, for sizes in ascending order.

    They are between the same powers of two; a class of fewer than five joins the next larger one,
    or the last but one if there is none.
    """
    powers = np.floor(np.log2(sizes)).astype(int)
    ends = [0]
    for power in np.unique(powers):
        end = int((powers <= power).sum())
        if end - ends[-1] >= _FEWEST_ALIKE:
            ends.append(end)
    if len(ends) == 1:
        return np.zeros(len(sizes), np.int64)
    ends[-1] = len(sizes)
    return np.repeat(np.arange(len(ends) - 1), np.diff(ends))


def _max_t(tests: Sequence[_Test], seed: int) -> Floats:
    """Return the p of each kind of evidence of all tests, in order."""
    if not tests:
        return np.empty(0)
    found = [test.statistics(test.shares[None])[0] for test in tests]
    random = np.random.default_rng(seed)
    most = max(len(test.shares) for test in tests)
    step = max(1, min(PERMUTATIONS, _AT_ONCE // most))
    largest = []
    for start in range(0, PERMUTATIONS, step):
        count = min(step, PERMUTATIONS - start)
        by_test = [test.statistics(test.permuted(random, count)).max(1) for test in tests]
        largest.append(np.max(by_test, axis=0))
    null = np.concatenate(largest)
    observed = np.concatenate(found)
    above = (null[None] >= observed[:, None] * (1 - 1e-9)).sum(1)
    p: Floats = (1 + above) / (1 + PERMUTATIONS)
    return p
