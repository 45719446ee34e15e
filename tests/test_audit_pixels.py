"""Marks in the pixels of a class: planted, absent, by chance, and whether they are heated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import convolve
from scipy.stats import ttest_ind

from helpers.audit_rows import made_rows
from limelight.audits.data.views import PhotoViews
from limelight.audits.results import Mark
from limelight.audits.rows.columns import AuditRows, Numbers
from limelight.audits.searches import pixels
from limelight.audits.searches.mark_heat import heat_at, looks_at
from limelight.audits.searches.pixels import fine_structure, search_marks
from limelight.errors import PhotoError
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo

Pixels = npt.NDArray[np.uint8]

SEEN = Preprocess(size=(80, 80), resize=80)


@pytest.fixture
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "PERMUTATIONS", 99)


def find_marks(rows: AuditRows, sources: Numbers, views: PhotoViews, *, seed: int) -> list[Mark]:
    return list(search_marks(rows, sources, views, seed=seed).marks)


def _photos(drawn: np.random.Generator, count: int) -> Pixels:
    """Draw photos `[N, 80, 80]` with coarse and fine structure of their own."""
    coarse = drawn.random((count, 5, 5)).repeat(16, 1).repeat(16, 2)
    return (60 + 80 * coarse + drawn.normal(0, 12, (count, 80, 80))).clip(0, 255).astype(np.uint8)


def _stamped(photos: Pixels, drawn: np.random.Generator, share: float = 0.7) -> Pixels:
    """Write two bars over the lower right corner of some photos, up to a pixel off."""
    stamped = photos.copy()
    for i in np.flatnonzero(drawn.random(len(photos)) < share):
        photo = stamped[i]
        y, x = np.array([60, 52]) + drawn.integers(-1, 2, 2)
        photo[y : y + 3, x : x + 20] = 230
        photo[y + 6 : y + 9, x : x + 20] = 230
    return stamped


def _views(photos: Pixels, unreadable: Sequence[int] = ()) -> PhotoViews:
    def load(photo: str, preprocess: Preprocess) -> Photo:
        number = int(photo.removeprefix("photo").removesuffix(".png"))
        if number in unreadable:
            raise PhotoError("It is gone.")
        return Image.fromarray(photos[number])

    return PhotoViews(SEEN, load)


def _rows(labels: Sequence[str], **columns: Any) -> AuditRows:
    return made_rows(len(labels), label=labels, explained=labels, predicted=labels, **columns)


def test_the_fine_structure_is_a_picture_less_the_mean_of_its_neighbours() -> None:
    drawn = np.random.default_rng(0)
    picture = drawn.integers(0, 256, (80, 80), dtype=np.uint8)
    grey = picture / 255
    mean = convolve(grey, np.full((9, 9), 1 / 81), mode="reflect")
    assert fine_structure(Image.fromarray(picture)) == pytest.approx(grey - mean, abs=1e-5)
    assert np.abs(fine_structure(Image.new("RGB", (30, 90), (9, 99, 199)))).max() < 1e-6


@pytest.mark.parametrize("classes", [2, 4])
def test_a_stamp_on_most_of_one_class_is_named_with_its_place(classes: int) -> None:
    drawn = np.random.default_rng(classes)
    count = 50 * classes
    labels = [f"class{i % classes}" for i in range(count)]
    photos = _photos(drawn, count)
    photos[1::classes] = _stamped(photos[1::classes], drawn)
    rows = _rows(labels)
    (mark,) = find_marks(rows, np.arange(count), _views(photos), seed=0)
    assert (mark.label, mark.photos) == ("class1", 50)
    assert mark.p == pytest.approx(1 / 401)
    # The mean of 9 x 9 neighbours carries the stamp up to four pixels on, and pixels that differ by
    # chance join it over a gap of up to four.
    left, top, right, bottom = 80 * np.array(mark.box)
    assert (left, right) == (pytest.approx(52, abs=9), pytest.approx(72, abs=9))
    assert (top, bottom) == (pytest.approx(60, abs=9), pytest.approx(69, abs=9))
    assert mark.pixels[60:69, 52:72].mean() > 0.3
    fine = np.stack([fine_structure(Image.fromarray(photo)) for photo in photos])
    own = np.arange(count) % classes == 1
    t, _ = ttest_ind(fine[own].astype(float), fine[~own].astype(float), equal_var=False)
    assert mark.strength == pytest.approx(np.abs(t)[mark.pixels].max(), rel=1e-3)


def test_a_mark_reaches_over_a_stamp_of_which_few_pixels_pass_the_limit() -> None:
    drawn = np.random.default_rng(4)
    photos, labels = _photos(drawn, 200), [f"class{i % 2}" for i in range(200)]
    for i in range(1, 200, 2):
        if drawn.random() < 0.7:  # four faint letters, up to two pixels off
            y, x = np.array([60, 30]) + drawn.integers(-2, 3, 2)
            for letter in range(x, x + 36, 9):
                spot = photos[i, y : y + 6, letter : letter + 4]
                spot[:] = spot + (230 - spot.astype(float)) * 0.3
    (mark,) = find_marks(_rows(labels), np.arange(200), _views(photos), seed=0)
    fine = np.stack([fine_structure(Image.fromarray(photo)) for photo in photos]).astype(float)
    t = np.abs(ttest_ind(fine[1::2], fine[::2], equal_var=False)[0])
    largest = []
    for _ in range(100):
        order = drawn.permutation(200)
        shuffled = ttest_ind(fine[order[1::2]], fine[order[::2]], equal_var=False)[0]
        largest.append(np.abs(shuffled).max())
    limit = np.quantile(largest, 0.95)
    assert t[mark.pixels].max() == pytest.approx(mark.strength, rel=1e-3)
    assert (
        t[mark.pixels].min() > 0.65 * limit
    )  # both limits are of permutations, and differ a little
    assert (t[mark.pixels] > limit).mean() < 0.7
    left, top, right, bottom = 80 * np.array(mark.box)
    assert right - left > 24  # of the 36
    assert 18 < left < right < 80
    assert 48 < top < bottom < 78


def test_chance_is_rarely_taken_for_a_mark(few_permutations: None) -> None:
    drawn, found = np.random.default_rng(11), 0
    for seed in range(40):
        photos = _stamped(_photos(drawn, 40), drawn, 0.3)  # a stamp that says nothing
        labels = ["cat", "dog"] * 20
        found += bool(find_marks(_rows(labels), np.arange(40), _views(photos), seed=seed))
    assert found <= 7  # at 5 %, 8 or more of 40 are found less than once in 1000 times


def test_related_photos_are_permuted_together(few_permutations: None) -> None:
    drawn = np.random.default_rng(3)
    alone = together = 0
    labels = np.repeat(["cat", "dog"], 60).tolist()
    for seed in range(6):
        scenes = drawn.normal(0, 25, (24, 80, 80)).repeat(5, 0)
        noise = drawn.normal(0, 12, scenes.shape)
        photos = (120 + scenes + noise).clip(0, 255).astype(np.uint8)
        views, rows = _views(photos), _rows(labels)
        alone += bool(find_marks(rows, np.arange(120), views, seed=seed))
        together += bool(find_marks(rows, np.arange(120) // 5, views, seed=seed))
    assert alone == 6
    assert together <= 2


def test_few_sources_of_a_class_are_not_tested() -> None:
    drawn = np.random.default_rng(3)
    photos = _photos(drawn, 80)
    photos[::2] = _stamped(photos[::2], drawn, 1)
    sources = np.where(np.arange(80) % 2, np.arange(80), np.arange(80) % 9)
    found = search_marks(_rows(["cat", "dog"] * 40), sources, _views(photos), seed=0)
    assert (found.classes, found.left_out) == (("dog",), 1)
    assert [mark.label for mark in found.marks] in ([], ["dog"])


def _maps_on(corner: npt.NDArray[np.bool_], drawn: np.random.Generator) -> Any:
    """Return maps that are hot in the middle, and some in the lower right corner as well."""
    maps = np.zeros((len(corner), 8, 8), np.float16)
    maps[:, 2:5, 2:5] = 0.5 + 0.5 * drawn.random((len(corner), 3, 3))
    maps[:, 5:8, 5:8] = 0.1 * drawn.random((len(corner), 3, 3))
    maps[corner, 6, 5:7] = 1
    return maps


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_a_network_that_looks_at_the_mark_is_told_from_one_that_does_not(share: float) -> None:
    drawn = np.random.default_rng(5)
    clean, labels = _photos(drawn, 120), ["cat", "dog"] * 60
    photos = clean.copy()
    photos[::2] = _stamped(photos[::2], drawn, share)
    stamped = (photos != clean).any((1, 2))
    nowhere = np.zeros(120, bool)
    for hot, looks in ((stamped, True), (nowhere, False)):
        rows = _rows(labels, maps=_maps_on(hot, drawn))
        (mark,) = find_marks(rows, np.arange(120), _views(photos), seed=0)
        assert mark.label == "cat"
        assert looks_at(mark) == looks
        assert (mark.lift > 1) == looks
        assert mark.lift_without < 1


def test_a_place_that_is_always_hot_is_not_taken_for_a_look_at_the_mark() -> None:
    drawn = np.random.default_rng(6)
    photos, labels = _photos(drawn, 120), ["cat", "dog"] * 60
    photos[::2] = _stamped(photos[::2], drawn)
    rows = _rows(labels, maps=_maps_on(np.arange(120) % 2 == 0, drawn))
    (mark,) = find_marks(rows, np.arange(120), _views(photos), seed=0)
    assert mark.lift > 1
    assert mark.lift_without > 1
    assert looks_at(mark) is False


def test_without_maps_it_cannot_be_told_whether_the_network_looks() -> None:
    drawn = np.random.default_rng(5)
    photos, labels = _photos(drawn, 100), ["cat", "dog"] * 50
    photos[::2] = _stamped(photos[::2], drawn)
    rows = _rows(labels, status=["flat"] * 100)
    (mark,) = find_marks(rows, np.arange(100), _views(photos), seed=0)
    assert np.isnan(mark.lift)
    assert looks_at(mark) is None


def test_the_lift_is_the_mean_heat_there_over_the_mean_heat() -> None:
    maps = np.zeros((3, 2, 4))
    maps[0, 0, 0], maps[1] = 0.5, 0.2  # the last has no heat
    here = np.zeros((80, 80), bool)
    here[:40, :20] = True
    assert heat_at(here, maps) == pytest.approx([8, 1, np.nan], nan_ok=True)
    assert heat_at(~here, maps) == pytest.approx([0, 1, np.nan], nan_ok=True)
    assert heat_at(np.ones((80, 80), bool), maps) == pytest.approx([1, 1, np.nan], nan_ok=True)


def test_rows_in_another_order_give_the_same_marks() -> None:
    drawn = np.random.default_rng(6)
    photos, labels = _photos(drawn, 80), ["cat", "dog"] * 40
    photos[1::2] = _stamped(photos[1::2], drawn)
    order = drawn.permutation(80)
    names = np.array([f"photo{i}.png" for i in order], dtype=object)
    digests = np.array([f"digest{i}" for i in order], dtype=object)
    (first,) = find_marks(_rows(labels), np.arange(80), _views(photos), seed=0)
    mixed = _rows([labels[i] for i in order], photo=names, digest=digests)
    (second,) = find_marks(mixed, order, _views(photos), seed=0)
    assert (first.label, first.box, first.p) == (second.label, second.box, second.p)
    assert first.strength == pytest.approx(second.strength, rel=1e-5)


def test_photos_that_cannot_be_read_are_left_out_and_counted() -> None:
    drawn = np.random.default_rng(7)
    photos, labels = _photos(drawn, 100), ["cat", "dog"] * 50
    photos[::2] = _stamped(photos[::2], drawn)
    rows = _rows(labels, error=[""] * 98 + ["cut off"] * 2)
    told = list[tuple[str, int, int]]()
    found = search_marks(
        rows,
        np.arange(100),
        _views(photos, unreadable=[0, 2, 5]),
        seed=0,
        progress=lambda *done: told.append(done),
    )
    assert (found.photos, found.unread) == (95, 3)
    assert [(mark.label, mark.photos) for mark in found.marks] == [("cat", 47)]
    assert told[-1] == ("comparing pixels", 98, 98)
    nothing = search_marks(rows, np.arange(100), _views(photos, range(100)), seed=0)
    assert (nothing.marks, nothing.photos, nothing.unread) == ((), 0, 98)


@pytest.mark.parametrize(
    "labels",
    [["cat"] * 60, ["cat", "dog"] * 9, [""] * 40, []],
    ids=["one class", "few photos", "no classes", "no photos"],
)
def test_without_two_classes_of_some_size_nothing_is_compared(labels: list[str]) -> None:
    photos = _stamped(_photos(np.random.default_rng(0), 60), np.random.default_rng(0), 1)
    found = search_marks(_rows(labels), np.arange(len(labels)), _views(photos), seed=0)
    assert found.marks == ()


def test_constant_pictures_have_no_marks() -> None:
    photos = np.full((60, 80, 80), 100, np.uint8)
    photos[::2] = 30
    assert find_marks(_rows(["cat", "dog"] * 30), np.arange(60), _views(photos), seed=0) == []


def test_a_mark_on_constant_pictures_is_found() -> None:
    photos = np.full((60, 80, 80), 100, np.uint8)
    photos[::2, 60:64, 60:70] = 200
    (mark,) = find_marks(_rows(["cat", "dog"] * 30), np.arange(60), _views(photos), seed=0)
    assert mark.label == "cat"
    assert np.isfinite(mark.strength)


def test_classes_are_predicted_ones_where_no_labels_are_known() -> None:
    drawn = np.random.default_rng(8)
    photos, names = _photos(drawn, 80), ["cat", "dog"] * 40
    photos[1::2] = _stamped(photos[1::2], drawn)
    (mark,) = find_marks(made_rows(80, predicted=names), np.arange(80), _views(photos), seed=0)
    assert mark.label == "dog"
    assert mark.lift == pytest.approx(1)


def test_of_many_classes_the_largest_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_PHOTOS", 150)
    monkeypatch.setattr(pixels, "PERMUTATIONS", 99)
    labels = [f"class{i}" for i in range(8) for _ in range(20 + 5 * i)]
    photos = _photos(np.random.default_rng(0), len(labels))
    found = search_marks(_rows(labels), np.arange(len(labels)), _views(photos), seed=0)
    assert found.classes == ("class5", "class6", "class7")
    assert (found.left_out, found.photos) == (5, 145)
