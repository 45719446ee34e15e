"""`limelight measure` a second time: it goes on, refuses another question, and waits for nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import limelight
import limelight.cli.commands.measure
from helpers.commands import Runner, flat, folder, run
from helpers.measure_commands import (
    BOXES,
    FILES,
    NET,
    QUICK,
    assert_same,
    broken_off_after,
    counted,
    lines,
    net,
    noise,
    photos,
    table,
)
from limelight.errors import OutputError
from limelight.lock import only_run
from limelight.metrics.photo_measurement import MeasureSpec, PhotoMeasured, measure_photos

__all__ = ["folder", "noise", "photos", "run"]  # fixtures


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
    monkeypatch.setattr(limelight.cli.commands.measure, "measure_photos", broken_off_after(done))
    code, out, _ = run("measure", "photos", *NET, *QUICK, "--out", "out")
    assert code == 130
    assert "Interrupted: the same command again goes on from here." in flat(out)
    assert {path.name for path in (folder / "out").iterdir()} == (FILES if done else set())
    if done:
        assert len(lines(folder)) == 1 + done
        assert {row["n"] for row in table(folder)} == {str(done)}
    monkeypatch.setattr(limelight.cli.commands.measure, "measure_photos", measure_photos)
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
    monkeypatch.setattr(limelight.cli.commands.measure, "measure_photos", broken_off_after(2))
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
        (["--size", "20"], "input was ['float32'] and is ['size=20',"),
        (["--dtype", "float64"], "input was"),
        (
            ["--model", "helpers.measure_commands:broken"],
            "model was 'helpers.measure_commands:net' and is",
        ),
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

    monkeypatch.setattr(limelight.cli.commands.measure, "measure_photos", meanwhile)
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
