"""`limelight measure`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

import limelight
from helpers.commands import Runner, flat, folder, run, save_photo
from helpers.measure_commands import (
    BOXES,
    CLASSES,
    FILES,
    NET,
    QUICK,
    assert_same,
    counted,
    lines,
    net,
    noise,
    photos,
    table,
)
from helpers.tolerances import assert_agrees
from limelight.metrics.measurement import Measurement

__all__ = ["folder", "noise", "photos", "run"]  # fixtures


# What is printed and written


def test_measure_prints_tables_and_writes_files(run: Runner, folder: Path, noise: Path) -> None:
    code, out, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert (code, err) == (0, "")
    assert "insertion:steps=3 (higher is better" in out
    assert "increase (higher is better" in out
    assert "lead, 95 % interval" in out
    assert out.count("gradcam ") >= 2
    assert "Table, figure and readings are in out." in out
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    with Image.open(folder / "out" / "curves.png") as picture:
        assert picture.width > 600
    first, *rest = lines(folder)
    assert json.loads(first)["measured"]["methods"] == ["gradcam", "saliency"]
    assert [json.loads(one)["photo"] for one in rest] == [f"photos/{i}.png" for i in range(4)]


def test_the_figures_are_those_of_the_library(run: Runner, folder: Path, photos: Path) -> None:
    (folder / "boxes.csv").write_text(BOXES)
    metrics = "insertion:steps=3 energy-pointing pointing-game"
    words = ("--boxes", "boxes.csv", "--methods", "gradcam saliency", "--metrics", metrics)
    code, out, _ = run("measure", "photos", *NET, *words, "--out", "out", "--json")
    assert code == 0
    network, total = net(), Measurement()
    for number in range(4):
        photo = limelight.load_photo(photos / f"{number}.png")
        images = network.preprocess(photo)[None]
        # Of 36 x 24 pixels the middle 24: 0.6 of the photo's, 6 of them to the left.
        total += limelight.measure(
            network.model,
            images,
            limelight.compare(
                network.model, images, methods=["gradcam", "saliency"], classes=CLASSES
            ),
            metrics=metrics.split(),
            objects=[[[6, 6, 18, 18]]],
        )
    report = json.loads(out)
    saved = json.loads((folder / "out" / "table.json").read_text(), parse_constant=pytest.fail)
    assert_same(report["figures"], total.rows())
    assert_same(table(folder), total.rows())
    assert_same(saved["figures"], total.rows())
    assert_same(Measurement.load(folder / "out" / "table.json").rows(), total.rows())
    assert report["verdict"] == saved["verdict"] == total.verdict().sentence
    assert report["failed"] == []
    # A doctored figure would be seen.
    report["figures"][1]["high"] += 1e-12
    with pytest.raises(AssertionError):
        assert_same(report["figures"], total.rows())


def test_without_objects_the_quick_metrics_are_measured(
    run: Runner, folder: Path, photos: Path
) -> None:
    one = ("photos/0.png", *NET, "--methods", "gradcam", "--json")
    _, out, _ = run("measure", *one, "--out", "a")
    assert {row["metric"] for row in json.loads(out)["figures"]} == {
        *("insertion", "deletion", "road")
    }
    (folder / "boxes.csv").write_text(BOXES)
    _, out, _ = run("measure", *one, "--boxes", "boxes.csv", "--out", "b")
    assert {row["metric"] for row in json.loads(out)["figures"]} == {
        *("insertion", "deletion", "road", "energy-pointing", "pointing-game")
    }


def test_one_photo_has_no_interval_and_that_is_said(
    run: Runner, folder: Path, photos: Path
) -> None:
    code, out, _ = run("measure", "photos/0.png", *NET, *QUICK, "--out", "out")
    assert code == 0
    assert "[0." not in out
    assert "1 image is too few to earn trust on, which takes 8" in flat(out)
    assert "Measure a folder of photos." in flat(out)
    assert all(
        (row["n"], row["low"], row["beats_chance"]) == ("1", "nan", "") for row in table(folder)
    )
    code, out, _ = run("measure", "photos/0.png", *NET, *QUICK, "--out", "out", "--json")
    report = json.loads(out, parse_constant=pytest.fail)
    assert {row["low"] for row in report["figures"]} == {None}


@pytest.mark.parametrize("words", ["gradcam gradcam", "gradcam saliency gradcam"])
def test_a_method_named_twice_is_measured_once(
    run: Runner, folder: Path, photos: Path, words: str
) -> None:
    """Or one photo would count as two, and its intervals would be none."""
    metrics = ("--metrics", "insertion:steps=3 insertion:steps=3")
    run("measure", "photos/0.png", *NET, "--methods", words, *metrics, "--out", "out")
    assert {row["n"] for row in table(folder)} == {"1"}


def test_a_metric_twice_with_different_options_has_two_tables(
    run: Runner, folder: Path, photos: Path
) -> None:
    metrics = ("--metrics", "insertion insertion:steps=3")
    _, out, _ = run(
        "measure", "photos/0.png", *NET, "--methods", "gradcam", *metrics, "--out", "out"
    )
    assert [row["metric"] for row in table(folder)] == ["insertion", "insertion:steps=3"]
    # A row in each, not both in both.
    assert sum(line.split()[:1] == ["gradcam"] for line in out.splitlines()) == 2


def test_a_method_that_cannot_be_had_is_skipped_with_the_reason(
    run: Runner, folder: Path, photos: Path
) -> None:
    words = ("--methods", "gradcam rollout", "--metrics", "increase", "--out", "out")
    code, out, _ = run("measure", "photos", *NET, *words)
    assert code == 0
    assert "skipped rollout: The method needs attention" in out
    assert out.count("skipped rollout") == 1  # not once a photo
    assert {row["method"] for row in table(folder)} == {"gradcam"}


def test_worthless_maps_are_told(run: Runner, folder: Path, photos: Path) -> None:
    words = ("--methods", "gradcam", "--metrics", "increase deletion:steps=2", "--out", "out")
    code, out, _ = run("measure", "photos", "--model", "helpers.measure_commands:broken", *words)
    assert code == 0
    assert "worthless maps gradcam: 4 not-finite" in out
    assert {row["left_out"] for row in table(folder) if row["metric"] != "increase"} == {"4"}
    json.loads((folder / "out" / "table.json").read_text(), parse_constant=pytest.fail)
    code, out, _ = run(
        "measure", "photos", "--model", "helpers.measure_commands:broken", *words, "--json"
    )
    json.loads(out, parse_constant=pytest.fail)


def test_the_target_and_the_layer_are_the_users(run: Runner, folder: Path, photos: Path) -> None:
    words = ("--target", "dog", "--layer", "0", "--methods", "gradcam", "--metrics", "increase")
    assert run("measure", "photos", *NET, *words, "--out", "out")[0] == 0
    assert {row["layer"] for row in table(folder)} == {"0"}
    assert json.loads(lines(folder)[1])["readings"][0]["groups"] == ["dog"]


# What is wrong


@pytest.mark.parametrize(
    ("words", "says", "expected"),
    [
        (["--metrics", "insertoin"], "Did you mean 'insertion'", 2),
        (["--metrics", "insertion:stps=3"], "Did you mean 'steps'", 2),
        (["--metrics", "insertion:steps=0"], "an integer of at least 1 was expected", 2),
        (["--metrics", ""], "name at least one, or 'all'", 2),
        (["--methods", "gardcam"], "Did you mean 'gradcam'", 2),
        (["--methods", "rollout"], "skipped rollout: The method needs attention", 1),
        (
            ["--metrics", "pointing-game increase mass-accuracy"],
            "pointing-game, mass-accuracy need to be told where the objects are: pass --boxes or "
            "--masks.",
            2,
        ),
        (["--boxes", "none.csv"], "There is no file or folder 'none.csv' with annotations.", 2),
        (["--masks", "none"], "There is no file or folder 'none' with annotations.", 2),
        (["--masks", "boxes.csv"], "Masks are a folder; 'boxes.csv' is a file.", 2),
        (["--boxes", "columns.csv"], "'columns.csv' has no column x1;", 2),
        (["--boxes", "words.csv"], "could not convert string to float: 'left'", 2),
        (["--boxes", "boxes.csv", "--masks", "."], "give --boxes or --masks, not both", 2),
        (["--match", "match.csv"], "--match goes with --boxes or --masks", 2),
        (["--boxes", "boxes.csv", "--match", "none.csv"], "The matches cannot be read", 2),
        (["--boxes", ".", "--names", "none.txt"], "The names cannot be read", 2),
        (["--boxes", "boxes.csv", "--match", "match.csv"], "no class named 'wolf'", 2),
        (["--target", "wolf"], "no class named 'wolf'", 2),
        (["--target", "4"], "an index from 0 to 3 was expected", 2),
        (["--layer", "9"], "no layer named '9'", 2),
        (["--mask-value", "-1"], "--mask-value", 2),
        (["--chunk", "0"], "--chunk", 2),
        (["--model", "nowhere:net"], "Cannot import 'nowhere'", 2),
        (["--out", "boxes.csv/below"], "Cannot write", 2),
        (["void"], "holds no photo", 2),
        (["none.jpg"], "There is no file 'none.jpg'", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_sentence(
    run: Runner, folder: Path, photos: Path, words: list[str], says: str, expected: int
) -> None:
    (folder / "void").mkdir()
    (folder / "boxes.csv").write_text(BOXES)
    (folder / "columns.csv").write_text("photo,left,y1,x2,y2\n")
    (folder / "words.csv").write_text("photo,x1,y1,x2,y2\n0.png,left,1,2,3\n")
    (folder / "match.csv").write_text("c0,cat\nc1,wolf\n")
    given = ["photos", *words] if words[0].startswith("-") else words
    # Both may be given several times, and add up.
    plain = [("--methods", "gradcam"), ("--metrics", "increase")]
    rest = [word for pair in plain if pair[0] not in given for word in pair]
    code, out, err = run("measure", *NET, "--out", "out", *rest, *given)
    assert says in flat(out + err)
    assert code == expected
    assert "Traceback" not in out + err


def test_what_cannot_be_done_leaves_nothing_behind(run: Runner, folder: Path, photos: Path) -> None:
    for words in (["--model", "nowhere:net"], ["--target", "wolf"], ["--layer", "9"]):
        code, _, _ = run("measure", "photos", *NET, *QUICK, *words, "--out", "out")
        assert code == 2
        assert not list(folder.glob("out/*"))


def test_unknown_classes_in_matches_are_told_before_any_photo_is_measured(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "boxes.csv").write_text(BOXES)
    (folder / "match.csv").write_text("c0,cat\nc1,wolf\n")
    opened = counted(monkeypatch)
    words = ("--boxes", "boxes.csv", "--match", "match.csv", "--out", "out")
    code, _, err = run("measure", "photos", *NET, *QUICK, *words)
    assert code == 2
    assert "There is no class named 'wolf'" in err
    assert opened == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(run: Runner, folder: Path, photos: Path) -> None:
    (folder / "shut").mkdir(mode=0o555)
    code, _, err = run("measure", "photos", *NET, *QUICK, "--out", "shut")
    assert code == 2
    assert "Cannot write 'shut'" in err


@pytest.mark.parametrize("name", ["table.csv", "table.json", "curves.png", "readings.jsonl"])
def test_a_file_that_cannot_be_written_is_told(
    run: Runner, folder: Path, photos: Path, name: str
) -> None:
    (folder / "out" / name).mkdir(parents=True)
    code, out, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert code == 2
    assert f"Cannot write 'out/{name}'" in flat(err)
    assert "Traceback" not in out + err


def test_photos_that_cannot_be_measured_are_left_out_with_the_reason(
    run: Runner, folder: Path, photos: Path
) -> None:
    (folder / "boxes.csv").write_text(
        "photo,x1,y1,x2,y2\n0.png,20,10,40,30\n2.png,0,0,5,9\n3.png,20,10,40,30\n"
    )
    (photos / "x.jpg").write_bytes(b"broken as can be")
    words = ("--boxes", "boxes.csv", "--metrics", "energy-pointing", "--methods", "gradcam")
    code, out, err = run("measure", "photos", *NET, *words, "--out", "out")
    assert code == 1
    assert "left out Nothing is marked on 'photos/1.png'" in flat(err)
    assert "left out Nothing is marked on 'photos/2.png', in the part that the network sees." in (
        flat(err)
    )
    assert "left out 'photos/x.jpg' is not a picture that can be read" in flat(err)
    assert "3 of 5 photos were not measured." in flat(err)
    assert "energy-pointing (higher is better" in out
    assert {row["n"] for row in table(folder)} == {"2"}
    _, out, _ = run("measure", "photos", *NET, *words, "--out", "out", "--json")
    failed = json.loads(out)["failed"]
    assert [Path(one["photo"]).name for one in failed] == ["1.png", "2.png", "x.jpg"]


def test_all_reasons_are_in_json_and_some_are_printed(
    run: Runner, folder: Path, photos: Path
) -> None:
    for number in range(7):
        (photos / f"x{number}.jpg").write_bytes(b"broken")
    words = (*NET, "--methods", "gradcam", "--metrics", "increase", "--out", "out")
    code, _, err = run("measure", "photos", *words)
    assert code == 1
    assert err.count("left out") == 5
    assert "... and 2 more; --json lists them" in err
    assert "7 of 11 photos were not measured." in err
    assert len(json.loads(run("measure", "photos", *words, "--json")[1])["failed"]) == 7


def test_when_all_photos_are_left_out_nothing_is_drawn(
    run: Runner, folder: Path, photos: Path
) -> None:
    (folder / "masks").mkdir()
    for words in (["--masks", "masks"], ["--masks", "masks", "--json"]):
        code, out, _ = run("measure", "photos", *NET, *QUICK, *words, "--out", "out")
        assert code == 1
        assert not list((folder / "out").iterdir())
    report = json.loads(out)
    assert report["figures"] == []
    assert len(report["failed"]) == 4


# Objects


def test_masks_of_a_class_by_its_number(run: Runner, folder: Path, photos: Path) -> None:
    (folder / "masks").mkdir()
    for number in range(4):
        picture = Image.new("P", (60, 40))
        picture.putpalette([0] * 768)  # all colours are black: the numbers count
        picture.paste(7, (20, 10, 40, 30))
        picture.paste(8, (0, 0, 60, 5))
        picture.save(folder / "masks" / f"{number}_mask.png")
    (folder / "boxes.csv").write_text(BOXES)
    same = ("--methods", "gradcam", "--metrics", "energy-pointing mass-accuracy")
    run("measure", "photos", *NET, *same, "--boxes", "boxes.csv", "--out", "boxes")
    masks = ("--masks", "masks", "--mask-value")
    assert run("measure", "photos", *NET, *same, *masks, 7, "--out", "masks7")[0] == 0
    assert_same(table(folder, "masks7"), table(folder, "boxes"))
    assert run("measure", "photos", *NET, *same, *masks, 9, "--out", "masks9")[0] == 1
    # Another value is another question.
    code, _, err = run("measure", "photos", *NET, *same, *masks, 8, "--out", "masks7")
    assert code == 2
    assert "mask value was 7 and is 8" in flat(err)


def test_a_mask_of_other_proportions_leaves_its_photo_out(
    run: Runner, folder: Path, photos: Path
) -> None:
    (folder / "masks").mkdir()
    Image.new("L", (40, 40), 255).save(folder / "masks" / "0.png")
    Image.new("L", (30, 20), 255).save(folder / "masks" / "1.png")
    words = ("--masks", "masks", "--methods", "gradcam", "--metrics", "energy-pointing")
    code, _, err = run("measure", "photos/0.png", "photos/1.png", *NET, *words, "--out", "out")
    assert code == 1
    assert "left out 'photos/0.png': The mask is 40 x 40 pixels and its photo 60" in flat(err)
    assert {row["n"] for row in table(folder)} == {"1"}


def test_bad_labels_leave_their_photo_out(run: Runner, folder: Path, photos: Path) -> None:
    (folder / "labels").mkdir()
    for name, text in (("0", "0 .5 .5"), ("1", "2 .5 .5 .3 .3"), ("2", "0 .5 .5 .3 .3")):
        (folder / "labels" / f"{name}.txt").write_text(text)
    (folder / "names.txt").write_text("c0\nc1\n")
    words = ("--boxes", "labels", "--names", "names.txt", "--metrics", "energy-pointing")
    code, _, err = run("measure", "photos", *NET, "--methods", "gradcam", *words, "--out", "out")
    assert code == 1
    assert "left out Line 1 of 'labels/0.txt' cannot be read (2 numbers): '0 .5 .5'." in flat(err)
    assert "left out Line 1 of 'labels/1.txt'" in flat(err)
    assert {row["n"] for row in table(folder)} == {"1"}


def test_matched_classes_are_explained_one_by_one(run: Runner, folder: Path, photos: Path) -> None:
    (folder / "labels").mkdir()
    box, other = ".5 .5 .3 .3", ".35 .35 .1 .1"
    for name, text in (
        ("0", f"0 {box}\n1 {other}\n1 {box}"),
        ("1", f"1 {box}"),
        ("2", f"2 {box}"),
        ("3", f"0 {box}\n2 {other}"),
    ):
        (folder / "labels" / f"{name}.txt").write_text(text)
    (folder / "names.txt").write_text("cat\ninsect\nhouse\n")
    (folder / "match.csv").write_text("insect,ant,bee\ncat\n")
    words = ("--boxes", "labels", "--names", "names.txt", "--match", "match.csv")
    metrics = ("--methods", "gradcam", "--metrics", "energy-pointing pointing-game")
    code, out, err = run("measure", "photos", *NET, *words, *metrics, "--out", "out")
    assert code == 1
    assert (
        "left out Nothing is marked on 'photos/2.png', in the part that the network sees, of the "
        "classes that are matched." in flat(err)
    )
    groups = [json.loads(one)["readings"][0]["groups"] for one in lines(folder)[1:]]
    assert groups == [["cat", "insect"], ["insect"], ["cat"]]
    assert {row["n"] for row in table(folder)} == {"4"}
    assert "3 images are too few to earn trust on" in flat(out)
    # The same by hand: each class of a photo, with its objects alone.
    network, total = net(), Measurement()
    for photo, target, label, objects in (
        (0, "cat", "cat", [box]),
        (0, limelight.AnyOf(["ant", "bee"]), "insect", [other, box]),
        (1, limelight.AnyOf(["ant", "bee"]), "insect", [box]),
        (3, "cat", "cat", [box]),
    ):
        picture = limelight.load_photo(photos / f"{photo}.png")
        images = network.preprocess(picture)[None]
        total += limelight.measure(
            network.model,
            images,
            limelight.explain(network.model, images, target=target, classes=CLASSES),
            metrics=["energy-pointing", "pointing-game"],
            objects=[[in_the_crop(one) for one in objects]],
            groups=[label],
        )
    for row, wanted in zip(table(folder), total.rows(), strict=True):
        assert_agrees(float(row["value"]), wanted["value"])


def in_the_crop(line: str) -> list[float]:
    """Return a box of YOLO in pixels of what is seen: 24 of 36, 6 of them to the left."""
    x, y, w, h = (float(part) for part in line.split())
    return [(x - w / 2) * 36 - 6, (y - h / 2) * 24, (x + w / 2) * 36 - 6, (y + h / 2) * 24]


def test_upright_boxes_of_a_photo_that_was_turned(run: Runner, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(save_photo(folder / "upright.png", size=(40, 60))) as upright:
        upright.load()
        upright.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    (folder / "boxes.csv").write_text(
        "photo,x1,y1,x2,y2\nupright.png,0,0,20,30\nturned.png,0,0,20,30\n"
    )
    words = ("--boxes", "boxes.csv", "--methods", "gradcam", "--metrics", "energy-pointing")
    for name in ("upright", "turned"):
        assert run("measure", f"{name}.png", *NET, *words, "--out", name)[0] == 0
    assert_same(table(folder, "turned"), table(folder, "upright"))


def test_photos_of_one_name_in_two_folders_have_their_own_boxes(run: Runner, folder: Path) -> None:
    for number, name in enumerate(("one", "two")):
        save_photo(folder / "photos" / name / "a.png", number, (60, 40))
        save_photo(folder / "photos" / f"{name}.png", number, (60, 40))
    (folder / "apart.csv").write_text(
        "photo,x1,y1,x2,y2\none.png,20,10,30,20\ntwo.png,30,20,40,30\n"
    )
    (folder / "below.csv").write_text(
        "photo,x1,y1,x2,y2\none/a.png,20,10,30,20\ntwo/a.png,30,20,40,30\n"
    )
    same = (*NET, "--methods", "gradcam", "--metrics", "energy-pointing")
    apart = ("photos/one.png", "photos/two.png", "--boxes", "apart.csv", "--out", "apart")
    below = ("photos/one", "photos/two", "--boxes", "below.csv", "--out", "below")
    assert run("measure", *apart, *same)[0] == run("measure", *below, *same)[0] == 0
    assert_same(table(folder, "below"), table(folder, "apart"))


# Order, halves, repetition


def test_neither_order_nor_repetition_matters(run: Runner, folder: Path, photos: Path) -> None:
    names = [f"photos/{i}.png" for i in range(4)]
    run("measure", *names, *NET, *QUICK, "--out", "out")
    run("measure", *reversed(names), names[0], "./photos/1.png", *NET, *QUICK, "--out", "back")
    assert_same(table(folder, "back"), table(folder))
    assert len(lines(folder, "back")) == 5


def test_a_photo_that_is_also_named_in_full_counts_once(
    run: Runner, folder: Path, photos: Path
) -> None:
    run("measure", "photos/2.png", photos / "2.png", *NET, *QUICK, "--out", "out")
    assert {row["n"] for row in table(folder)} == {"1"}


def test_two_halves_added_are_the_whole(run: Runner, folder: Path, photos: Path) -> None:
    names = [f"photos/{i}.png" for i in range(4)]
    for out, some in (("out", names), ("a", names[:1]), ("b", names[1:])):
        run("measure", *some, *NET, *QUICK, "--out", out)
    whole, a, b = (Measurement.load(folder / one / "table.json") for one in ("out", "a", "b"))
    assert_same((a + b).rows(), whole.rows())
    assert_same((b + a).rows(), whole.rows())
    with pytest.raises(AssertionError):
        assert_same((a + a).rows(), whole.rows())
