"""`limelight measure`, `sanity`, `metrics` and `compare --measure`, run as a user runs them."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import limelight
import limelight.cli.compare
import limelight.cli.measure
from limelight.errors import OutputError
from limelight.lock import only_run
from limelight.metrics import METRICS
from limelight.metrics import journal as measuring
from limelight.metrics.journal import MeasureSpec, PhotoMeasured, measure_photos
from limelight.metrics.measurement import Measurement
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess
from limelight.pipeline import explain_many
from test_cli import Runner, folder, run, save_photo
from tolerances import assert_agrees

__all__ = ["folder", "run"]  # fixtures

CLASSES = ("ant", "bee", "cat", "dog")
FILES = {"curves.png", "readings.jsonl", "table.csv", "table.json"}
QUICK = ("--methods", "gradcam saliency", "--metrics", "insertion:steps=3 increase")
NET = ("--model", "test_cli_measure:net")
#: Around the middle of each photo.
BOXES = "photo,x1,y1,x2,y2,class\n" + "".join(f"{i}.png,20,10,40,30,c{i % 2}\n" for i in range(4))


def net() -> Network:
    """A small network whose probabilities differ, for photos of 36 x 24 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )
        with torch.no_grad():
            model[6].get_parameter("weight").mul_(20)
    return Network("net", model, Preprocess(size=(24, 24), resize=24), CLASSES)


def broken() -> Network:
    """A network that answers with NaN."""
    network = net()
    with torch.no_grad():
        network.model.get_parameter("6.weight").fill_(math.nan)
    return network


@pytest.fixture
def noise(folder: Path) -> Path:
    """Four photos, of noise."""
    for seed in range(4):
        save_photo(folder / "photos" / f"{seed}.png", seed, (60, 40))
    return folder / "photos"


@pytest.fixture
def photos(noise: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where curves.png is of no interest: drawing it takes longer than all the rest."""
    monkeypatch.setattr(Measurement, "plot", lambda _self: Figure(figsize=(1, 1)))
    return noise


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def table(folder: Path, name: str = "out") -> list[dict[str, str]]:
    with (folder / name / "table.csv").open() as file:
        return list(csv.DictReader(file))


def lines(folder: Path, name: str = "out") -> list[str]:
    return (folder / name / "readings.jsonl").read_text().splitlines()


def told(value: float | str | None) -> float | None:
    """Return a figure of a table; None where there is none."""
    number = float("nan" if value is None else value)
    return None if math.isnan(number) else number


def assert_same(ours: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> None:
    """Compare rows of figures, of CSV, of JSON or of the library."""
    assert len(ours) == len(others) > 0
    words = ("method", "layer", "metric", "part", "better")
    for own, other in zip(ours, others, strict=True):
        assert [own[name] for name in words] == [other[name] for name in words]
        for name in ("value", "low", "high", "random_value", "centre_high", "n", "left_out"):
            assert told(own[name]) == told(other[name]), name


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each photo is added that is opened to be measured."""
    opened = list[str]()

    def counting(path: str | Path) -> Image.Image:
        opened.append(Path(path).name)
        return limelight.load_photo(path)

    monkeypatch.setattr(measuring, "load_photo", counting)
    return opened


def broken_off_after(count: int) -> Callable[..., Iterator[PhotoMeasured]]:
    """Return `measure_photos`, interrupted by the user in the middle of a later photo."""

    def stopping(*args: Any, **options: Any) -> Iterator[PhotoMeasured]:
        for number, one in enumerate(measure_photos(*args, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield one

    return stopping


# What is printed and written


def test_measure_prints_tables_and_writes_files(run: Runner, folder: Path, noise: Path) -> None:
    code, out, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert (code, err) == (0, "")
    assert "insertion:steps=3 (higher is better" in out
    assert "increase (higher is better" in out
    assert "mean, 95 % interval" in out
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
    assert "On one image nothing has an interval, so nothing earned trust yet" in flat(out)
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
    code, out, _ = run("measure", "photos", "--model", "test_cli_measure:broken", *words)
    assert code == 0
    assert "worthless maps gradcam: 4 not-finite" in out
    assert {row["left_out"] for row in table(folder) if row["metric"] != "increase"} == {"4"}
    json.loads((folder / "out" / "table.json").read_text(), parse_constant=pytest.fail)
    code, out, _ = run("measure", "photos", "--model", "test_cli_measure:broken", *words, "--json")
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


# Going on


def test_the_same_again_measures_nothing(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("measure", "photos", *NET, *QUICK, "--out", "out")
    before = {name: (folder / "out" / name).read_bytes() for name in FILES - {"curves.png"}}
    opened = counted(monkeypatch)
    code, out, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert (code, err, opened) == (0, "", [])
    assert "4 of 4 photos were measured before." in out
    assert "insertion:steps=3 (higher is better" in out
    assert {name: (folder / "out" / name).read_bytes() for name in before} == before
    # The figures are of the photos asked for, though more are known.
    code, out, _ = run("measure", "photos/1.png", *NET, *QUICK, "--out", "out", "--json")
    assert {row["n"] for row in json.loads(out)["figures"]} == {1}
    assert len(lines(folder)) == 5


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_run_that_was_broken_off_goes_on_and_ends_the_same(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    run("measure", "photos", *NET, *QUICK, "--out", "whole")
    monkeypatch.setattr(limelight.cli.measure, "measure_photos", broken_off_after(done))
    code, out, _ = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert code == 130
    assert "Interrupted: the same command again goes on from here." in flat(out)
    assert {path.name for path in (folder / "out").iterdir()} == (FILES if done else set())
    if done:
        assert len(lines(folder)) == 1 + done
        assert {row["n"] for row in table(folder)} == {str(done)}
    monkeypatch.setattr(limelight.cli.measure, "measure_photos", measure_photos)
    opened = counted(monkeypatch)
    code, out, _ = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert code == 0
    assert opened == [f"{i}.png" for i in range(done, 4)]
    for name in FILES - {"curves.png"}:
        ours, theirs = (folder / one / name for one in ("out", "whole"))
        assert ours.read_text() == theirs.read_text()


def test_interrupted_json_is_still_json(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limelight.cli.measure, "measure_photos", broken_off_after(2))
    code, out, _ = run("measure", "photos", *NET, *QUICK, "--out", "out", "--json")
    assert code == 130
    assert {row["n"] for row in json.loads(out)["figures"]} == {2}


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_last_line_cut_short_is_measured_again(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    run("measure", "photos", *NET, *QUICK, "--out", "whole")
    shutil.copytree(folder / "whole", folder / "out")
    journal = folder / "out" / "readings.jsonl"
    journal.write_bytes(journal.read_bytes()[: -1 - cut])
    opened = counted(monkeypatch)
    code, _, _ = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert (code, opened) == (0, ["3.png"])
    assert lines(folder) == lines(folder, "whole")
    assert_same(table(folder), table(folder, "whole"))


def test_a_last_line_that_only_lacks_its_end_is_kept(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("measure", "photos", *NET, *QUICK, "--out", "out")
    journal, before = folder / "out" / "readings.jsonl", lines(folder)
    journal.write_bytes(journal.read_bytes()[:-1])
    opened = counted(monkeypatch)
    run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert opened == []
    assert lines(folder) == before


@pytest.mark.parametrize("line", ["", "{", "{}", "3", '{"photo": "photos/1.png"}'])
def test_a_damaged_line_is_measured_again(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    run("measure", "photos", *NET, *QUICK, "--out", "out")
    before, kept = table(folder), lines(folder)
    kept[2] = line
    (folder / "out" / "readings.jsonl").write_text("\n".join(kept) + "\n")
    opened = counted(monkeypatch)
    code, _, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert (code, err) == (0, "")
    assert opened == ["1.png"]
    assert_same(table(folder), before)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (["--methods", "gradcam"], "methods was ['gradcam', 'saliency'] and is ['gradcam']"),
        (["--metrics", "increase"], "metrics was ['insertion:steps=3', 'increase'] and is"),
        (["--target", "cat"], "target was None and is 'cat'"),
        (["--layer", "0"], "layer was None and is '0'"),
        (["--size", "20"], "input was [None, None, None, 'float32'] and is [20,"),
        (["--dtype", "float64"], "input was"),
        (["--model", "test_cli_measure:broken"], "model was 'test_cli_measure:net' and is"),
        (["--weights", "none"], "weights was 'default' and is 'none'"),
        (["--boxes", "boxes.csv"], "boxes was '' and is 'boxes.csv'"),
        (["--masks", "masks"], "masks was '' and is 'masks'"),
        (["--boxes", "boxes.csv", "--match", "match.csv"], "match was {} and is {'c0': ['cat']}"),
        (["--target", "cat", "--layer", "0"], "target was None and is 'cat'; layer was None"),
        (["--classes", "names.txt"], "classes was "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_settings_are_refused_and_nothing_is_lost(
    run: Runner, folder: Path, photos: Path, other: list[str], says: str
) -> None:
    (folder / "boxes.csv").write_text(BOXES)
    (folder / "match.csv").write_text("c0,cat\n")
    (folder / "names.txt").write_text("wasp\nfly\nlynx\nwolf\n")
    (folder / "masks").mkdir()
    run("measure", "photos/0.png", *NET, *QUICK, "--out", "out")
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    rest = list(QUICK)
    for name in ("--methods", "--metrics"):  # which may be given several times, and add up
        if name in other:
            del rest[rest.index(name) : rest.index(name) + 2]
    code, _, err = run("measure", "photos", *NET, *rest, *other, "--out", "out")
    assert code == 2
    assert "keeps what was measured with other settings" in flat(err)
    assert says in flat(err)
    assert "Delete it, or pass another folder. On the command line it is --out." in flat(err)
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_other_names_of_classes_are_another_question(
    run: Runner, folder: Path, photos: Path
) -> None:
    (folder / "labels").mkdir()
    for number in range(4):
        (folder / "labels" / f"{number}.txt").write_text(f"{number % 2} .5 .5 .3 .3")
    (folder / "one.txt").write_text("cat\ndog\n")
    (folder / "two.txt").write_text("dog\ncat\n")
    (folder / "match.csv").write_text("cat\ndog\n")
    words = ("--boxes", "labels", "--match", "match.csv", "--out", "out", "--names")
    assert run("measure", "photos", *NET, *QUICK, *words, "one.txt")[0] == 0
    assert run("measure", "photos", *NET, *QUICK, *words, "two.txt")[0] == 2


def test_boxes_that_changed_are_not_measured_before(
    run: Runner, folder: Path, photos: Path
) -> None:
    words = ("--methods", "gradcam", "--metrics", "energy-pointing", "--boxes", "boxes.csv")
    (folder / "boxes.csv").write_text(BOXES)
    run("measure", "photos", *NET, *words, "--out", "out")
    (folder / "boxes.csv").write_text(BOXES.replace("20,10,40,30", "20,10,22,12"))
    code, _, _ = run("measure", "photos", *NET, *words, "--out", "out")
    run("measure", "photos", *NET, *words, "--out", "new")
    # Refused or measured again, but never the figures of the boxes that were.
    assert code == 2 or table(folder) == table(folder, "new")


def test_a_folder_where_nothing_was_measured_takes_any_question(
    run: Runner, folder: Path, photos: Path
) -> None:
    (folder / "masks").mkdir()
    assert run("measure", "photos", *NET, *QUICK, "--masks", "masks", "--out", "out")[0] == 1
    assert run("measure", "photos", *NET, *QUICK, "--out", "out")[0] == 0


@pytest.mark.parametrize(
    "text", ["mine\n", "mine\ntoo\n", '{"a": 1}\n{"b": 2}\n', "[]\n[]\n", b"\xff\xfe\x00"], ids=str
)
def test_a_file_of_another_kind_is_not_overwritten(
    run: Runner, folder: Path, photos: Path, text: str | bytes
) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "out").mkdir()
    (folder / "out" / "readings.jsonl").write_bytes(data)
    code, _, err = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert code == 2
    assert "'out/readings.jsonl' is not what `limelight measure` writes" in flat(err)
    assert (folder / "out" / "readings.jsonl").read_bytes() == data


def test_measure_photos_from_python(folder: Path, photos: Path) -> None:
    (photos / "x.jpg").write_bytes(b"broken")
    names: list[str | Path] = [
        photos / "0.png",
        photos / "x.jpg",
        photos / "none.jpg",
        str(photos / "1.png"),
    ]
    asked = MeasureSpec(
        methods=[limelight.METHODS["gradcam"]], metrics=[limelight.METRICS["increase"]], target=1
    )
    told = list[str]()
    results = list(
        measure_photos(net(), names, asked, progress=lambda name, done, count: told.append(name))
    )
    assert [one.path.name for one in results] == ["0.png", "x.jpg", "none.jpg", "1.png"]
    assert [one.measurement.n for one in results] == [1, 0, 0, 1]
    assert "is not a picture" in str(results[1].error)
    assert "There is no file" in str(results[2].error)
    assert {"gradcam", "increase of gradcam"} <= set(told)


# limelight metrics


def test_metrics_are_listed(run: Runner) -> None:
    code, out, _ = run("metrics")
    assert code == 0
    for row in METRICS.values():
        assert row.name in out
        assert row.use.split()[0] in out
    for family in ("faithfulness", "localisation", "robustness", "sanity"):
        assert family in out
    _, out, _ = run("metrics", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(METRICS)
    assert rows[0]["better"] == "lower"
    assert rows[0]["options"]["steps"]
    assert {row["name"] for row in rows if "objects" in row["needs"]} == {
        row.name for row in METRICS.values() if row.family == "localisation"
    }


# limelight sanity


SANITY = ("--methods", "gradcam random", "--steps", 2)


def test_sanity_draws_strips_and_says_what_passes(run: Runner, folder: Path, photos: Path) -> None:
    code, out, err = run("sanity", "photos", *NET, *SANITY, "--out", "out")
    assert (code, err) == (0, "")
    assert "net (as the model was given), weights drawn anew" in out
    verdict = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip()}
    assert verdict["gradcam"] == "passes"
    assert verdict["random"] == "fails"
    assert "One photo" not in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        f"{i}-sanity.png" for i in range(4)
    ]
    assert "The strips are out/0-sanity.png, out/1-sanity.png, out/2-sanity.png ..." in out
    with Image.open(folder / "out" / "0-sanity.png") as picture:
        assert picture.width > 500


def test_sanity_for_a_machine(run: Runner, folder: Path, photos: Path) -> None:
    (photos / "x.jpg").write_bytes(b"broken")
    code, out, _ = run("sanity", "photos", *NET, *SANITY, "--out", "out", "--json")
    assert code == 1
    report = json.loads(out, parse_constant=pytest.fail)
    assert report["verdicts"] == {"gradcam": "passes", "random": "fails"}
    assert [Path(one["photo"]).name for one in report["failed"]] == ["x.jpg"]
    assert all(Path(one).is_file() for one in report["pictures"])
    assert len(report["pictures"]) == 4
    # As the library says.
    network, total = net(), Measurement()
    for number in range(4):
        images = network.preprocess(limelight.load_photo(photos / f"{number}.png"))[None]
        total += limelight.sanity(
            network.model, images, methods=["gradcam", "random"], steps=2, classes=CLASSES
        ).measurement
    assert_same(report["figures"], total.rows())


def test_sanity_of_one_photo_says_so(run: Runner, folder: Path, photos: Path) -> None:
    words = ("photos/0.png", *NET, *SANITY, "--out", "strip.jpg", "--colormap", "viridis")
    code, out, _ = run("sanity", *words, "--seed", 3, "--target", "dog", "--layer", "0")
    assert code == 0
    assert "One photo has no interval: take several to be sure." in flat(out)
    with Image.open(folder / "strip.jpg") as picture:
        assert picture.format == "JPEG"


def test_strips_of_photos_of_one_name_do_not_overwrite_each_other(
    run: Runner, folder: Path
) -> None:
    for seed, name in enumerate(("a", "b")):
        save_photo(folder / "photos" / name / "x.png", seed, (60, 40))
    code, _, _ = run("sanity", "photos", *NET, *SANITY, "--out", "out")
    assert code == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "x-sanity-2.png",
        "x-sanity.png",
    ]


@pytest.mark.parametrize(
    ("words", "says", "expected"),
    [
        (["photos", "--steps", "1"], "--steps", 2),
        (["photos", "--methods", "gardcam"], "Did you mean 'gradcam'", 2),
        (["photos", "--methods", "rollout"], "none of these methods", 2),
        (["photos", "--target", "wolf"], "no class named 'wolf'", 2),
        (["photos", "--out", "all.png"], "Pass a folder", 2),
        (["photos/0.png", "--out", "strip.doc"], "its suffix should be one of", 2),
        (["photos/0.png", "--format", "npz"], "npz", 2),
        (["photos/0.png", "--colormap", "jett"], "Did you mean 'jet'", 2),
        (["none.jpg"], "There is no file 'none.jpg'", 2),
        (["broken.jpg"], "not a picture", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_with_a_sanity_check_is_said(
    run: Runner, folder: Path, photos: Path, words: list[str], says: str, expected: int
) -> None:
    (folder / "broken.jpg").write_bytes(b"broken as can be")
    rest = [] if "--methods" in words else ["--methods", "gradcam"]
    code, out, err = run("sanity", *NET, "--steps", 2, *rest, *words)
    assert says in flat(out + err)
    assert code == expected
    assert "Traceback" not in out + err
    assert not [path for path in folder.rglob("*sanity*") if path.is_file()]


def test_an_interrupted_sanity_check_keeps_its_strips(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[int]()

    def stopping(*args: Any, **options: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return limelight.sanity(*args, **options)

    monkeypatch.setattr(limelight.cli.measure, "find_sanity", stopping)
    code, out, _ = run("sanity", "photos", *NET, *SANITY, "--out", "out")
    assert code == 130
    assert "Interrupted: the strips of the photos that were done are drawn." in flat(out)
    assert len(list((folder / "out").iterdir())) == 2
    assert "passes" in out


# limelight compare --measure


COMPARED = ("--measure", "--methods", "gradcam random", "--metrics", "insertion:steps=3 increase")


def test_compare_measures_and_ranks(run: Runner, folder: Path, photos: Path) -> None:
    code, out, _ = run("compare", "photos", *NET, *COMPARED, "--out", "out")
    assert code == 0
    assert "insertion:steps=3 (higher is better" in out
    assert "mean, 95 % interval" in out
    run("compare", "photos", *NET, "--methods", "gradcam random", "--out", "plain")
    for number in range(4):
        sizes = []
        for name in ("out", "plain"):
            with Image.open(folder / name / f"{number}-compare.png") as sheet:
                sizes.append(sheet.size)
        assert sizes[0][1] > sizes[1][1]  # the rankings are below
    code, out, _ = run("compare", "photos", *NET, *COMPARED, "--out", "out", "--json")
    report = json.loads(out, parse_constant=pytest.fail)
    measured = ("measure", "photos", *NET, *COMPARED[1:], "--out", "measured")
    assert run(*measured)[0] == 0
    assert_same(report["measured"], table(folder, "measured"))
    assert (
        report["verdict"] == json.loads((folder / "measured" / "table.json").read_text())["verdict"]
    )


def test_compare_without_measure_says_nothing_of_it(
    run: Runner, folder: Path, photos: Path
) -> None:
    _, out, _ = run("compare", "photos/0.png", *NET, "--methods", "gradcam", "--json")
    assert "measured" not in json.loads(out)


def test_one_photo_measured_in_compare_has_no_interval(
    run: Runner, folder: Path, photos: Path
) -> None:
    code, out, _ = run("compare", "photos/0.png", *NET, *COMPARED)
    assert code == 0
    assert "On one image nothing has an interval" in flat(out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--metrics", "insertoin"], "Did you mean 'insertion'"),
        (["--metrics", "pointing-game"], "a sheet does not know where the objects are"),
    ],
)
def test_what_cannot_be_measured_in_compare_is_told_before_any_work(
    run: Runner,
    folder: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    says: str,
) -> None:
    began = list[int]()

    def counting(*args: Any, **options: Any) -> Any:
        began.append(1)
        return explain_many(*args, **options)

    monkeypatch.setattr(limelight.cli.compare, "explain_many", counting)
    code, _, err = run("compare", "photos", *NET, *COMPARED[:-2], *words)
    assert code == 2
    assert says in flat(err)
    assert "objects=" not in err  # that is for Python
    assert began == []


def test_a_metric_that_this_score_has_not_leaves_the_sheet(
    run: Runner, folder: Path, photos: Path
) -> None:
    """A contrast has no probability, and average-drop needs one."""
    words = ("--against", "cat", "--target", "dog", "--metrics", "average-drop")
    code, out, err = run("compare", "photos/0.png", *NET, *COMPARED[:-2], *words, "--out", "out")
    assert "average-drop" in out + err
    assert "Traceback" not in out + err
    assert (folder / "out" / "0-compare.png").is_file(), f"exit code {code}: {flat(err)}"


def test_interrupted_while_measuring_the_sheet_is_drawn(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[int]()

    def stopping(*args: Any, **options: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return limelight.measure(*args, **options)

    monkeypatch.setattr(limelight.cli.compare, "measure_all", stopping)
    code, out, _ = run("compare", "photos", *NET, *COMPARED, "--out", "out", "--json")
    assert code == 130
    report = json.loads(out[out.index("{") :])
    assert len(report["photos"]) == 2
    assert {row["n"] for row in report["measured"]} == {1}
    assert len(list((folder / "out").iterdir())) == 2


def test_help_tells_of_the_new_commands(run: Runner) -> None:
    _, out, _ = run("--help")
    for command in ("measure", "sanity", "metrics"):
        assert command in out
        code, told, _ = run(command, "--help")
        assert code == 0
        assert "limelight" in told


# ---- two runs at once ----------------------------------------------------------------------------


def test_a_second_run_into_the_same_folder_is_refused_at_once(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, second = counted(monkeypatch), list[tuple[int, str, str]]()
    ordinary = measure_photos

    def meanwhile(*args: Any, **kwargs: Any) -> Iterator[PhotoMeasured]:
        if not second:
            second.append((0, "", ""))
            second[0] = run("measure", "photos", *NET, *QUICK, "--out", "out")
        yield from ordinary(*args, **kwargs)

    monkeypatch.setattr(limelight.cli.measure, "measure_photos", meanwhile)
    assert run("measure", "photos", *NET, *QUICK, "--out", "out")[0] == 0
    code, _, err = second[0]
    assert code == 2
    assert f"is being written by another run (process {os.getpid()}, since 20" in flat(err)
    assert "Wait until that is done" in flat(err)
    assert opened == ["0.png", "1.png", "2.png", "3.png"]
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    assert run("measure", "photos", *NET, *QUICK, "--out", "out")[0] == 0


def test_a_killed_run_keeps_nobody_out(folder: Path) -> None:
    path = folder / "readings.jsonl"
    code = """
import sys, time
from pathlib import Path
from limelight.lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputError, match=rf"another run \(process {other.pid}, since"),
            only_run(path),
        ):
            pass
        other.kill()
        other.wait()
    with only_run(path):
        pass
