"""What is known of the photos of an audit: labels, groups, objects, and which answers are right."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limelight.audits.data.truth import Truth
from limelight.errors import OptionError
from limelight.metrics.annotation_files import Annotations
from limelight.photos.memory import PhotoSize
from limelight.photos.preprocess import Preprocess

CLASSES = ("doctor", "nurse", "tabby, tabby cat")
SIZE = PhotoSize(60, 40)
#: Of a photo of 60 x 40 pixels, all of it, as it is.
WHOLE = Preprocess(size=(40, 60), resize=(40, 60), mean=(0.0,), std=(1.0,))


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(photos: Sequence[str], **known: Any) -> Truth:
    return Truth.read(photos, **{"classes": CLASSES, **known})


def labels_of(
    tmp_path: Path, photos: Sequence[str], lines: str, classes: Sequence[str] | None = CLASSES
) -> dict[str, str]:
    truth = read(
        photos, labels=written(tmp_path / "l.csv", f"photo,label\n{lines}"), classes=classes
    )
    return {photo: truth.of(photo).label for photo in photos}


# Which photo a line is of


def test_labels_are_found_by_path_by_name_and_by_the_name_without_its_suffix(
    tmp_path: Path,
) -> None:
    photos = ["data/x/1.jpg", "data/2.jpg", "data/3.jpg", "data/4.jpg", "s3://bucket/y/5.jpg"]
    lines = "data/x/1.jpg,doctor\n2.jpg,nurse\n3,doctor\ny/5.jpg,1\n"
    known = labels_of(tmp_path, photos, lines)
    assert list(known.values()) == ["doctor", "nurse", "doctor", "", "1"]


def test_where_names_are_shared_the_folders_decide(tmp_path: Path) -> None:
    photos = ["data/x/1.jpg", "data/y/1.jpg", "data/z/1.jpg"]
    known = labels_of(tmp_path, photos, "x/1.jpg,doctor\ny/1.jpg,nurse\nz/1.jpg,doctor\n")
    assert list(known.values()) == ["doctor", "nurse", "doctor"]


def test_a_line_of_a_folder_that_is_not_there_is_of_no_photo(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("photo,label\ntrain/1.jpg,dog\nval/2.jpg,cat\n3.jpg,pig\n")
    photos = ["data/val/1.jpg", "data/val/2.jpg", "data/val/3.jpg"]
    truth = Truth.read(photos, labels=file, classes=("cat", "dog", "pig"))
    assert [truth.of(photo).label for photo in photos] == ["", "cat", "pig"]


def test_a_line_of_one_folder_is_not_taken_by_another(tmp_path: Path) -> None:
    known = labels_of(tmp_path, ["data/x/1.jpg", "data/y/1.jpg"], "x/1.jpg,doctor\n")
    assert known == {"data/x/1.jpg": "doctor", "data/y/1.jpg": ""}


@pytest.mark.parametrize(
    ("photos", "lines", "message"),
    [
        (["x/1.jpg", "y/1.jpg"], "1.jpg,doctor", r"line '1.jpg' may be of 'x/1.jpg', 'y/1.jpg'"),
        (["1.jpg"], "x/1.jpg,doctor\ny/1.jpg,nurse", r"'1.jpg' may be 'x/1.jpg', 'y/1.jpg'"),
    ],
    ids=["one line, two photos", "two lines, one photo"],
)
def test_a_name_that_may_be_of_several_is_refused(
    tmp_path: Path, photos: list[str], lines: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        labels_of(tmp_path, photos, lines)
    assert "Write more of the paths" in str(caught.value)


def test_two_lines_that_agree_are_one(tmp_path: Path) -> None:
    known = labels_of(tmp_path, ["1.jpg"], "x/1.jpg,doctor\ny/1.jpg,doctor\n")
    assert known == {"1.jpg": "doctor"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,label\nb.jpg,doctor\n", r"names none of the 1 photos.*'b.jpg'.*'a.jpg'"),
        ("photo,class\na.jpg,doctor\n", r"no column label.*photo,label"),
        (
            "photo,label\na.jpg,doctor\na.jpg,nurse\n",
            r"line 3: 'a.jpg' is 'nurse'.*'doctor' before",
        ),
        ("", r"no column photo and no column label"),
        ("photo,label\n", r"names none.*no photo"),
    ],
    ids=["no photo of it", "no column", "two labels", "empty", "no line"],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read(["a.jpg"], labels=written(tmp_path / "l.csv", text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no file '.*none.csv' with labels.*'folders'"):
        read(["a.jpg"], labels=tmp_path / "none.csv")


# Labels and classes


def test_an_unknown_label_names_the_nearest_classes(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"1 of the labels.*1 photos: .*'docter'.*'doctor'"):
        labels_of(tmp_path, ["a.jpg"], "a.jpg,docter\n")
    with pytest.raises(OptionError, match="index from 0 to 2"):
        labels_of(tmp_path, ["a.jpg"], "a.jpg,3\n")


def test_without_names_of_classes_a_label_is_right_by_its_index_or_unknown(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ["a.jpg"], "a.jpg,docter\n", classes=None) == {"a.jpg": "docter"}
    truth = read([], classes=None)
    assert truth.is_right("docter", 0) is None
    assert truth.is_right("7", 7) is True
    assert truth.is_right("7", 6) is False


@pytest.mark.parametrize(
    ("label", "right"), [("Doctor", 0), ("1", 1), ("tabby cat", 2), ("tabby, tabby cat", 2)]
)
def test_labels_are_classes_by_name_or_index(label: str, right: int) -> None:
    answers = [read([]).is_right(label, predicted) for predicted in range(3)]
    assert answers == [predicted == right for predicted in range(3)]


def test_a_class_whose_name_is_a_number_is_meant_before_the_index() -> None:
    truth = read([], classes=("2", "1", "0"))
    assert truth.is_right("2", 0) is True


def test_a_photo_without_a_label_is_neither_right_nor_wrong() -> None:
    assert read(["a.jpg"]).is_right("", 0) is None


# Folders


def test_folders_are_labels_where_all_are_classes() -> None:
    photos = ["d/doctor/1.jpg", "d/nurse/1.jpg", "d/nurse/2.jpg"]
    truth = read(photos)
    assert [truth.of(photo).label for photo in photos] == ["doctor", "nurse", "nurse"]
    assert truth.labelled == 3
    assert read(["d/doctor/1.jpg", "d/other/1.jpg"]).labelled == 0
    assert read(["d/doctor/1.jpg", "d/doctor/2.jpg"]).labelled == 0


def test_folders_that_are_named_as_labels_must_be_classes() -> None:
    with pytest.raises(OptionError, match=r"labels in 'folders' are no classes.*'other'"):
        read(["d/doctor/1.jpg", "d/other/1.jpg"], labels="folders")
    with pytest.raises(OptionError, match="photos are in 1 of them"):
        read(["d/doctor/1.jpg"], labels="folders")


def test_photos_beside_the_folders_have_no_label() -> None:
    photos = ["d/doctor/1.jpg", "d/nurse/1.jpg", "d/1.jpg"]
    truth = read(photos)
    assert [truth.of(photo).label for photo in photos] == ["doctor", "nurse", ""]


def test_folders_of_other_names_are_the_classes_in_alphabetical_order() -> None:
    photos = [f"d/n0{number}/1.jpg" for number in (3, 1, 2)]
    truth = read(photos, labels="folders")
    assert [truth.is_right(truth.of(photo).label, 2) for photo in photos] == [True, False, False]


# Groups


def test_groups_are_read_beside_labels_from_one_file(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", "photo,label,group\na.jpg,doctor,p1\nb.jpg,,p2\n")
    truth = read(["a.jpg", "b.jpg", "c.jpg"], labels=table, groups=table)
    assert [tuple(truth.of(photo)) for photo in ("a.jpg", "b.jpg", "c.jpg")] == [
        ("doctor", "p1"),
        ("", "p2"),
        ("", ""),
    ]
    assert (truth.labelled, truth.grouped) == (1, 2)


# Objects and matches

MATCHES: Mapping[str, Sequence[str | int]] = {"person": ["doctor", 1], "cat": ["tabby cat"]}


def boxes(tmp_path: Path) -> Annotations:
    lines = "a.jpg,0,0,10,10,person\na.jpg,20,0,40,20,cat\na.jpg,50,30,60,40,chair\n"
    return Annotations(boxes=written(tmp_path / "boxes.csv", f"photo,x1,y1,x2,y2,class\n{lines}"))


def test_with_matches_an_answer_is_right_if_it_goes_with_a_marked_object(tmp_path: Path) -> None:
    truth = read(["d/a.jpg"], annotations=boxes(tmp_path), matches=MATCHES)
    marked = truth.objects("d/a.jpg", SIZE, WHOLE)
    assert set(marked) == {"person", "cat", "chair"}
    assert [truth.is_right("", index, marked) for index in range(3)] == [True] * 3
    assert [truth.is_right("", index, ["cat", "chair"]) for index in range(3)] == [
        False,
        False,
        True,
    ]
    assert truth.is_right("", 0, ["chair"]) is None
    assert truth.is_right("person", 1) is True


def test_only_objects_that_go_with_the_class_are_inside(tmp_path: Path) -> None:
    with_matches = read(["a.jpg"], annotations=boxes(tmp_path), matches=MATCHES)
    without = read(["a.jpg"], annotations=boxes(tmp_path))
    marked = with_matches.objects("a.jpg", SIZE, WHOLE)
    pixels = {"person": 100, "cat": 400, "chair": 100}

    def area(truth: Truth, objects: Mapping[str, Any], explained: int) -> int:
        inside = truth.inside(objects, explained)
        return 0 if inside is None else int(inside.mask.sum())

    assert area(with_matches, marked, 0) == pixels["person"]
    assert area(with_matches, marked, 2) == pixels["cat"]
    # The heat of a wrong answer is compared with what it should have looked at.
    no_cat = {name: each for name, each in marked.items() if name != "cat"}
    assert area(with_matches, no_cat, 2) == pixels["person"]
    assert area(with_matches, {"chair": marked["chair"]}, 2) == 0
    assert area(without, marked, 2) == sum(pixels.values())


def test_matches_must_be_classes() -> None:
    with pytest.raises(OptionError, match=r"matches do not fit.*'surgeon'"):
        read([], matches={"person": ["surgeon"]})


# COCO

COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "x/a.jpg", "width": 60, "height": 40}],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
}


def in_coco(tmp_path: Path, *annotations: Mapping[str, Any], **changes: Any) -> Path:
    entries = [{"image_id": 7, "category_id": 1, **each} for each in annotations]
    content = {**COCO, "annotations": entries, **changes}
    return written(tmp_path / "instances.json", json.dumps(content))


def test_boxes_of_coco_land_where_they_were_drawn(tmp_path: Path) -> None:
    file = in_coco(tmp_path, {"bbox": [10, 5, 20, 10]}, {"bbox": [0, 0, 4, 4], "category_id": 18})
    objects = Annotations(boxes=file).objects(Path("d/x/a.jpg"), SIZE, WHOLE)
    assert {name: each.boxes[0].tolist() for name, each in objects.items()} == {
        "person": [[10, 5, 30, 15]],
        "dog": [[0, 0, 4, 4]],
    }
    half = Annotations(boxes=file).objects(Path("d/x/a.jpg"), PhotoSize(30, 20), WHOLE)
    assert half["person"].boxes[0].tolist() == [[10, 5, 30, 15]]  # a copy at half the size


def test_polygons_of_coco_are_masks(tmp_path: Path) -> None:
    square, other = [10, 5, 30, 5, 30, 15, 10, 15], [0, 0, 4, 0, 4, 4, 0, 4]
    file = in_coco(tmp_path, {"segmentation": [square, other]})
    expected = torch.zeros(1, 40, 60, dtype=torch.bool)
    expected[0, 5:15, 10:30] = expected[0, 0:4, 0:4] = True
    objects = Annotations(masks=file).objects(Path("a.jpg"), SIZE, WHOLE)
    assert torch.equal(objects["person"].mask, expected)


def packed(counts: Sequence[int]) -> str:
    """Return runs as `rleToString` of pycocotools' maskApi.c writes them."""
    text = ""
    for number, count in enumerate(counts):
        x, more = count - (counts[number - 2] if number > 2 else 0), True
        while more:
            bits = x & 0x1F
            x >>= 5
            more = x != -1 if bits & 0x10 else x != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


@pytest.mark.parametrize("pack", [list, packed], ids=["numbers", "text"])
def test_runs_of_coco_are_masks(tmp_path: Path, pack: Any) -> None:
    mask = np.random.default_rng(0).random((40, 60)) < 0.3
    mask[:, 20:40] = False  # a long run
    mask[0, 0] = True
    flat = mask.T.ravel()  # down the columns
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, 0, *changes, flat.size]).tolist()  # it begins inside
    runs = {"size": [40, 60], "counts": pack(counts)}
    file = in_coco(tmp_path, {"segmentation": runs, "iscrowd": 1})
    objects = Annotations(masks=file).objects(Path("a.jpg"), SIZE, WHOLE)
    assert np.array_equal(objects["person"].mask[0].numpy(), mask)


@pytest.mark.parametrize(
    ("annotation", "masks", "message"),
    [
        ({"bbox": [1, 2, 3]}, False, "annotation 1: not enough values"),
        ({}, False, "annotation 1: 'bbox' is missing"),
        ({"bbox": [1, 2, 3, 4], "image_id": 8}, False, "annotation 1: 8 is missing"),
        ({"segmentation": [[1, 2, 3, 4]]}, True, "a polygon has 4 numbers"),
        ({"segmentation": {"size": [2, 2], "counts": [3]}}, True, "the runs have 3 pixels"),
    ],
    ids=["short box", "no box", "no image", "short polygon", "short runs"],
)
def test_what_is_not_coco_says_where_it_is_wrong(
    tmp_path: Path, annotation: Mapping[str, Any], masks: bool, message: str
) -> None:
    file = in_coco(tmp_path, annotation)
    with pytest.raises(OptionError, match=message):
        Annotations(masks=file) if masks else Annotations(boxes=file)
    with pytest.raises(OptionError, match="'images' is missing"):
        Annotations(boxes=written(tmp_path / "other.json", "{}"))


# Resuming


def test_the_fingerprint_changes_with_all_that_is_known(tmp_path: Path) -> None:
    photos = ["x/a.jpg", "y/b.jpg"]
    table = written(tmp_path / "t.csv", "photo,label,group\na.jpg,doctor,p1\nb.jpg,nurse,p2\n")
    other = written(tmp_path / "o.csv", "photo,label,group\na.jpg,doctor,p1\nb.jpg,doctor,p2\n")
    marked = boxes(tmp_path)
    truths = [
        read(photos),
        read(photos, labels=table),
        read(photos, labels=other),
        read(photos, groups=table),
        read(photos, annotations=marked),
        read(photos, annotations=marked, matches=MATCHES),
    ]
    before = [truth.fingerprint() for truth in truths]
    assert len(set(before)) == len(truths)
    assert read(photos, labels=table).fingerprint() == before[1]
    os.utime(tmp_path / "boxes.csv", (1, 1))
    assert truths[4].fingerprint() != before[4]


def test_a_truth_goes_to_another_process(tmp_path: Path) -> None:
    truth = read(["d/doctor/a.jpg", "d/nurse/b.jpg"], annotations=boxes(tmp_path))
    again = pickle.loads(pickle.dumps(truth))
    assert again.of("d/doctor/a.jpg").label == "doctor"
    assert again.is_right("doctor", 0) is True
    assert set(again.objects("d/doctor/a.jpg", SIZE, WHOLE)) == {"person", "cat", "chair"}
