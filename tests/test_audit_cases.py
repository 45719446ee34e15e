"""Cases, groups and classes of an audit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from helpers.audit_rows import made_rows
from limelight.audits.searches.cases import (
    cases_of,
    class_summaries,
    difference_of_shares,
    groups_of,
    statuses_of,
)
from limelight.audits.searches.related import sources_of


def _covered(hot: set[int], inside: set[int]) -> tuple[float, float, float]:
    both, either = len(hot & inside), len(hot | inside)
    return both / either, both / len(inside), both / len(hot)


def test_the_eight_cases_are_those_of_shared_interest() -> None:
    inside = set(range(10))
    salient = {
        "aligned": set(range(9)),  # nearly the object
        "within": set(range(3)),  # a part of it
        "around": set(range(40)),  # it, and much else
        "apart": set(range(20, 30)),  # something else
    }
    coverages = [_covered(hot, inside) for hot in salient.values()] * 2
    iou, objects, saliency = zip(*coverages, strict=True)
    rows = made_rows(
        8,
        right=[1] * 4 + [0] * 4,
        iou=iou,
        object_coverage=objects,
        saliency_coverage=saliency,
    )
    found = {(case.right, str(case.relation)): case.photos for case in cases_of(rows)}
    assert len(found) == 8
    for i, relation in enumerate(salient):
        assert found[True, relation] == (i,)
        assert found[False, relation] == (i + 4,)


def test_each_photo_is_in_one_case_and_aligned_ones_have_a_high_iou() -> None:
    drawn = np.random.default_rng(0)
    sets = [
        (
            set(drawn.permutation(30)[: drawn.integers(1, 29)].tolist()),
            set(drawn.permutation(30)[: drawn.integers(1, 29)].tolist()),
        )
        for _ in range(200)
    ]
    iou, objects, saliency = zip(*(_covered(*pair) for pair in sets), strict=True)
    right = drawn.integers(0, 2, 200)
    rows = made_rows(200, right=right, iou=iou, object_coverage=objects, saliency_coverage=saliency)
    cases = cases_of(rows)
    assert sorted(i for case in cases for i in case.photos) == list(range(200))
    for case in cases:
        assert all(right[i] == case.right for i in case.photos)
        if case.relation == "aligned":
            assert min(iou[i] for i in case.photos) >= 1 / 3
        else:
            assert max(iou[i] for i in case.photos) < 1 / 2


def test_photos_without_answer_object_or_map_are_in_no_case() -> None:
    rows = made_rows(
        4,
        right=[1, np.nan, 1, 1],
        object_coverage=[1, 1, np.nan, 1],
        saliency_coverage=[1, 1, np.nan, 1],
        status=["ok", "ok", "ok", "flat"],
    )
    assert sum(len(case.photos) for case in cases_of(rows)) == 1
    assert cases_of(made_rows(3)) == ()
    assert cases_of(made_rows(0)) == ()


def test_statuses_and_errors_are_counted() -> None:
    rows = made_rows(5, status=["ok", "ok", "flat", "", "ok"], error=["", "", "", "cut off", ""])
    assert statuses_of(rows) == {"ok": 3, "error": 1, "flat": 1}


def test_classes_have_their_answers_and_mean_maps() -> None:
    maps = np.zeros((30, 2, 2), np.float16)
    maps[:20, 0, 0], maps[20:, 1, 1] = 1, 0.5
    rows = made_rows(
        30,
        predicted=["cat"] * 24 + ["dog"] * 6,
        right=[1] * 20 + [0] * 10,
        status=["ok"] * 29 + ["flat"],
        maps=maps,
    )
    cat, dog = class_summaries(rows, np.arange(30))
    assert (cat.name, cat.photos, cat.sources, cat.wrong) == ("cat", 24, 24, 4)
    assert cat.right is not None
    assert cat.right.value == pytest.approx(20 / 24)
    assert np.array(cat.heat) == pytest.approx(np.array([[20 / 24, 0], [0, 2 / 24]]))
    assert cat.heat_right == ((1, 0), (0, 0))
    assert cat.heat_wrong == ((0, 0), (0, 0.5))
    assert (dog.heat, dog.heat_right) == (((0, 0), (0, 0.5)), ())
    assert not cat.tested
    assert "4 of 24 answers are wrong" in cat.reason
    assert "5 sources" in dog.reason  # of those with a map


def test_a_class_with_many_wrong_answers_of_many_sources_is_tested() -> None:
    rows = made_rows(60, right=[0] * 20 + [1] * 40)
    assert class_summaries(rows, np.arange(60))[0].tested
    (related,) = class_summaries(rows, np.arange(60) // 10)
    assert (related.tested, related.sources) == (False, 6)
    assert related.right is not None
    assert related.right.images == 6
    (unknown,) = class_summaries(made_rows(3), np.arange(3))
    assert (unknown.wrong, unknown.right, unknown.reason) == (None, None, "no labels are known")


def test_groups_have_their_figures_and_the_difference_to_the_rest() -> None:
    drawn = np.random.default_rng(0)
    right = np.concatenate([np.arange(200) < 180, np.arange(200) < 120]).astype(float)
    energy = np.concatenate([np.full(200, 0.8), np.full(200, 0.4)]) + drawn.normal(0, 0.05, 400)
    rows = made_rows(
        400,
        group=["north"] * 200 + ["south"] * 195 + ["few"] * 5,
        right=right,
        energy_inside=energy,
    )
    north, south = groups_of(rows, sources_of(rows))
    assert (north.name, north.photos, south.name, south.photos) == ("north", 200, "south", 195)
    assert north.right is not None
    assert north.right.value == pytest.approx(0.9)
    assert 0.84 < north.right.low < 0.9 < north.right.high < 0.94  # Clopper and Pearson 1934
    assert north.energy is not None
    assert north.energy.value == pytest.approx(0.8, abs=0.02)
    assert north.difference is not None
    assert north.difference.value == pytest.approx(0.3)
    # Newcombe 1998, method 10, has [0.22, 0.38]; exact limits are a little wider.
    assert 0.2 < north.difference.low < 0.22
    assert 0.38 < north.difference.high < 0.4
    assert groups_of(made_rows(20), np.arange(20)) == ()


def test_frames_of_one_film_in_a_group_count_together() -> None:
    films = [f"film{i // 10}.mp4/film{i // 10}-{i:03}" for i in range(1, 201)]
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 10)[np.arange(1, 201) // 10 % 20]
    names: dict[str, Any] = {"group": ["a"] * 100 + ["b"] * 100, "right": right}
    frames = made_rows(200, photo=films, **names)
    photos = made_rows(200, **names)
    together = groups_of(frames, sources_of(frames))[0].right
    alone = groups_of(photos, sources_of(photos))[0].right
    assert together is not None
    assert alone is not None
    assert together.images < 12
    assert alone.images == 100
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_photos_of_one_scene_in_both_parts_are_compared_as_pairs() -> None:
    drawn = np.random.default_rng(0)
    first = drawn.random(120) < 0.5
    second = np.where(drawn.random(120) < 0.05, ~first, first)  # the other camera nearly agrees
    values = np.concatenate([first, second]).astype(float)
    own = np.arange(240) < 120
    paired = difference_of_shares(values, own, np.arange(240) % 120)
    alone = difference_of_shares(values, own, np.arange(240))
    assert paired is not None
    assert alone is not None
    assert paired.value == alone.value == pytest.approx(first.mean() - second.mean())
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_the_interval_of_a_difference_holds_the_truth() -> None:
    drawn = np.random.default_rng(9)
    own, held = np.arange(90) < 40, 0
    for _ in range(200):
        values = (drawn.random(90) < np.where(own, 0.8, 0.6)).astype(float)
        found = difference_of_shares(values, own, np.arange(90))
        assert found is not None
        held += found.low <= 0.2 <= found.high
    assert held >= 184  # 95 %: fewer than 184 of 200 once in 50 times; exact limits hold more


def test_a_difference_needs_two_parts_and_more_than_one_source() -> None:
    values = np.array([1.0, 0.0, 1.0])
    assert difference_of_shares(values, np.array([True] * 3), np.arange(3)) is None
    assert difference_of_shares(values, np.array([False] * 3), np.arange(3)) is None
    found = difference_of_shares(values, np.array([True, False, False]), np.arange(3))
    assert found is not None
    assert math.isnan(found.low)
    assert found.value == 0.5
