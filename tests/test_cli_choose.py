"""`limelight choose`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import limelight
from helpers.choices import FRESH, LEARNED, QUICK, learned, squares
from helpers.commands import Runner, flat, folder, full_after, run
from limelight.errors import InputError, MethodError, MissingPhotoError
from limelight.metrics import choosing
from limelight.metrics.candidate_maps import CandidateMaps
from limelight.metrics.recommendation import Recommendation

__all__ = ["folder", "run", "squares"]  # fixtures

CHOOSE = ("choose", "photos", *LEARNED, *QUICK, "--out", "out")


@pytest.fixture(autouse=True)
def _few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests of learning and of sanity, which take most time, look at few photos."""
    monkeypatch.setattr(choosing, "_LEARNED_PHOTOS", 2)
    monkeypatch.setattr(choosing, "_SANITY_PHOTOS", 8)


@pytest.fixture
def quick_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, where the picture is of no interest."""
    monkeypatch.setattr(Recommendation, "figure", lambda _self, **_: Figure(figsize=(1, 1)))


def strict(text: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_what_is_recommended_is_printed_and_written(run: Runner, squares: Path) -> None:
    code, out, err = run(*CHOOSE, "--metrics", "deletion:steps=4", "--target", "red")
    assert (code, err) == (0, "")
    text = flat(out)
    assert text.startswith("learned (")
    assert "The network has learned something" in text
    assert "2 candidates, on the 10 photos to choose on" in text
    assert "On the other photos, which had no part in the choice" in text
    assert "Report, table and figure are in out." in text
    report = strict(Path("out/choice.json").read_text())
    assert report["sentence"] in text
    for sentence in report["evidence"]:
        assert sentence in text
    with Path("out/candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate"] for row in rows] == ["gradcam at features", "random at features"]
    assert [row["dropped"] for row in rows] == ["False", "False"]
    with Image.open("out/choice.png") as picture:
        assert picture.width > 400
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "candidates.csv",
        "choice.json",
        "choice.png",
    ]


@pytest.mark.usefixtures("quick_figure")
def test_both_lines_make_the_map_that_was_recommended(run: Runner, squares: Path) -> None:
    options = ("--target", "red", "--size", 24, "--mean", "0.4")
    layers = ("--layer", "features.0 features", "--methods", "gradcam", *LEARNED)
    words = ("choose", "photos", "--metrics", "deletion:steps=4", *layers, *options)
    code, out, _ = run(*words, "--json")
    report = strict(out)
    assert code == 0
    if report["recommended"] is None:
        pytest.fail(report["sentence"])
    command = report["command"]
    assert command.startswith("limelight explain PHOTO --model helpers.choices:learned --size 24")
    assert " --target red --method gradcam --layer features.0" in command
    made_by = shlex.split(command.replace("PHOTO", "photos/00.png"))[1:]
    code, _, err = run(*made_by, "--out", "maps", "--format", "npz")
    assert code == 0, err
    (path,) = Path("maps").glob("*.npz")
    made = np.load(path)
    network = learned()
    images = network.images(limelight.load_photo("photos/00.png"))
    result = limelight.explain(network, images, target="red", **report["arguments"])
    assert np.allclose(made["heatmap"], result.heatmap.numpy(), atol=1e-6)
    assert all(repr(value) in report["python"] for value in report["arguments"].values())


@pytest.mark.usefixtures("quick_figure")
def test_random_weights_end_with_nothing_and_leave_no_older_table(
    run: Runner, squares: Path
) -> None:
    assert run(*CHOOSE)[0] == 0
    assert len(list(Path("out").iterdir())) == 3
    code, out, err = run("choose", "photos", *FRESH, *QUICK, "--out", "out")
    assert (code, err) == (0, "")
    assert "Nothing is recommended. It is not shown that this network has learned" in flat(out)
    assert "In Python" not in out
    assert "The report is in out." in out
    assert [path.name for path in Path("out").iterdir()] == ["choice.json"]
    report = strict(Path("out/choice.json").read_text())
    assert report["recommended"] is None
    assert report["learned"]["p"] > 0.05
    code, out, _ = run("choose", "photos", *FRESH, *QUICK, "--out", "out", "--json")
    assert (code, strict(out)["command"], strict(out)["python"]) == (0, "", "")


@pytest.mark.usefixtures("quick_figure")
def test_broken_photos_are_listed_and_the_others_go_on(run: Runner, squares: Path) -> None:
    Path("photos/aa.png").write_bytes(b"")
    Path("photos/bb.png").write_text("no photo")
    shutil.copy("photos/00.png", "photos/copy.png")
    code, out, err = run(*CHOOSE)
    assert code == 1
    assert "2 of 23 photos were not measured." in err
    assert err.count("left out") == 2
    assert "gradcam at features" in out
    code, out, _ = run(*CHOOSE, "--json")
    report = strict(out)
    assert sorted(Path(one["photo"]).name for one in report["failed"]) == ["aa.png", "bb.png"]
    assert len(report["candidates"]) == 2


@pytest.mark.usefixtures("quick_figure")
def test_the_table_has_the_candidates_and_the_photos_that_failed(
    run: Runner, squares: Path
) -> None:
    Path("photos/bb.png").write_text("no photo")
    code, out, _ = run(*CHOOSE, "--table", "t.csv", "--json")
    assert code == 1
    report = strict(out)
    with Path("t.csv").open(newline="") as file:
        *candidates, failed = csv.DictReader(file)
    assert [row["candidate"] for row in candidates] == [
        row["candidate"] for row in report["candidates"]
    ]
    assert {row["error"] for row in candidates} == {""}
    assert (failed["photo"], failed["candidate"]) == ("photos/bb.png", "")
    assert failed["error"] == report["failed"][0]["error"]


def test_photos_that_all_are_broken_end_with_nothing(run: Runner, folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(18):
        (folder / "photos" / f"{number}.png").write_text(f"no photo {number}")
    code, out, err = run(*CHOOSE)
    assert code == 1
    assert "The maps of 0 photos to choose on could be measured, and a choice takes 8" in flat(out)
    assert err.count("left out") == 5
    assert "9 of 18 photos were not measured." in err


def test_fewer_than_sixteen_photos_are_refused(run: Runner, squares: Path) -> None:
    for number in range(5):
        (squares / f"{number:02}.png").unlink()
    code, out, err = run(*CHOOSE)
    assert (code, out) == (InputError.exit_code, "")
    assert "There are 15 different photos; at least 16 were expected" in flat(err)
    code, _, err = run(*CHOOSE[:1], "photos/07.png", *LEARNED)
    assert (code, "There is 1 photo; at least 16 were expected" in flat(err)) == (1, True)
    code, _, err = run(*CHOOSE[:1], "hollidays", *LEARNED)
    assert code == MissingPhotoError.exit_code
    assert "hollidays" in flat(err)
    assert "at least 16" not in err


@pytest.mark.usefixtures("quick_figure")
def test_boxes_and_masks_are_used(run: Runner, squares: Path) -> None:
    words = ("choose", "photos", *LEARNED, *QUICK[:4], "--json")
    code, out, _ = run(*words, "--boxes", "boxes.csv", "--metrics", "energy-pointing")
    by_boxes = strict(out)
    assert code == 0
    assert by_boxes["candidates"][0]["candidate"] == "gradcam at features"
    assert by_boxes["candidates"][0]["energy-pointing value"] > 0.3
    Path("masks").mkdir()
    for line in Path("boxes.csv").read_text().splitlines()[1:-2]:
        name, *ends = line.split(",")
        x1, y1, x2, y2 = map(int, ends)
        mask = np.zeros((24, 24), dtype=np.uint8)
        mask[y1:y2, x1:x2] = 255
        Image.fromarray(mask).save(Path("masks") / name)
    code, out, _ = run(*words, "--masks", "masks", "--metrics", "energy-pointing")
    by_masks = strict(out)
    assert code == 1
    assert sorted(Path(one["photo"]).name for one in by_masks["failed"]) == ["18.png", "19.png"]
    assert by_masks["candidates"][0]["candidate"] == "gradcam at features"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.usefixtures("quick_figure")
def test_an_interrupt_keeps_what_was_measured(
    run: Runner, squares: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    measured, calls = CandidateMaps.measured, list[int]()

    def stopping(self: CandidateMaps, *given: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return measured(self, *given)

    monkeypatch.setattr(CandidateMaps, "measured", stopping)
    code, out, _ = run(*CHOOSE, *(["--json"] if as_json else []))
    assert code == 130
    report = strict(Path("out/choice.json").read_text())
    assert [row["deletion:steps=4 n"] for row in report["candidates"]] == [4, 4]
    if as_json:
        assert strict(out)["error"]["exit_code"] == 130
        assert "nothing is recommended" in strict(out)["error"]["message"]
    else:
        assert "Interrupted: what was measured until then is reported" in flat(out)
        assert "Nothing is recommended. The choice was not finished." in flat(out)


def test_an_interrupt_before_anything_was_measured_keeps_what_is_there(
    run: Runner, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_args: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    Path("out").mkdir()
    Path("out/choice.json").write_text("earlier")
    monkeypatch.setattr("limelight.metrics.choosing.has_learned", stopping)
    code, out, _ = run(*CHOOSE)
    assert code == 130
    assert Path("out/choice.json").read_text() == "earlier"
    assert "Report" not in out


@pytest.mark.usefixtures("quick_figure")
def test_an_error_of_the_model_leaves_what_was_measured(
    run: Runner, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, calls = CandidateMaps.measured, list[int]()

    def breaking(self: CandidateMaps, *given: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("of the model")
        return measured(self, *given)

    monkeypatch.setattr(CandidateMaps, "measured", breaking)
    code, out, err = run(*CHOOSE)
    assert code == 1
    assert "Error: RuntimeError: of the model" in err
    assert "2 candidates, on the 3 photos to choose on" in out
    calls.extend([1] * 9)
    code, out, _ = run(*CHOOSE, "--json")
    assert list(strict(out)) == ["error"]


@pytest.mark.usefixtures("quick_figure")
def test_files_that_cannot_be_written_are_told_with_what_was_found(
    run: Runner, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(monkeypatch, 1)
    code, out, err = run(*CHOOSE)
    assert code == 2
    assert "gradcam at features" in out
    assert "Cannot write 'out/candidates.csv'" in err
    assert "are in out" not in out
    report = strict(run(*CHOOSE, "--json")[1])
    assert {one["file"] for one in report["unwritten"]} >= {"out/candidates.csv"}


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    run: Runner, squares: Path
) -> None:
    Path("shut").write_text("a file")
    code, out, err = run(*CHOOSE[:-1], "shut")
    assert (code, out) == (2, "")
    assert "Cannot write 'shut'" in flat(err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--methods", "gardcam"), "Did you mean 'gradcam'"),
        (("--metrics", "deltion"), "Did you mean 'deletion'"),
        (("--metrics", "sparseness"), "cannot be chosen by sparseness alone"),
        (("--metrics", "energy-pointing"), "pass --boxes or --masks"),
        (("--layer", "featurs"), "There is no layer named 'featurs'"),
        (("--target", "purple"), "no class named 'purple'"),
        (("--budget", 0), "--budget"),
        (("--names", "names.txt"), "--names goes with --boxes or --masks"),
        (("--boxes", "boxes.csv", "--masks", "masks"), "give --boxes or --masks, not both"),
        (("--boxes", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_is_misspelt_is_refused_before_any_work(
    run: Runner,
    squares: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    says: str,
) -> None:
    monkeypatch.delattr("limelight.metrics.choosing.has_learned")
    code, out, err = run("choose", "photos", *LEARNED, *words)
    assert (code, out) == (2, "")
    assert says in flat(err)


def test_methods_that_the_network_cannot_do_are_an_error_if_they_are_all(
    run: Runner, squares: Path
) -> None:
    code, out, err = run("choose", "photos", *LEARNED, "--methods", "rollout legrad")
    assert (code, out) == (MethodError.exit_code, "")
    assert "None of the candidates can be made on this network" in flat(err)


@pytest.mark.usefixtures("quick_figure")
def test_a_second_run_tells_the_same(run: Runner, squares: Path) -> None:
    _, first, _ = run(*CHOOSE, "--json")
    _, again, _ = run(*CHOOSE, "--json")

    def lasting(text: str) -> Any:
        report = strict(text)
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in report["candidates"]]
        return rows, report["confirmed"], report["sanity"], report["recommended"]

    assert lasting(first) == lasting(again)
    assert strict(Path("out/choice.json").read_text())["confirmed"] == strict(again)["confirmed"]
