from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from helpers.hidden_packages import hide_for_a_test
from helpers.planted_evidence import Planted, planted, reordered
from limelight.audits.results import EvidenceCluster
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.audits.searches.evidence import find_evidence
from limelight.errors import MissingPackageError


def three_kinds(count: int = 60, seed: int = 0, **columns: Any) -> Planted:
    """Return photos of which each has one or two of three kinds."""
    random = np.random.default_rng(seed)
    has = random.random((count, 3)) < (0.7, 0.5, 0.3)
    has[~has.any(1), 0] = True
    return planted(has, seed=seed, **columns)


def with_peaks(rows: AuditRows, **parts: Any) -> AuditRows:
    columns = {name: getattr(rows, name) for name in vars(rows) if name != "peaks"}
    return AuditRows(**columns, peaks=Peaks(**(vars(rows.peaks) | parts)))


def photos_of(rows: AuditRows, evidence: EvidenceCluster) -> set[str]:
    return set(rows.photo[evidence.photos])


def test_the_kinds_of_evidence_are_those_that_were_planted() -> None:
    made = three_kinds()
    found = find_evidence(made.rows, made.sources, seed=0)
    assert len(found) == 3
    kinds = [set(made.kind[each.peaks]) for each in found]
    assert sorted(kinds, key=min) == [{0}, {1}, {2}]
    for each, (kind,) in zip(found, kinds, strict=True):
        assert len(each.peaks) == made.has[:, kind].sum()
        assert each.photos.tolist() == np.flatnonzero(made.has[:, kind]).tolist()
        assert each.sources == len(each.photos)


def test_the_kind_with_the_most_heat_is_first_and_has_number_one() -> None:
    made = three_kinds()
    found = find_evidence(made.rows, made.sources, seed=0)
    heat = defaultdict[int, float](float)
    for kind, value in zip(made.kind, made.rows.peaks.heat, strict=True):
        heat[int(kind)] += float(value)
    shares = sorted((value / sum(heat.values()) for value in heat.values()), reverse=True)
    assert [each.heat_share for each in found] == pytest.approx(shares)
    assert [each.name for each in found] == ["cat 1", "cat 2", "cat 3"]


def test_peaks_near_the_middle_of_a_kind_come_first() -> None:
    made = planted(np.repeat([[True, False], [False, True]], 40, 0), noise=0.3)
    for each in find_evidence(made.rows, made.sources, seed=0):
        features = made.rows.peaks.features[each.peaks]
        away = np.linalg.norm(features - features.mean(0), axis=1)
        assert away[:10].mean() < away[-10:].mean()


def test_the_order_of_the_rows_does_not_matter() -> None:
    made = three_kinds(noise=1.5)
    order = np.random.default_rng(5).permutation(len(made.rows))
    other = reordered(made.rows, order)
    first = find_evidence(made.rows, made.sources, seed=3)
    second = find_evidence(other, order, seed=3)
    assert [each.name for each in second] == [each.name for each in first]
    shares = [each.heat_share for each in first]
    assert [each.heat_share for each in second] == pytest.approx(shares)
    for a, b in zip(first, second, strict=True):
        assert photos_of(made.rows, a) == photos_of(other, b)


def test_each_class_has_its_own_evidence_and_small_classes_share_theirs() -> None:
    names = ["cat"] * 40 + ["dog"] * 30 + ["owl"] * 15 + ["emu"] * 14
    made = planted(np.arange(99)[:, None] % 2 == [0, 1], predicted=names)
    found = find_evidence(made.rows, made.sources, seed=0)
    assert [each.predicted for each in found] == ["cat"] * 2 + ["dog"] * 2 + [""] * 2
    assert found[-1].name == "small classes 2"
    for each in found:
        expected = {each.predicted} if each.predicted else {"owl", "emu"}
        assert set(made.rows.predicted[each.photos]) == expected


def test_kinds_in_few_photos_or_of_few_sources_are_dropped() -> None:
    has = np.zeros((60, 4), bool)
    for kind, (start, end) in enumerate([(0, 25), (25, 34), (34, 46), (46, 60)]):
        has[start:end, kind] = True
    made = planted(has)
    sources = made.sources.copy()
    sources[34:46] = np.arange(12) % 2 + 34  # twelve photos of two films
    found = find_evidence(made.rows, sources, seed=0)
    assert [set(made.kind[each.peaks]) for each in found] == [{0}, {3}]


def test_a_photo_has_evidence_only_with_half_of_its_highest_heat() -> None:
    made = planted(np.ones((40, 2), bool))
    heat = np.where((made.kind == 1) & (made.rows.peaks.photo < 20), 0.45, 1).astype(np.float32)
    rows = with_peaks(made.rows, heat=heat)
    by_kind = {
        int(made.kind[each.peaks[0]]): each for each in find_evidence(rows, made.sources, seed=0)
    }
    assert by_kind[0].photos.tolist() == list(range(40))
    assert by_kind[1].photos.tolist() == list(range(20, 40))
    assert len(by_kind[1].peaks) == 40


def test_maps_that_cannot_be_read_have_no_part() -> None:
    made = three_kinds(status=["ok"] * 45 + ["zero"] * 15)
    for each in find_evidence(made.rows, made.sources, seed=0):
        assert each.photos.max() < 45
        assert made.rows.peaks.photo[each.peaks].max() < 45


def test_features_that_are_no_numbers_are_left_out_and_infinite_ones_are_large() -> None:
    made = three_kinds()
    features = made.rows.peaks.features.copy()
    features[0] = np.nan
    features[1, 2] = np.inf
    found = find_evidence(with_peaks(made.rows, features=features), made.sources, seed=0)
    peaks = np.concatenate([each.peaks for each in found])
    assert 0 not in peaks
    assert found


def test_a_feature_that_never_varies_changes_nothing() -> None:
    made = three_kinds()
    constant = np.full((len(made.rows.peaks), 1), 7.1, np.float32)
    wider = with_peaks(made.rows, features=np.hstack([constant, made.rows.peaks.features]))
    plain, other = (find_evidence(rows, made.sources, seed=0) for rows in (made.rows, wider))
    assert [each.photos.tolist() for each in plain] == [each.photos.tolist() for each in other]


def test_peaks_that_are_all_alike_are_one_kind() -> None:
    made = planted(np.ones((30, 1), bool), noise=0)
    (only,) = find_evidence(made.rows, made.sources, seed=0)
    assert len(only.photos) == 30
    assert only.heat_share == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1, 9, 19])
def test_few_photos_have_no_evidence_or_that_of_all_classes(count: int) -> None:
    made = planted(np.ones((count, 1), bool).reshape(count, 1))
    found = find_evidence(made.rows, made.sources, seed=0)
    assert all(not each.predicted for each in found)


def test_photos_without_peaks_have_no_evidence() -> None:
    made = planted(np.zeros((40, 2), bool))
    assert find_evidence(made.rows, made.sources, seed=0) == []


def one_blob(wrong_side: bool) -> tuple[AuditRows, np.ndarray]:
    """Return a class whose peaks are one blob, longest along what the first features share."""
    random = np.random.default_rng(0)
    shared = random.standard_normal(200)
    features = random.standard_normal((200, 12))
    features[:, :3] = shared[:, None] + 0.3 * features[:, :3]
    right = (shared > 0) if wrong_side else np.ones(200)
    made = planted(np.ones((200, 1), bool), features=12, right=right)
    return with_peaks(made.rows, features=features.astype(np.float32)), made.sources


def test_parts_of_one_kind_are_named_as_alike() -> None:
    rows, sources = one_blob(wrong_side=False)
    found = find_evidence(rows, sources, seed=0)
    assert len(found) > 1
    names = {each.name for each in found}
    for each in found:
        assert set(each.alike) == names - {each.name}


def test_kinds_whose_photos_are_wrong_unlike_often_are_not_alike() -> None:
    rows, sources = one_blob(wrong_side=True)
    found = find_evidence(rows, sources, seed=0)
    shares = {each.name: rows.right[each.photos].mean() for each in found}
    assert max(shares.values()) - min(shares.values()) > 0.5
    for each in found:
        assert all(abs(shares[each.name] - shares[other]) < 0.5 for other in each.alike)


def test_planted_kinds_are_not_alike() -> None:
    made = three_kinds()
    assert all(not each.alike for each in find_evidence(made.rows, made.sources, seed=0))


def test_of_many_peaks_a_part_is_divided_and_the_others_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sklearn.cluster
    import sklearn.metrics

    sizes = []
    fit, judge = sklearn.cluster.KMeans.fit, sklearn.metrics.silhouette_score

    def fitted(self: Any, points: Any) -> Any:
        sizes.append(len(points))
        return fit(self, points)

    def judged(points: Any, labels: Any) -> Any:
        assert len(points) <= 1000
        return judge(points, labels)

    monkeypatch.setattr(sklearn.cluster.KMeans, "fit", fitted)
    monkeypatch.setattr(sklearn.metrics, "silhouette_score", judged)
    has = np.arange(10_000)[:, None] % 4 == np.arange(4)
    made = planted(has)
    found = find_evidence(made.rows, made.sources, seed=0)
    assert max(sizes) == 6000
    assert sorted(len(each.photos) for each in found) == [2500] * 4


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = three_kinds()
    hide_for_a_test(monkeypatch, "sklearn")
    with pytest.raises(MissingPackageError, match=r"pip install 'limelight\[audit\]'"):
        find_evidence(made.rows, made.sources, seed=0)
