from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from helpers.planted_evidence import Planted, planted, reordered
from limelight.audits.results import EvidenceCluster
from limelight.audits.searches import wrong_answers
from limelight.audits.searches.wrong_answers import with_wrong_answers
from limelight.metrics.intervals import mean

Bits = npt.NDArray[np.bool_]


def kinds_of(made: Planted, predicted: str = "cat") -> list[EvidenceCluster]:
    """Return the planted kinds of evidence of a class, as they are."""
    own = made.rows.predicted == predicted
    kinds = []
    for kind in range(made.has.shape[1]):
        photos = np.flatnonzero(made.has[:, kind] & own)
        peaks = np.flatnonzero((made.kind == kind) & own[made.rows.peaks.photo])
        kinds.append(
            EvidenceCluster(f"{predicted} {kind + 1}", predicted, peaks, photos, len(photos), 0.5)
        )
    return kinds


def answers(wrong: Bits, has: Bits, **columns: Any) -> Planted:
    """Return photos of which some are answered wrongly, and which have kinds of evidence."""
    return planted(has, right=(~wrong).astype(float), **columns)


def drawn(count: int, seed: int, shares: tuple[float, ...] = (0.5, 0.3)) -> tuple[Bits, Bits]:
    """Return which of the photos are wrong, and which have kinds that have no part in it."""
    random = np.random.default_rng(seed)
    return random.random(count) < 0.35, random.random((count, len(shares))) < shares


def test_the_excess_counts_wrong_answers_beyond_the_share_of_the_evidence() -> None:
    wrong, has = drawn(90, 1)
    made = answers(wrong, has)
    found = with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0)
    for kind, each in enumerate(found):
        with_it = sum(1 for i in range(90) if wrong[i] and has[i, kind])
        expected = (with_it - wrong.sum() * has[:, kind].sum() / 90) / 90
        assert each.excess == pytest.approx(expected)


def test_the_shares_of_right_answers_count_related_photos_once() -> None:
    wrong, has = drawn(90, 1)
    made = answers(wrong, has)
    sources = made.sources // 3
    (first, _) = with_wrong_answers(made.rows, sources, kinds_of(made), seed=0)
    for share, chosen in ((first.right_with, has[:, 0]), (first.right_without, ~has[:, 0])):
        right = torch.from_numpy((~wrong[chosen]).astype(float))
        images = [f"film {number}" for number in sources[chosen]]
        assert share == mean(right, images=images, yes_or_no=True)


def by_permuting_photos(wrong: Bits, has: Bits, draws: int, seed: int) -> list[float]:
    """Return the p of each kind by max-T, slowly: permute, count, scale by the spread of counts."""
    random = np.random.default_rng(seed)

    def counts(bits: Bits) -> list[int]:
        return [int((bits & has[:, kind]).sum()) for kind in range(has.shape[1])]

    permuted = np.array([counts(random.permutation(wrong)) for _ in range(draws)])
    middle, spread = permuted.mean(0), permuted.std(0)
    largest = ((permuted - middle) / spread).max(1)
    observed = (np.array(counts(wrong)) - middle) / spread
    return [float((largest >= each - 1e-6).mean()) for each in observed]


@pytest.mark.parametrize("seed", [2, 3])
def test_p_is_that_of_permuted_photos(seed: int) -> None:
    wrong, has = drawn(80, seed, (0.5, 0.3, 0.6))
    wrong |= has[:, 1] & (np.arange(80) % 5 < 2)
    made = answers(wrong, has)
    found = with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0)
    expected = by_permuting_photos(wrong, has, 4000, seed=7)
    assert [each.p for each in found] == pytest.approx(expected, abs=0.035)


def test_evidence_of_wrong_answers_has_a_small_p_and_that_of_right_ones_has_not() -> None:
    wrong, _ = drawn(120, 4)
    made = answers(wrong, np.stack([wrong, ~wrong], 1))
    cue, tool = with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0)
    assert cue.p == 1 / 2000
    assert tool.p > 0.9
    assert tool.excess == pytest.approx(-cue.excess)


def related(random: np.random.Generator) -> tuple[Bits, Bits, npt.NDArray[np.int64]]:
    """Return photos of 30 films of unlike length; all photos of a film are alike.

    The films' being wrong and their evidence have nothing to do with each other.
    """
    lengths = random.integers(1, 13, 30)
    films = np.repeat(np.arange(30), lengths)
    wrong = (random.random(30) < 0.4)[films]
    has = (random.random((30, 3)) < 0.5)[films]
    return wrong, has, films


def false_alarms(monkeypatch: pytest.MonkeyPatch, *, told: bool) -> float:
    """Return how often related photos have a p below .05, with their films told or not."""
    monkeypatch.setattr(wrong_answers, "PERMUTATIONS", 199)
    monkeypatch.setattr(
        wrong_answers, "share_of_right", lambda *_, **__: None
    )  # not what is asked here
    random, alarms = np.random.default_rng(11), 0
    for _ in range(150):
        wrong, has, films = related(random)
        made = answers(wrong, has)
        sources = films if told else made.sources
        found = with_wrong_answers(made.rows, sources, kinds_of(made), seed=0)
        alarms += min(each.p for each in found) < 0.05
    return alarms / 150


def test_related_photos_are_no_false_alarm_where_their_sources_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert false_alarms(monkeypatch, told=True) <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5


def test_related_photos_are_false_alarms_where_their_sources_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert false_alarms(monkeypatch, told=False) > 0.3


def test_a_cue_is_found_among_related_photos_too() -> None:
    random = np.random.default_rng(0)
    films = np.repeat(np.arange(40), random.integers(1, 8, 40))
    cue = (random.random(40) < 0.4)[films]
    made = answers(cue & (random.random(len(films)) < 0.8), np.stack([cue, ~cue], 1))
    first, second = with_wrong_answers(made.rows, films, kinds_of(made), seed=0)
    assert first.p < 0.01
    assert second.p > 0.5


def test_neither_the_order_of_the_rows_nor_the_numbers_of_the_sources_matter() -> None:
    wrong, has = drawn(90, 6)
    made = answers(wrong, has)
    sources = made.sources // 2
    plain = with_wrong_answers(made.rows, sources, kinds_of(made), seed=1)
    order = np.random.default_rng(2).permutation(90)
    rows = reordered(made.rows, order)
    other = Planted(rows, made.kind, has[order])
    moved = [
        EvidenceCluster(each.name, "cat", each.peaks, np.flatnonzero(has[order][:, kind]), 1, 0.5)
        for kind, each in enumerate(kinds_of(made))
    ]
    shuffled = with_wrong_answers(other.rows, 1000 - sources[order], moved, seed=1)
    assert [each.p for each in shuffled] == [each.p for each in plain]
    assert [each.right_with for each in shuffled] == [each.right_with for each in plain]


@pytest.mark.parametrize(
    ("wrong", "sources"),
    [
        pytest.param(np.arange(100) < 19, np.arange(100), id="19 wrong answers"),
        pytest.param(np.arange(100) < 50, np.arange(100) % 9, id="nine sources"),
        pytest.param(np.zeros(100, bool), np.arange(100), id="all right"),
        pytest.param(np.ones(100, bool), np.arange(100), id="all wrong"),
    ],
)
def test_what_cannot_be_tested_has_figures_and_no_p(
    wrong: Bits, sources: npt.NDArray[np.int64]
) -> None:
    made = answers(wrong, np.stack([wrong, np.arange(100) % 2 == 0], 1))
    for each in with_wrong_answers(made.rows, sources, kinds_of(made), seed=0):
        assert np.isnan(each.p)
        assert np.isfinite(each.excess)


def test_without_labels_nothing_is_known() -> None:
    made = planted(drawn(60, 0)[1])
    for each in with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0):
        assert each.right_with is None
        assert np.isnan(each.excess)
        assert np.isnan(each.p)


def test_answers_that_are_not_known_are_left_out() -> None:
    wrong, has = drawn(90, 1)
    right = np.where(np.arange(90) < 60, (~wrong).astype(float), np.nan)
    made = planted(has, right=right)
    part = answers(wrong[:60], has[:60])
    found = with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0)
    known = with_wrong_answers(part.rows, part.sources, kinds_of(part), seed=0)
    assert [(each.excess, each.p) for each in found] == [(each.excess, each.p) for each in known]


def test_evidence_that_all_photos_have_has_no_excess_and_is_no_finding() -> None:
    wrong, has = drawn(80, 3)
    has[:, 0] = True
    made = answers(wrong, has)
    first, _ = with_wrong_answers(made.rows, made.sources, kinds_of(made), seed=0)
    assert first.excess == 0
    assert first.right_without is None
    assert first.p > 0.05


def test_small_classes_together_are_not_tested() -> None:
    wrong, has = drawn(150, 1)
    names = [f"class {number % 10}" for number in range(150)]  # 15 photos each
    made = answers(wrong, has, predicted=names)
    pooled = [
        EvidenceCluster(
            f"small {kind}", "", np.empty(0, np.int64), np.flatnonzero(has[:, kind]), 9, 0.5
        )
        for kind in range(2)
    ]
    for each in with_wrong_answers(made.rows, made.sources, pooled, seed=0):
        assert np.isnan(each.p)
        assert each.right_with is not None


def test_more_classes_make_p_larger() -> None:
    wrong, has = drawn(100, 8)
    wrong |= has[:, 0] & (np.arange(100) % 4 == 0)
    alone = answers(wrong, has)
    (single, _) = with_wrong_answers(alone.rows, alone.sources, kinds_of(alone), seed=0)
    names = [name for name in ("cat", "dog", "owl", "emu") for _ in range(100)]
    random = np.random.default_rng(3)
    made = answers(
        np.concatenate([wrong, random.random(300) < 0.35]),
        np.concatenate([has, random.random((300, 2)) < 0.5]),
        predicted=names,
    )
    kinds = [each for name in ("cat", "dog", "owl", "emu") for each in kinds_of(made, name)]
    together = with_wrong_answers(made.rows, made.sources, kinds, seed=0)
    assert single.p < together[0].p
