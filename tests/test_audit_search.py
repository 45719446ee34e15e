from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.audits import GRID, audit_rows, gone, views
from helpers.planted_evidence import Planted, planted, reordered
from limelight import training
from limelight.audits.results import Audit, EvidenceCluster, Mark
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.audits.searches.conclusions import findings_of, perhaps_mislabelled, place_in_words
from limelight.audits.searches.search import UNSEEN, search
from limelight.metrics.intervals import Estimate


def cheating(count: int = 160, share: float = 0.3, **columns: Any) -> Planted:
    """Return a network's answers: all wrong ones have a cap, right ones a tool, and some a cap."""
    random = np.random.default_rng(2)
    wrong = random.random(count) < share
    cap = wrong | (random.random(count) < 0.2)
    given = {"right": (~wrong).astype(float), "label": np.where(wrong, "nurse", "doctor")}
    names = ["doctor"] * count
    return planted(np.stack([cap, ~wrong], 1), predicted=names, **(given | columns))


def audit(made: Planted, **options: Any) -> Audit:
    return search(made.rows, options.pop("total", len(made.rows)), {}, views(gone), **options)


def said(found: Audit) -> str:
    return " ".join(found.warnings)


# The search


def test_evidence_of_wrong_answers_is_the_first_finding() -> None:
    made = cheating()
    found = audit(made)
    first = found.findings[0]
    assert first.kind == "wrong"
    assert first.evidence is not None
    assert set(made.kind[first.evidence.peaks]) == {0}
    assert first.size == first.evidence.excess >= 0.05
    assert "add photos of 'doctor' without it and of 'nurse' with it" in first.advice
    assert "train away from it (limelight.training.inside on its evidence_masks)" in first.advice
    assert first.evidence.right_with is not None
    assert f"{first.evidence.right_with.value:.0%}" in first.sentence
    assert "(p < 0.001, over all evidence and classes)" in first.sentence


def test_the_advice_is_to_look_at_all_classes_and_away_from_the_evidence() -> None:
    advice = audit(cheating()).findings[0].advice
    assert "go through the evidence of all classes" in advice
    # `outside` takes masks of where to look, and would lead to the evidence.
    (loss,) = re.findall(r"limelight\.training\.(\w+)", advice)
    assert getattr(training, loss) is training.inside
    assert "evidence_masks" in advice
    assert callable(training.evidence_masks)


def test_maps_of_labels_do_not_accuse_answers_of_another_class() -> None:
    labels = cheating().rows.label
    made = cheating(explained=labels)  # where the answer is wrong, the map is of another class
    assert any(each.kind == "wrong" for each in audit(cheating()).findings)
    found = audit(made)
    assert not any(each.kind == "wrong" for each in found.findings)
    wrong = int((labels == "nurse").sum())
    assert f"The maps of {wrong} photos are of another class" in said(found)
    for each in found.evidence:
        assert (made.rows.explained[each.photos] == each.predicted).all()


def test_the_audit_holds_what_the_parts_found() -> None:
    made = cheating()
    found = audit(made, total=5000, seed=4)
    assert found.rows is made.rows
    assert (found.total, found.seed, found.sources) == (5000, 4, 160)
    assert [each.name for each in found.classes] == ["doctor"]
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx(made.rows.right.mean())
    assert found.statuses == {"ok": 160}
    assert found.unseen == UNSEEN
    assert "a sample of 160 was searched" in said(found)


def test_the_order_of_the_rows_does_not_matter() -> None:
    made = cheating()
    rows = reordered(made.rows, np.random.default_rng(1).permutation(160))
    first, second = audit(made), search(rows, 160, {}, views(gone))
    assert [each.sentence for each in first.findings] == [each.sentence for each in second.findings]


def test_too_few_wrong_answers_are_told_with_their_number() -> None:
    made = cheating(share=0.06)
    wrong = int((made.rows.right == 0).sum())
    assert 0 < wrong < 20
    found = audit(made)
    assert f"Too few wrong answers to test: {wrong} of 160 'doctor'" in said(found)
    assert not [each for each in found.findings if each.kind == "wrong"]
    assert [each.predicted for each in found.evidence] == ["doctor", "doctor"]


def test_answers_that_are_all_right_have_no_finding() -> None:
    found = audit(cheating(share=0.0))
    assert found.findings == ()
    assert "0 of 160 'doctor'" in said(found)


def test_without_labels_the_evidence_is_listed_and_nothing_is_tested() -> None:
    found = audit(cheating(right=[np.nan] * 160, label=[""] * 160))
    assert found.accuracy is None
    assert found.findings == ()
    assert len(found.evidence) == 2
    assert "No true classes are known" in said(found)
    assert "Too few wrong answers" not in said(found)


def test_photos_without_a_label_are_told_where_others_have_one() -> None:
    right = cheating().rows.right.copy()
    right[:30] = np.nan
    assert "Of 30 photos of 160 it is not known whether the answer is right" in said(
        audit(cheating(right=right))
    )
    assert "it is not known" not in said(audit(cheating()))


def test_related_photos_are_told() -> None:
    made = cheating(group=[f"film {number // 8}" for number in range(160)])
    found = audit(made)
    assert found.sources == 20
    assert "20 sources only" in said(found)


def test_classes_with_few_photos_are_told() -> None:
    names = ["doctor"] * 100 + [f"rare {number % 12}" for number in range(60)]
    found = audit(_with_predicted(cheating(), names))
    assert "12 classes were predicted for fewer than 20 photos each (38% of all)" in said(found)
    assert "(38% of all): 'rare 0', 'rare 1', 'rare 10', 'rare 11', 'rare 2' and 7 more." in said(
        found
    )
    found = audit(_with_predicted(cheating(), ["doctor"] * 150 + ["rare"] * 10))
    assert "1 class was predicted for fewer than 20 photos (6% of all): 'rare'." in said(found)


def _with_predicted(made: Planted, names: list[str]) -> Planted:
    named = np.array(names, dtype=object)
    return made._replace(rows=replace(made.rows, predicted=named, explained=named))


def test_maps_that_cannot_be_read_are_told() -> None:
    found = audit(cheating(status=["zero"] * 7 + ["ok"] * 153))
    assert "7 photos of 160 have no map that can be read" in said(found)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_few_photos_are_an_audit_too(count: int) -> None:
    found = audit(cheating(count))
    assert found.findings == ()
    assert f"With {count} photo{'' if count == 1 else 's'} only what most" in said(found)


def test_photos_that_are_gone_are_told() -> None:
    assert "could not be read again to compare pixels" in said(audit(cheating()))


# The findings


def evidence(name: str = "cat 1", **parts: Any) -> EvidenceCluster:
    numbers = np.arange(12)
    known: dict[str, Any] = {
        "right_with": Estimate(0.4, 0.2, 0.6, 12, 0, 12),
        "right_without": Estimate(0.9, 0.8, 1.0, 28, 0, 28),
        "centre": (0.1, 0.9),
    }
    return EvidenceCluster(name, "cat", numbers, numbers, 12, 0.5, **(known | parts))


def rows_at(cells: npt.NDArray[np.int64]) -> AuditRows:
    """Return forty photos of cats with one peak each; the first twelve at these cells `[12, 2]`."""
    random = np.random.default_rng(0)
    spots = random.integers(0, GRID, (40, 2))
    spots[:12] = cells
    peaks = Peaks(np.arange(40), spots[:, 0], spots[:, 1], np.ones(40), np.zeros((40, 2)))
    rows = audit_rows(40, predicted=["cat"] * 39 + ["dog"], right=[0.0] * 8 + [1.0] * 32)
    return replace(rows, peaks=peaks)


CORNER = np.array([[1, 12], [2, 12], [1, 11]] * 4)
SPREAD = np.random.default_rng(1).integers(0, GRID, (12, 2))
FRAME = np.array([[0, 3], [13, 4], [5, 0], [6, 13], [0, 9], [13, 11]] * 2)
BOTTOM = np.array([[13, column] for column in range(12)])

FAR: dict[str, Any] = {"place": 12.0, "border": -3.0}
AROUND: dict[str, Any] = {"place": -4.0, "border": 8.0}


@pytest.mark.parametrize(
    ("cells", "parts", "kinds"),
    [
        pytest.param(SPREAD, {"p": 0.01, "excess": 0.08}, ["wrong"], id="wrong"),
        pytest.param(SPREAD, {"p": 0.01, "excess": 0.04}, [], id="small excess"),
        pytest.param(SPREAD, {"p": 0.06, "excess": 0.2}, [], id="chance"),
        pytest.param(SPREAD, {}, [], id="not tested"),
        pytest.param(CORNER, FAR, ["place"], id="place"),
        pytest.param(CORNER, {"place": 6.5}, [], id="natural place"),
        pytest.param(SPREAD, FAR, [], id="place all over"),
        pytest.param(FRAME, AROUND, ["border"], id="border"),
        pytest.param(BOTTOM, AROUND | {"place": 6.0}, [], id="lower edge"),
        pytest.param(SPREAD, AROUND, [], id="near the border"),
        pytest.param(CORNER, FAR | {"p": 0.01, "excess": 0.1}, ["wrong"], id="wrong and place"),
    ],
)
def test_evidence_is_a_finding_where_a_test_and_its_size_say_so(
    cells: npt.NDArray[np.int64], parts: dict[str, Any], kinds: list[str]
) -> None:
    found = findings_of(rows_at(cells), [evidence(**parts)], ())
    assert [each.kind for each in found] == kinds


def test_the_sides_of_a_frame_are_one_finding_and_one_side_alone_is_none() -> None:
    rows = rows_at(np.array([[0, column] for column in range(1, 13)]))
    rows.peaks.row[12:24], rows.peaks.column[12:24] = 13, np.arange(1, 13)
    rows.peaks.row[24:36], rows.peaks.column[24:36] = 7, np.arange(1, 13)
    top = evidence(**(AROUND | {"place": 6.0}))
    bottom, middle = (
        replace(top, name=f"cat {number + 1}", peaks=np.arange(12 * number, 12 * number + 12))
        for number in (1, 2)
    )
    (found,) = findings_of(rows, [top, bottom, middle], ())
    assert (found.kind, found.title) == ("border", "cat 1, at the border")
    assert "together with those of cat 2, are closer to the border" in found.sentence
    assert findings_of(rows, [top, middle], ()) == []
    (first, second) = findings_of(rows, [replace(top, p=0.01, excess=0.1), bottom, middle], ())
    assert (first.kind, second.kind, second.title) == ("wrong", "border", "cat 2, at the border")
    assert "It keeps to the border (8.0 standard deviations)." in first.sentence


def test_findings_are_ranked_by_excess_then_by_place_then_by_use() -> None:
    small, large = ({"p": 0.01, "excess": excess} for excess in (0.06, 0.1))
    kinds = [
        evidence("cat 1", **FAR),
        evidence("cat 2", **small),
        evidence("cat 3", **large),
        evidence("cat 4", **(FAR | {"place": 20.0})),
    ]
    marks = [replace(mark(heat_t=0.0), label="dog"), mark(heat_t=9.0)]
    found = findings_of(rows_at(CORNER), kinds, marks)
    assert [each.evidence.name if each.evidence else "mark" for each in found] == [
        *("cat 3", "cat 2", "cat 4", "cat 1"),
        *("mark", "mark"),
    ]
    assert [each.mark for each in found[-2:]] == marks[::-1]
    assert [each.size for each in found] == [0.1, 0.06, 0, 0, 0, 0]


def mark(**parts: Any) -> Mark:
    pixels = np.zeros((80, 80), bool)
    pixels[4:12, 68:78] = True
    known: dict[str, Any] = {"lift": 1.3, "lift_without": 0.4, "heat_t": 9.0}
    return Mark("cat", pixels, (0.85, 0.05, 0.975, 0.15), 9.5, 0.01, photos=40, **(known | parts))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({}, "the network looks at it: ", id="looks"),
        pytest.param({"heat_t": 0.3, "lift": 0.4}, "nothing shows that the network", id="not"),
        pytest.param({"lift": np.nan, "heat_t": np.nan}, "is not known", id="no maps"),
    ],
)
def test_a_mark_is_told_apart_from_whether_the_network_looks_at_it(
    parts: dict[str, float], words: str
) -> None:
    (found,) = findings_of(rows_at(SPREAD), [], [mark(**parts)])
    assert found.kind == "mark"
    assert words in found.sentence
    assert "p = 0.01" in found.sentence
    assert "the top right" in found.title


def test_evidence_that_keeps_to_the_place_of_a_mark_says_that_the_network_looks_at_it() -> None:
    unseen = mark(heat_t=0.3)
    for there, words in ((FAR, "the network looks at it: "), ({}, "nothing shows")):
        *_, found = findings_of(rows_at(CORNER), [evidence(**there)], [unseen])
        assert words in found.sentence


def test_a_line_of_text_is_at_a_place_where_the_pixels_differ_too() -> None:
    rows = rows_at(np.array([[1, column] for column in range(7, 13)] * 2))
    text = evidence(place=9.0)
    there, dog = mark(heat_t=0.3), replace(mark(heat_t=0.3), label="dog")
    elsewhere = replace(there, pixels=there.pixels[::-1])
    found = findings_of(rows, [text], [there])
    assert [each.kind for each in found] == ["place", "mark"]
    assert "the network looks at it: " in found[1].sentence
    for marks in ([], [dog], [elsewhere]):
        assert [each.kind for each in findings_of(rows, [text], marks)] == ["mark"] * len(marks)
    natural = evidence(place=6.5)
    assert [each.kind for each in findings_of(rows, [natural], [there])] == ["mark"]


def test_a_mark_and_evidence_at_one_place_name_each_other() -> None:
    there, elsewhere = evidence(**FAR), evidence("cat 2", **(FAR | {"centre": (0.9, 0.1)}))
    place, other, pixels = findings_of(rows_at(CORNER), [there, elsewhere], [mark()])
    assert "The pixels of 'cat' differ there too" in place.sentence
    assert "differ there too" not in other.sentence
    assert "Evidence lies there: cat 1." in pixels.sentence


def test_the_labels_of_sure_answers_with_the_evidence_of_right_ones_may_be_wrong() -> None:
    rows = replace(rows_at(SPREAD), probability=np.linspace(0.5, 0.99, 40)[::-1].copy())
    good = replace(evidence("cat 1", excess=-0.1), peaks=np.arange(0, 30))
    bad = replace(evidence("cat 2", excess=0.1, p=0.01), peaks=np.arange(2, 5))
    expected = [
        number
        for number in range(8)  # the wrong answers
        if rows.probability[number] >= 0.9 and number not in (2, 3, 4)
    ]
    assert perhaps_mislabelled(rows, [good, bad], "cat").tolist() == expected
    (found,) = findings_of(rows, [good, bad], ())
    assert found.relabel.tolist() == expected
    assert f"Check the labels of {len(expected)} photos" in found.advice


@pytest.mark.parametrize(
    ("down", "across", "words"),
    [(0.1, 0.1, "top left"), (0.5, 0.5, "centre"), (1.0, 0.5, "bottom"), (0.5, 0.99, "right")],
)
def test_places_have_words(down: float, across: float, words: str) -> None:
    assert place_in_words(down, across) == words
