"""The lists of an audit: complete, and read again by what they are for."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers.audits import GRID, WHOLE, audit_of, audit_rows, cap_audit, evidence, with_marks
from limelight.audits.pages.lists import PHOTO_COLUMNS, hot_box, write_lists
from limelight.audits.results import Audit, Finding
from limelight.errors import OutputError
from limelight.photos.preprocess import Preprocess

AWFUL = 'a "quoted", name\nof two lines; =1+1 <script>&.jpg'


def table(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def tasks(audit: Audit, folder: Path, preprocess: Preprocess | None = WHOLE) -> list[Any]:
    write_lists(audit, folder, preprocess)
    text = (folder / "lists" / "label-studio.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


def test_all_lists_are_written(tmp_path: Path) -> None:
    written = write_lists(with_marks(cap_audit(24)), tmp_path, WHOLE)
    names = sorted(path.name for path in (tmp_path / "lists").iterdir())
    assert sorted(path.name for path in written) == names
    assert names == [
        *("errors.csv", "finding-1.txt", "finding-2.txt", "label-studio.json", "label-studio.xml"),
        *("photos.csv", "wrong.txt"),
    ]


def test_the_table_of_photos_equals_the_rows(tmp_path: Path) -> None:
    audit = with_marks(cap_audit(24))
    write_lists(audit, tmp_path)
    rows = table(tmp_path / "lists" / "photos.csv")
    assert list(rows[0]) == list(PHOTO_COLUMNS)
    for name in ("photo", "label", "predicted", "status"):
        assert [row[name] for row in rows] == getattr(audit.rows, name).tolist()
    assert [float(row["probability"]) for row in rows] == audit.rows.probability.tolist()
    assert [row["right"] for row in rows] == [str(int(each)) for each in audit.rows.right]
    assert {row["iou"] for row in rows} == {""}  # not known
    for each in audit.evidence:
        has = [k for k, row in enumerate(rows) if each.name in row["evidence"].split("; ")]
        assert has == each.photos.tolist()
    for case in audit.cases:
        name = f"{'right' if case.right else 'wrong'}, {case.relation}"
        assert tuple(k for k, row in enumerate(rows) if row["case"] == name) == case.photos


def test_lists_of_paths_have_one_photo_a_line(tmp_path: Path) -> None:
    audit = with_marks(cap_audit(24))
    write_lists(audit, tmp_path)
    photo, rows = audit.rows.photo, audit.rows
    expected = {
        "wrong.txt": photo[rows.right == 0],
        "finding-1.txt": photo[audit.evidence[0].photos],
        "finding-2.txt": photo[rows.label == "nurse"],  # a mark: the photos of its class
    }
    for name, paths in expected.items():
        assert (tmp_path / "lists" / name).read_text().splitlines() == paths.tolist()


def test_awful_names_are_read_back(tmp_path: Path) -> None:
    names = [AWFUL, "line\r\nend.jpg", "not\udcfftext.jpg"]
    rows = audit_rows(3, photo=names, label=["b"] * 3, predicted=["a"] * 3, right=[0.0] * 3)
    write_lists(audit_of(rows), tmp_path, WHOLE)
    read = [row["photo"] for row in table(tmp_path / "lists" / "photos.csv")]
    assert read == [*names[:2], r"not\udcfftext.jpg"]
    lines = (tmp_path / "lists" / "wrong.txt").read_text().splitlines()
    assert lines == [AWFUL.replace("\n", r"\n"), r"line\r\nend.jpg", r"not\udcfftext.jpg"]
    ElementTree.parse(tmp_path / "lists" / "label-studio.xml")


def test_errors_have_their_reasons(tmp_path: Path) -> None:
    rows = audit_rows(
        3,
        photo=["1.jpg", "2.jpg", "3.jpg"],
        status=["", "ok", "flat"],
        error=["truncated", "", ""],
        message=["", "", "the same everywhere"],
    )
    write_lists(audit_of(rows), tmp_path)
    assert table(tmp_path / "lists" / "errors.csv") == [
        {"photo": "1.jpg", "status": "", "message": "", "error": "truncated"},
        {"photo": "3.jpg", "status": "flat", "message": "the same everywhere", "error": ""},
    ]


def test_label_studio_gets_what_to_look_at_again_first_and_each_photo_once(tmp_path: Path) -> None:
    audit = cap_audit(24)
    found = tasks(audit, tmp_path)
    paths = [task["data"]["path"] for task in found]
    assert len(paths) == len(set(paths)) == int(audit.rows.wrong.sum()) == 12
    assert paths[0] == audit.rows.photo[audit.findings[0].relabel[0]]
    of_finding = {str(audit.rows.photo[each]) for each in audit.evidence[0].photos}
    assert set(paths[:6]) <= of_finding


def test_a_task_has_both_classes_and_the_hot_box(tmp_path: Path) -> None:
    maps = np.zeros((1, GRID, GRID))
    maps[0, 2:5, 7:9] = 1
    maps[0, 0, 0] = 0.4  # not hot
    rows = audit_rows(
        1,
        maps,
        photo=["/photos/a b.jpg"],
        label=["nurse"],
        predicted=["doctor"],
        right=[0.0],
        probability=[0.75],
        width=[400],
        height=[200],
    )
    kind = evidence("doctor 1", "doctor", [0], rows)
    (task,) = tasks(audit_of(rows, evidence=(kind,)), tmp_path)
    assert task["data"]["image"] == "/data/local-files/?d=photos/a%20b.jpg"
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.75
    given, said, box = prediction["result"]
    assert (given["type"], given["from_name"], given["value"]) == (
        *("choices", "label"),
        {"choices": ["nurse"]},
    )
    assert (said["from_name"], said["value"]) == ("predicted", {"choices": ["doctor"]})
    assert (box["type"], box["to_name"]) == ("rectanglelabels", "image")
    assert (box["original_width"], box["original_height"]) == (400, 200)
    value = box["value"]
    assert value["rectanglelabels"] == ["doctor 1"]
    sides = [value[name] for name in ("x", "y", "width", "height")]
    assert sides == pytest.approx([700 / 14, 200 / 14, 200 / 14, 300 / 14], abs=1e-3)
    view = ElementTree.parse(tmp_path / "lists" / "label-studio.xml").getroot()
    tools = {
        node.attrib["name"]: node.attrib.get("toName") for node in view if "name" in node.attrib
    }
    assert tools == {"image": None, "heat": "image", "label": "image", "predicted": "image"}
    labels = [node.attrib["value"] for node in view.iter("Label")]
    assert labels == ["doctor 1", "heat"]
    choices = [node.attrib["value"] for node in view.iter("Choice")]
    assert choices == ["doctor", "nurse"] * 2


def test_the_hot_box_lies_in_the_part_of_the_photo_that_the_network_saw() -> None:
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 3] = 1
    rows = audit_rows(1, maps, width=[400], height=[200])
    # The middle 200 x 200 pixels are seen; the hot cell is the last 50 across, the first 50 down.
    cut = Preprocess((100, 100), 100)
    assert hot_box(rows, 0, cut) == pytest.approx((250 / 400, 0, 300 / 400, 50 / 200))


def test_without_the_preprocessing_there_are_no_boxes(tmp_path: Path) -> None:
    found = tasks(cap_audit(8), tmp_path, None)
    kinds = {part["type"] for task in found for part in task["predictions"][0]["result"]}
    assert kinds == {"choices"}


def test_without_labels_the_photos_of_findings_are_tasks(tmp_path: Path) -> None:
    given = cap_audit(24)
    rows = replace(given.rows, right=np.full(24, nan), label=np.array([""] * 24, dtype=object))
    audit = audit_of(rows, evidence=given.evidence, findings=given.findings)
    paths = {task["data"]["path"] for task in tasks(audit, tmp_path)}
    assert paths == {str(rows.photo[each]) for each in (*given.evidence[0].photos, 1)}


def test_urls_stay_urls(tmp_path: Path) -> None:
    rows = audit_rows(1, photo=["s3://bucket/a b.jpg"], predicted=["a"], label=["b"], right=[0.0])
    (task,) = tasks(audit_of(rows), tmp_path)
    assert task["data"]["image"] == "s3://bucket/a b.jpg"


def test_lists_of_findings_that_are_no_more_are_removed(tmp_path: Path) -> None:
    audit = with_marks(cap_audit(24))
    write_lists(audit, tmp_path)
    (tmp_path / "lists" / "finding-mine.txt").write_text("kept")
    write_lists(replace(audit, findings=audit.findings[:1]), tmp_path)
    names = {path.name for path in (tmp_path / "lists").glob("finding-*")}
    assert names == {"finding-1.txt", "finding-mine.txt"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "lists").write_text("a file")
    with pytest.raises(OutputError, match="lists"):
        write_lists(cap_audit(4), tmp_path)


def test_many_photos_are_listed_quickly(tmp_path: Path) -> None:
    # Work that grows with the square of the photos would take minutes here.
    count = 6000
    rows = audit_rows(
        count,
        photo=[f"{k}.jpg" for k in range(count)],
        label=["b"] * count,
        predicted=["a"] * count,
        right=np.zeros(count),
    )
    kind = evidence("a 1", "a", range(count), rows)
    audit = audit_of(
        rows, evidence=(kind,), findings=(Finding("wrong", "a 1", "", "", 0.1, evidence=kind),)
    )
    assert len(tasks(audit, tmp_path)) == count
