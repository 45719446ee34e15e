"""Two audits of the same photos: pairs, paired differences, where the heat moved, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.audits import GRID, audit_of, audit_rows, cap_audit, evidence, gone, views, with_marks
from helpers.pages import read
from limelight.audits.pages.difference_page import difference_html, write_difference
from limelight.audits.pages.differing import (
    difference_as_dict,
    difference_of,
    difference_sentence,
)
from limelight.audits.results import Audit, Finding
from limelight.errors import OptionError
from limelight.plain import as_json


def spots(places: list[tuple[int, int]], side: int = GRID) -> np.ndarray:
    maps = np.zeros((len(places), side, side))
    for number, place in enumerate(places):
        maps[(number, *place)] = 1
    return maps


def looks(count: int) -> dict[str, Any]:
    """Return digests that differ."""
    return {"digest": [f"{number:032x}" for number in range(count)]}


def audit_at(place: tuple[int, int], right: list[float], **columns: Any) -> Audit:
    """Return an audit of a network that looks at one cell of every photo."""
    count = len(right)
    given: dict[str, Any] = {
        "photo": [f"{number}.jpg" for number in range(count)],
        "label": ["cat"] * count,
        "predicted": np.where(np.array(right) == 1, "cat", "dog"),
        "right": right,
        **looks(count),
    }
    return audit_of(audit_rows(count, spots([place] * count), **(given | columns)))


def with_finding(audit: Audit, predicted: str, title: str) -> Audit:
    """Return an audit with a finding: the evidence of all photos that are said to be of a class."""
    peaks = np.flatnonzero(audit.rows.predicted[audit.rows.peaks.photo] == predicted)
    kind = evidence(f"{predicted} 1", predicted, peaks.tolist(), audit.rows)
    found = Finding("wrong", title, "", "", 0.1, evidence=kind)
    return replace(audit, evidence=(kind,), findings=(*audit.findings, found))


def test_accuracy_differs_by_the_photos_that_only_one_is_right_on() -> None:
    right_a = [1.0] * 10 + [0.0] * 10
    right_b = [1.0] * 8 + [0.0] * 2 + [1.0] * 9 + [0.0]
    found = difference_of(audit_at((2, 2), right_a), audit_at((2, 2), right_b))
    assert len(found) == 20
    assert found.right is not None
    assert (found.right.a.value, found.right.b.value) == (0.5, 0.85)
    assert found.right.change.value == pytest.approx((9 - 2) / 20)
    assert found.right.change.low < 0.35 < found.right.change.high
    assert found.rows_a[found.only_right("B")].tolist() == list(range(10, 19))
    assert found.rows_a[found.only_right("A")].tolist() == [8, 9]


def test_related_photos_make_the_interval_wider() -> None:
    right_a, right_b = [0.0] * 40, [1.0, 0.0] * 20
    alone = difference_of(audit_at((2, 2), right_a), audit_at((2, 2), right_b)).right
    groups = {"group": [f"film {number // 2 % 5}" for number in range(40)]}
    in_films = difference_of(
        audit_at((2, 2), right_a, **groups),
        audit_at((2, 2), [1.0] * 20 + [0.0] * 20, **groups),
    ).right
    assert alone is not None
    assert in_films is not None
    assert alone.change.images == 40
    assert in_films.change.images == 5
    assert in_films.change.high - in_films.change.low > alone.change.high - alone.change.low


def test_photos_are_paired_by_path_and_else_by_content() -> None:
    a = audit_at((2, 2), [1.0] * 4, photo=["a/0", "a/1", "a/2", "a/3"], digest=list("wxyz"))
    b = audit_at((2, 2), [1.0] * 4, photo=["b/9", "a/1", "a/2", "b/7"], digest=list("zx!w"))
    found = difference_of(a, b)
    pairs = list(zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True))
    assert pairs == [(0, 3), (1, 1), (3, 0)]
    assert found.changed == 1  # a/2 has another content


def test_copies_are_paired_one_by_one() -> None:
    a = audit_at((2, 2), [1.0] * 3, photo=["a/0", "a/1", "a/2"], digest=["s", "s", "s"])
    b = audit_at((2, 2), [1.0] * 2, photo=["b/0", "b/1"], digest=["s", "s"])
    found = difference_of(a, b)
    assert found.rows_a.tolist() == [0, 1]
    assert found.rows_b.tolist() == [0, 1]


def test_the_heat_that_moved_is_half_the_sum_of_the_changes() -> None:
    a = audit_at((2, 2), [1.0] * 3)
    maps = spots([(2, 2), (9, 9), (9, 9)])
    maps[2, 2, 2] = 1  # half of the heat stayed
    b = replace(a, rows=replace(a.rows, maps=maps.astype(np.float16)))
    found = difference_of(a, b)
    assert found.moved.tolist() == [0, 1, 0.5]
    (cat,) = found.classes
    assert (cat.name, cat.photos, cat.moved.value) == ("cat", 3, 0.5)
    assert cat.a[2, 2] == pytest.approx(1)
    assert cat.b[9, 9] == pytest.approx(0.5)
    assert cat.b.sum() == pytest.approx(1)


def test_maps_of_different_grids_are_compared_on_the_finer_one() -> None:
    a = audit_at((2, 2), [1.0] * 2)
    coarse = audit_rows(
        2, np.ones((2, 7, 7)), photo=["0.jpg", "1.jpg"], predicted=["cat"] * 2, **looks(2)
    )
    found = difference_of(a, audit_of(coarse))
    assert found.classes[0].b == pytest.approx(np.full((GRID, GRID), 1 / GRID**2))
    assert found.moved == pytest.approx(1 - 1 / GRID**2)


def test_photos_without_a_map_have_not_moved() -> None:
    a = audit_at((2, 2), [1.0] * 3)
    maps = spots([(2, 2)] * 3)
    maps[1] = 0
    found = difference_of(a, replace(a, rows=replace(a.rows, maps=maps.astype(np.float16))))
    assert np.isnan(found.moved).tolist() == [False, True, False]
    assert found.classes[0].photos == 2


def test_energy_on_the_objects_is_compared_where_both_have_it() -> None:
    a = audit_at((2, 2), [1.0] * 4, energy_inside=[0.2, 0.4, nan, 0.3])
    b = audit_at((2, 2), [1.0] * 4, energy_inside=[0.5, 0.5, 0.9, nan])
    found = difference_of(a, b).energy
    assert found is not None
    assert found.change.n == 2
    assert found.change.value == pytest.approx(0.2)


def test_a_finding_at_the_same_places_is_the_same_and_elsewhere_it_is_another() -> None:
    right = [0.0] * 8
    a = with_finding(audit_at((2, 2), right), "dog", "a cap")
    same = with_finding(audit_at((3, 2), right), "dog", "a cap, too")
    other = with_finding(audit_at((11, 11), right), "dog", "a tool")
    ours, theirs = difference_of(a, same).findings
    assert (ours.of, ours.same, theirs.of, theirs.same) == ("A", 1, "B", 1)
    assert [each.same for each in difference_of(a, other).findings] == [None, None]
    of_cats = with_finding(audit_at((2, 2), [1.0] * 8), "cat", "a cap")
    assert [each.same for each in difference_of(a, of_cats).findings] == [None, None]


def test_the_heat_at_a_finding_is_that_around_its_peaks() -> None:
    a = with_finding(audit_at((2, 2), [0.0] * 4), "dog", "a cap")
    maps = spots([(9, 9)] * 4)
    maps[:, 3, 3] = 1  # beside the peak: one of the 3 x 3 cells
    maps[:, 2, 4] = 1  # two cells away
    maps[:, 12, 12] = 1
    b = replace(a, findings=(), rows=replace(a.rows, maps=maps.astype(np.float16)))
    (found,) = difference_of(a, b).findings
    assert found.heat is not None
    assert found.heat.a.value == pytest.approx(1)
    assert found.heat.b.value == pytest.approx(0.25)
    (backward,) = difference_of(b, a).findings
    assert backward.of == "B"
    assert backward.heat is not None
    assert (backward.heat.a.value, backward.heat.b.value) == pytest.approx((1, 0.25))


def test_marks_of_one_class_that_overlap_are_the_same() -> None:
    audit = with_marks(cap_audit(24))
    marks = [each for each in difference_of(audit, audit).findings if each.finding.mark]
    assert [each.same for each in marks] == [2, 2]
    mark = audit.findings[1].mark
    assert mark is not None
    away = replace(mark, box=(0.0, 0.8, 0.1, 0.9))
    moved = replace(audit, findings=(replace(audit.findings[1], mark=away),))
    last = difference_of(audit, moved).findings[-1]
    assert last.same is None


def test_audits_without_a_photo_in_common_are_refused() -> None:
    a = audit_at((2, 2), [1.0] * 2)
    b = audit_at((2, 2), [1.0] * 2, photo=["x", "y"], digest=["p", "q"])
    with pytest.raises(OptionError, match="no photo in common"):
        difference_of(a, b)
    changed = audit_at((2, 2), [1.0] * 2, digest=["p", "q"])
    with pytest.raises(OptionError, match="2 photos changed since"):
        difference_of(a, changed)


def test_audits_of_other_classes_are_refused() -> None:
    a = audit_at((2, 2), [1.0] * 2)
    b = audit_at((2, 2), [1.0] * 2, label=["oak"] * 2, predicted=["oak"] * 2)
    with pytest.raises(OptionError, match="no class in common: 'cat' and others, and 'oak'"):
        difference_of(a, b)


def test_photos_with_another_label_are_counted() -> None:
    a = audit_at((2, 2), [1.0] * 3)
    b = audit_at((2, 2), [1.0, 0.0, 1.0], label=["cat", "dog", ""])
    assert difference_of(a, b).relabelled == 1


def test_the_sentence_and_the_plain_values_have_the_figures() -> None:
    a = with_finding(audit_at((2, 2), [0.0] * 10 + [1.0] * 10), "dog", "a cap")
    b = audit_at((9, 9), [1.0] * 20)
    found = difference_of(a, b)
    told = difference_sentence(found)
    assert told.startswith(
        "B is right on 100% [83, 100] and A on 50% [27, 73] of the same 20 photos"
    )
    assert "+50 [" in told
    assert "100% of the heat moved" in told
    assert told.endswith("of A's 1 finding B has none, and it has none of its own.")
    plain = json.loads(as_json(difference_as_dict(found)))
    assert plain["right"]["change"]["value"] == 0.5
    assert plain["only_b_right"] == [f"{number}.jpg" for number in range(10)]
    assert plain["findings"][0]["heat"]["b"]["value"] == 0
    neither = difference_of(audit_at((2, 2), [1.0] * 3), audit_at((2, 2), [1.0] * 3))
    assert difference_sentence(neither).endswith("0% of the heat moved; neither has a finding.")


def test_without_labels_the_heat_is_compared() -> None:
    a = audit_at((2, 2), [nan] * 4, label=[""] * 4, predicted=["cat"] * 4)
    b = audit_at((9, 9), [nan] * 4, label=[""] * 4, predicted=["cat"] * 4)
    found = difference_of(a, b)
    assert found.right is None
    assert difference_sentence(found).startswith("No true classes are known for the same 4 photos")
    assert "Only B is right" not in read(difference_html(found, views())).seen


def test_the_page_shows_photos_side_by_side(tmp_path: Path) -> None:
    a = with_finding(audit_at((2, 2), [0.0] * 10 + [1.0] * 10), "dog", "a <b>cap</b>")
    b = audit_at((9, 9), [1.0] * 19 + [0.0])
    found = difference_of(a, b)
    path = write_difference(found, views(), tmp_path)
    page = read(path.read_text())
    assert path.name == "difference.html"
    assert difference_sentence(found) in page.one("h1").text
    counts = [
        [cell.text for cell in row.all("td")]
        for row in page.one("section", id="answers").one("tbody").all("tr")
    ]
    assert counts == [["9", "1"], ["10", "0"]]
    sides = list(page.all("div", "side-by-side"))
    assert len(sides) == 10 + 1 + 12
    first = list(sides[0].all("figure"))
    assert [each.attributes["class"] for each in first] == ["tile wrong", "tile right"]
    heats = [each.one("img", "heat").attributes["src"] for each in first]
    assert heats[0] != heats[1]
    (row,) = page.one("table", "findings").one("tbody").all("tr")
    assert "a <b>cap</b>" in row.seen
    assert "not found in B" in row.seen
    ours, theirs = (cell.text for cell in row.all("td", "n"))
    assert ours.startswith("100%")
    assert theirs.startswith("0%")
    assert not list(page.all("script"))


def test_the_page_of_photos_that_are_gone_says_so() -> None:
    found = difference_of(audit_at((2, 2), [0.0] * 3), audit_at((9, 9), [1.0] * 3))
    page = read(difference_html(found, views(gone)))
    assert len(list(page.all("span", "gone"))) == 2 * 6


def test_a_network_with_too_few_wrong_answers_is_not_acquitted() -> None:
    a = with_finding(audit_at((2, 2), [0.0] * 10 + [1.0] * 10), "dog", "a cap")
    b = audit_at((9, 9), [1.0] * 19 + [0.0])
    assert "too few wrong answers" not in difference_sentence(difference_of(a, b))
    untested = replace(b, classes=tuple(replace(each, tested=False) for each in b.classes))
    found = difference_of(a, untested)
    assert "(too few wrong answers of B to test)" in difference_sentence(found)
    page = read(difference_html(found, views()))
    assert "B has too few wrong answers to test" in page.one("section", "warnings").seen


def test_audits_are_told_apart_by_their_folders() -> None:
    a, b = (
        replace(audit_at((2, 2), [1.0] * 3), run={"folder": name, "model": "people"})
        for name in ("biased", "fair")
    )
    found = difference_of(a, b)
    first, second = read(difference_html(found, views())).all("dl", "facts")
    assert ("biased" in first.seen, "fair" in second.seen) == (True, True)
    plain = difference_as_dict(found)
    assert (plain["a"]["folder"], plain["b"]["folder"]) == ("biased", "fair")
