"""`limelight metrics`, `limelight sanity`, and `limelight compare --measure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import limelight
import limelight.cli.commands.compare
import limelight.cli.commands.sanity
from helpers.commands import Runner, flat, folder, run, save_photo
from helpers.measure_commands import CLASSES, NET, SANITY, assert_same, net, noise, photos, table
from limelight.metrics import METRICS
from limelight.metrics.measurement import Measurement
from limelight.metrics.run import measure_all
from limelight.pipeline import explain_many

__all__ = ["folder", "noise", "photos", "run"]  # fixtures


# limelight metrics


def test_metrics_are_listed(run: Runner) -> None:
    code, out, _ = run("metrics")
    assert code == 0
    for row in METRICS.values():
        assert row.name in out
        assert row.use.split()[0] in out
    for family in ("faithfulness", "localisation", "complexity", "robustness", "sanity"):
        assert family in out
    _, out, _ = run("metrics", "increase", "--json")
    assert [row["avoid"] for row in json.loads(out)] == [METRICS["increase"].avoid]
    _, out, _ = run("metrics", "road", "deletion:steps=5")
    assert "steps=9  an integer of at least 1" in out
    assert "steps=5" in out
    assert "insertion" not in out
    _, out, _ = run("metrics", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(METRICS)
    assert rows[0]["better"] == "lower"
    assert rows[0]["options"]["steps"]
    assert {row["name"] for row in rows if "objects" in row["needs"]} == {
        row.name for row in METRICS.values() if row.family == "localisation"
    }


# limelight sanity


def test_sanity_draws_strips_and_says_what_passes(run: Runner, folder: Path, photos: Path) -> None:
    for number in range(4, 8):
        save_photo(photos / f"{number}.png", number, (60, 40))
    code, out, err = run("sanity", "photos", *NET, *SANITY, "--out", "out")
    assert (code, err) == (0, "")
    assert "net (as the model was given), weights drawn anew" in out
    verdict = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip()}
    assert verdict["gradcam"] == "passes"
    assert verdict["random"] == "fails"
    assert "too few" not in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        f"{i}-sanity.png" for i in range(8)
    ]
    assert "The strips are out/0-sanity.png, out/1-sanity.png, out/2-sanity.png ..." in out
    with Image.open(folder / "out" / "0-sanity.png") as picture:
        assert picture.width > 500


def test_sanity_for_a_machine(run: Runner, folder: Path, photos: Path) -> None:
    (photos / "x.jpg").write_bytes(b"broken")
    code, out, _ = run("sanity", "photos", *NET, *SANITY, "--out", "out", "--json")
    assert code == 1
    report = json.loads(out, parse_constant=pytest.fail)
    assert report["verdicts"] == {"gradcam": "unclear", "random": "unclear"}  # of four photos
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
    assert "1 photo is too few for a verdict, which takes 8." in flat(out)
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

    monkeypatch.setattr(limelight.cli.commands.sanity, "find_sanity", stopping)
    code, out, _ = run("sanity", "photos", *NET, *SANITY, "--out", "out")
    assert code == 130
    assert "Interrupted: the strips of the photos that were done are drawn." in flat(out)
    assert len(list((folder / "out").iterdir())) == 2
    assert "unclear" in out


# limelight compare --measure


COMPARED = ("--measure", "--methods", "gradcam random", "--metrics", "insertion:steps=3 increase")


def test_compare_measures_and_ranks(run: Runner, folder: Path, photos: Path) -> None:
    code, out, _ = run("compare", "photos", *NET, *COMPARED, "--out", "out")
    assert code == 0
    assert "insertion:steps=3 (higher is better" in out
    assert "lead, 95 % interval" in out
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
    assert "1 image is too few to earn trust on" in flat(out)


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

    monkeypatch.setattr(limelight.cli.commands.compare, "explain_many", counting)
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
        return measure_all(*args, **options)

    monkeypatch.setattr(limelight.cli.commands.compare, "measure_all", stopping)
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
