"""Tables and regions of the commands, read again."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

import limelight
import limelight.cli.commands.explain as explain_command
from helpers.commands import Runner, flat, folder, full_after, run, save_photo
from helpers.measure_commands import BOXES, NET, QUICK, net, noise, photos
from helpers.region_cases import segmented
from limelight.explanation import Explanation
from limelight.photo_pipeline import PhotoResult, explain_photos

__all__ = ["folder", "noise", "photos", "run"]  # fixtures

EXPLAIN = ("explain", "photos", *NET, "--picture", "heatmap", "--out", "out")


def table(name: str = "t.csv") -> list[dict[str, str]]:
    with Path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_hand(path: str, target: int) -> Explanation:
    network = net()
    return limelight.explain(network, limelight.load_photo(path), target=target)


def test_a_row_for_each_photo_and_target(run: Runner, photos: Path) -> None:
    (photos / "2.png").write_text("no picture")
    code, out, _ = run(*EXPLAIN, "--target", "bee", "--target", "dog", "--table", "t.csv", "--json")
    assert code == 1
    report, rows = json.loads(out), table()
    assert [(Path(row["photo"]).name, row["image"], row["target"]) for row in rows] == [
        ("0.png", "0", "bee"),
        ("0.png", "0", "dog"),
        ("1.png", "1", "bee"),
        ("1.png", "1", "dog"),
        ("2.png", "2", ""),
        ("3.png", "3", "bee"),
        ("3.png", "3", "dog"),
    ]
    told = [each for photo in report["photos"] for each in photo["explanations"]]
    shown = [row for row in rows if not row["error"]]
    assert [float(row["score"]) for row in shown] == [each["score"] for each in told]
    (failed,) = (row for row in rows if row["error"])
    assert failed["error"] == report["failed"][0]["error"]
    assert failed["score"] == ""
    expected = by_hand(rows[2]["photo"], 1)
    assert float(rows[2]["score"]) == pytest.approx(float(expected.score[0]), rel=1e-5)
    ((heat, _),) = expected.photo_heatmaps()
    place = divmod(int(heat.argmax()), heat.shape[1])
    assert (int(rows[2]["max_y_photo"]), int(rows[2]["max_x_photo"])) == place
    probability = expected.output.softmax(1)[0, 1]
    assert float(rows[2]["probability"]) == pytest.approx(float(probability), rel=1e-5)


def test_parquet_holds_the_same(run: Runner, photos: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        assert run(*EXPLAIN, "--topk", 2, "--table", name)[0] == 0
    frame = pandas.read_parquet("t.parquet")
    assert len(frame) == 8
    assert frame["score"].tolist() == [float(row["score"]) for row in table()]
    assert frame["index"].tolist() == [int(row["index"]) for row in table()]


@pytest.mark.parametrize(("option", "value"), [("--boxes", "boxes.csv"), ("--masks", "masks")])
def test_the_share_of_heat_in_what_is_marked(
    run: Runner, photos: Path, option: str, value: str
) -> None:
    Path("boxes.csv").write_text(BOXES.replace("3.png", "other.png"))
    with Image.open(photos / "0.png") as file:
        width, height = file.size
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[10:30, 20:40] = 255
    for number in range(3):
        save_photo(Path("masks") / f"{number}.png")
        Image.fromarray(mask).save(Path("masks") / f"{number}.png")
    assert run(*EXPLAIN, option, value, "--table", "t.csv")[0] == 0
    *rows, unmarked = table()
    assert unmarked["share_in_objects"] == ""
    network = net()
    for row in rows:
        expected = by_hand(row["photo"], int(row["index"]))
        photo = limelight.load_photo(row["photo"])
        marked = network.preprocess.mask(photo, Image.fromarray(mask))
        heat = expected.heatmap[0].double()
        share = float((heat * marked).sum() / heat.sum())
        assert float(row["share_in_objects"]) == pytest.approx(share, abs=0.02)


def test_marks_that_cannot_be_read_are_an_error_of_the_row(run: Runner, photos: Path) -> None:
    Path("boxes").mkdir()
    Path("boxes/1.txt").write_text("cat 1 2 3 4\n")
    code, _, _ = run(*EXPLAIN, "--boxes", "boxes", "--table", "t.csv")
    assert code == 1
    rows = table()
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert "Line 1 of 'boxes/1.txt' cannot be read" in rows[1]["error"]
    assert rows[1]["score"]


def interrupted_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def each(network: Any, paths: list[Path], *args: Any, **options: Any) -> Iterator[PhotoResult]:
        yield from explain_photos(network, paths[:count], *args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(explain_command, "explain_photos", each)


def test_an_interrupted_run_writes_what_was_done(
    run: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(monkeypatch, 2)
    options = ("--batch", 1, "--table", "t.csv", "--regions", "r.json", "--json")
    code, out, _ = run(*EXPLAIN, *options)
    assert code == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert [Path(row["photo"]).name for row in table()] == ["0.png", "1.png"]
    names = [image["file_name"] for image in json.loads(Path("r.json").read_text())["images"]]
    assert names == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--table", "t.txt"), "Cannot write 't.txt': its suffix should be one of csv, parquet."),
        (("--table", "photos/0.png/t.csv"), "On the command line it is --table."),
        (("--regions", "photos/0.png"), "On the command line it is --regions."),
        (("--regions", "r.json", "--regions-format", "yolo"), "Pass a folder, or take the format"),
        (("--regions", "photos", "--regions-format", "masks"), "written over the photo"),
        (("--regions", "photos", "--regions-format", "pictures"), "written over the photo"),
        (("--regions", "r", "--how", "otsu", "--threshold", ".5"), "finds the threshold itself"),
        (("--regions", "r", "--threshold", "3"), "threshold is 3.0 and how is 'share'"),
        (("--how", "otsu"), "--largest go with --regions"),
        (("--boxes", "photos"), "--boxes and --masks go with --table"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_network_is_loaded(
    run: Runner, photos: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run("explain", "photos", "--model", "no.such:network", *options)
    assert code == 2
    assert message in flat(err)
    assert "no.such" not in err
    assert all(path.suffix == ".png" for path in photos.iterdir())


@pytest.mark.parametrize("command", ["compare", "measure", "choose"])
def test_other_commands_refuse_a_table_before_the_network_is_loaded(
    run: Runner, photos: Path, command: str
) -> None:
    code, _, err = run(command, "photos", "--model", "no.such:network", "--table", "t.txt")
    assert code == 2
    assert "Cannot write 't.txt': its suffix should be one of csv, parquet." in flat(err)


def test_a_table_that_can_no_longer_be_written_is_reported(
    run: Runner, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(monkeypatch, 4)
    code, out, _ = run(*EXPLAIN, "--table", "t.csv", "--json")
    assert code == 2
    (unwritten,) = json.loads(out)["unwritten"]
    assert unwritten["file"] == "t.csv"
    assert "No space left on device" in unwritten["error"]
    assert not Path("t.csv").exists()


def test_the_table_of_a_comparison(run: Runner, photos: Path) -> None:
    (photos / "1.png").write_text("no picture")
    options = ("--methods", "gradcam rollout", "--target", "bee", "--target", "dog")
    code, _, _ = run("compare", "photos", *NET, *options, "--out", "out", "--table", "t.csv")
    assert code == 1
    rows = table()
    assert [(Path(row["photo"]).stem, row["method"], row["target"]) for row in rows[:4]] == [
        ("0", "gradcam", "bee"),
        ("0", "gradcam", "dog"),
        ("0", "rollout", ""),
        ("1", "", ""),
    ]
    assert "attention" in rows[2]["error"]
    assert "is not a picture" in rows[3]["error"]
    assert rows[0]["photo_width"]


def test_the_table_of_a_measurement(run: Runner, photos: Path) -> None:
    (photos / "1.png").write_text("no picture")
    code, out, _ = run("measure", "photos", *NET, *QUICK, "--table", "t.csv", "--json")
    assert code == 1
    *figures, failed = table()
    report = json.loads(out)
    assert [float(row["value"]) for row in figures] == [row["value"] for row in report["figures"]]
    assert [row["method"] for row in figures] == [row["method"] for row in report["figures"]]
    assert (failed["photo"], failed["method"]) == ("photos/1.png", "")
    assert failed["error"] == report["failed"][0]["error"]


def test_a_coco_file_for_the_whole_run(run: Runner, photos: Path) -> None:
    (photos / "more").mkdir()
    save_photo(photos / "more" / "4.png", 4, (50, 70))
    options = ("--topk", 2, "--regions", "regions", "--threshold", ".4", "--min-area", 3)
    assert run(*EXPLAIN, *options)[0] == 0
    coco = json.loads(Path("regions/annotations.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [
        *(f"{number}.png" for number in range(4)),
        "more/4.png",
    ]
    names = {each["id"]: each["name"] for each in coco["categories"]}
    assert set(names.items()) <= {(1, "ant"), (2, "bee"), (3, "cat"), (4, "dog")}
    for image in coco["images"]:
        with Image.open(photos / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"])
        of_image = [each for each in coco["annotations"] if each["image_id"] == image["id"]]
        for category in {each["category_id"] for each in of_image}:
            expected = by_hand(str(photos / image["file_name"]), category - 1)
            (regions,) = expected.regions(0.4, min_area=3)
            masks = [
                segmented(each, image["height"], image["width"])
                for each in of_image
                if each["category_id"] == category
            ]
            assert len(masks) == len(regions)
            got = np.logical_or.reduce(masks)
            # The batch rounds otherwise than one photo alone.
            assert (got != regions.mask.numpy()).mean() < 0.01


@pytest.mark.parametrize("form", ["yolo", "yolo-polygons", "masks", "numbered-masks"])
def test_a_file_for_each_photo(run: Runner, photos: Path, form: str) -> None:
    (photos / "1.png").write_text("no picture")
    options = ("--regions", "r", "--regions-format", form, "--how", "quantile", "--threshold", ".9")
    assert run(*EXPLAIN, *options, "--largest")[0] == 1
    if "masks" in form:
        assert {path.name for path in Path("r").iterdir()} == {"0.png", "2.png", "3.png"}
        with Image.open("r/0.png") as mask:
            values = set(np.unique(np.asarray(mask)).tolist())
        assert values == ({0, 255} if form == "masks" else {0, 1})
        return
    assert Path("r/classes.txt").read_text().splitlines() == ["ant", "bee", "cat", "dog"]
    files = sorted(Path("r/labels").iterdir())
    assert [path.name for path in files] == ["0.txt", "2.txt", "3.txt"]
    for path in files:
        (line,) = path.read_text().splitlines()
        number, *shares = line.split()
        assert int(number) in range(4)
        assert (len(shares) == 4) == (form == "yolo")
        assert all(0 <= float(share) <= 1 for share in shares)


def test_masks_of_several_targets_have_files_of_their_own(run: Runner, photos: Path) -> None:
    options = ("--topk", 2, "--regions", "r", "--regions-format", "masks")
    assert run(*EXPLAIN, *options)[0] == 0
    names = sorted(path.name for path in Path("r").iterdir())
    assert names == sorted(f"{number}-{rank}.png" for number in range(4) for rank in (1, 2))


def test_a_mask_is_not_written_over_a_photo_of_its_name(run: Runner, photos: Path) -> None:
    before = save_photo(photos / "0-1.png", 9).read_bytes()
    options = ("--topk", 2, "--regions", "photos", "--regions-format", "masks")
    (photos / "0.png").rename(photos / "0.bmp")
    for number in (1, 2, 3):
        (photos / f"{number}.png").unlink()
    code, _, _ = run("explain", "photos/0.bmp", "photos/0-1.png", *NET, *options, "--out", "out")
    assert code == 2
    assert (photos / "0-1.png").read_bytes() == before


def test_no_picture_is_kept_for_the_table(run: Runner, photos: Path) -> None:
    for number in range(12):
        save_photo(photos / f"{number}.png", number, (36, 24))
    options = ("--table", "t.csv", "--regions", "r.json", "--batch", 2)
    counts = list[int]()

    def each(*args: Any, **options: Any) -> Iterator[PhotoResult]:
        for result in explain_photos(*args, **options):
            yield result
            del result
            gc.collect()
            counts.append(sum(type(thing) is Explanation for thing in gc.get_objects()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_command, "explain_photos", each)
        assert run(*EXPLAIN, *options)[0] == 0
    assert len(table()) == 12
    assert max(counts) - counts[0] < 6  # two batches, and what is drawn
