"""How a run ends that was broken off, and what it tells of what was done by then."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import limelight
import limelight.cli
from helpers.commands import Runner, folder, full_after, run
from helpers.measure_commands import NET, QUICK, SANITY, noise, photos
from limelight.cli.photo_options import load_input
from limelight.errors import OutputError
from limelight.metrics.journal import Journal
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import measure_photos
from limelight.models.network import Network
from limelight.photos.crops import CroppedPhoto
from limelight.pipeline import explain_many

__all__ = ["folder", "noise", "photos", "run"]  # fixtures

ALL = {
    "explain": ("--batch", 1),
    "compare": ("--methods", "gradcam random"),
    "measure": QUICK,
    "sanity": SANITY,
}
HERE = {name: import_module(f"limelight.cli.commands.{name}") for name in ALL}
WHOLE = {
    "explain": ("explain_photos", limelight.explain_photos),
    "compare": ("explain_many", explain_many),
    "measure": ("measure_photos", measure_photos),
    "sanity": ("find_sanity", limelight.sanity),
}
KEYS = ("photos", "failed", "unwritten", "untried")


def broken_by(
    monkeypatch: pytest.MonkeyPatch, command: str, error: BaseException, *, after: int
) -> None:
    """Let the work of a command raise, after so many photos."""
    name, whole = WHOLE[command]
    called = list[int]()

    def each(network: Network, paths: list[Path], *args: Any, **options: Any) -> Iterator[Any]:
        yield from whole(network, paths[:after], *args, **options)  # type: ignore[operator]
        raise error

    def one(*args: Any, **options: Any) -> Any:
        if len(called) == after:
            raise error
        called.append(1)
        return whole(*args, **options)  # type: ignore[operator]

    by_photo = command in ("explain", "measure")
    monkeypatch.setattr(HERE[command], name, each if by_photo else one)


def started(command: str, *more: object) -> tuple[object, ...]:
    return (command, "photos", *NET, *ALL[command], "--out", "out", *more)


def names(report: dict[str, Any]) -> dict[str, list[str]]:
    """Return which photos a document tells of, by where."""
    found = {}
    for key in KEYS:
        each = [one["photo"] if isinstance(one, dict) else one for one in report.get(key, [])]
        found[key] = [Path(one).stem for one in each]
    return found


@pytest.mark.parametrize("command", ALL)
def test_what_was_done_before_an_exception_of_the_model_is_told(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    broken_by(monkeypatch, command, RuntimeError("of the model"), after=2)
    code, out, err = run(*started(command))
    assert code == 1
    assert "Error: RuntimeError: of the model" in err
    assert "2 photos not tried." in err
    shown = {"explain": "2 photos with net", "compare": "1-compare.png", "sanity": "likeness"}
    assert shown.get(command, "insertion:steps=3 (") in out
    assert any((folder / "out").iterdir())


@pytest.mark.parametrize("command", ALL)
def test_what_was_done_stands_beside_the_error_in_the_document(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    broken_by(monkeypatch, command, SystemExit(3), after=2)
    code, out, _ = run(*started(command, "--json"))
    report = json.loads(out)
    assert code == report["error"]["exit_code"] == 2
    assert "called sys.exit(3)" in report["error"]["message"]
    assert names(report)["untried"] == ["2", "3"]
    done = report["photos"] if command in ("explain", "compare") else report["figures"]
    assert done


@pytest.mark.parametrize("command", ALL)
def test_an_exception_before_anything_was_done_is_all_that_is_told(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    broken_by(monkeypatch, command, RuntimeError("of the model"), after=0)
    code, out, err = run(*started(command))
    assert (code, out) == (1, "")
    assert err.startswith("Error: RuntimeError: of the model")
    assert list(json.loads(run(*started(command, "--json"))[1])) == ["error"]


@pytest.mark.parametrize("command", ["explain", "measure"])
def test_an_interrupt_outdoes_a_full_disk(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    broken_by(monkeypatch, command, KeyboardInterrupt(), after=1)
    (folder / "out").mkdir()
    full_after(monkeypatch, 0)
    code, out, _ = run(*started(command, "--json"))
    report = json.loads(out)
    assert report["unwritten"]
    assert code == report["error"]["exit_code"] == 130


def test_an_interrupted_comparison_ends_also_when_its_sheet_cannot_be_written(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[int]()

    def stopping(*args: Any, **options: Any) -> Iterator[Any]:
        begun.append(1)
        yield next(explain_many(*args, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(HERE["compare"], "explain_many", stopping)
    (folder / "out" / "0-compare.png" / "x").mkdir(parents=True)
    code, out, _ = run(*started("compare", "--json"))
    assert (code, len(begun)) == (130, 1)
    report = json.loads(out)
    assert names(report) == {
        "photos": ["0"],
        "failed": [],
        "unwritten": ["0"],
        "untried": ["1", "2", "3"],
    }
    assert report["photos"][0]["sheet"] is None
    assert [one["method"] for one in report["photos"][0]["explanations"]] == ["gradcam"]


def test_a_comparison_interrupted_between_photos_tells_of_the_first(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(path: Path, network: Network) -> tuple[Tensor, list[CroppedPhoto] | None]:
        if path.stem == "1":
            raise KeyboardInterrupt
        return load_input(path, network)

    monkeypatch.setattr(HERE["compare"], "load_input", stopping)
    code, out, err = run(*started("compare"))
    assert code == 130
    assert "The sheet is out/0-compare.png" in out
    assert "Interrupted: the sheet shows what was done." in out
    assert "3 photos not tried." in err


def test_an_interrupt_while_tables_are_written_leaves_the_figures_told(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(self: Measurement, path: Path, **_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Measurement, "save", stopping)
    code, out, _ = run(*started("measure"))
    assert code == 130
    assert "insertion:steps=3 (" in out
    assert "Interrupted: the same command again goes on from here." in out
    assert "Table, figure and readings are in" not in out


def test_a_photo_measured_that_cannot_be_kept_is_not_said_to_be_left_out(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, result: object) -> None:
        raise OutputError("Cannot write 'readings.jsonl': no room.")

    monkeypatch.setattr(Journal, "keep", full)
    code, _, err = run(*started("measure"))
    assert code == 2
    assert err == "Error: Cannot write 'readings.jsonl': no room.\n3 photos not tried.\n"
    report = json.loads(run(*started("measure", "--json"))[1])
    assert report["failed"] == []
    assert [one["file"] for one in report["unwritten"]] == ["out/readings.jsonl"]
    assert names({"untried": report["untried"]})["untried"] == ["1", "2", "3"]


def test_a_strip_that_cannot_be_written_is_not_said_to_be_left_out(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(monkeypatch, 0)
    code, out, err = run(*started("sanity"))
    assert code == 2
    assert "likeness" in out
    assert "The strips are" not in out
    assert "left out" not in err
    assert "Error: Cannot write 'out/0-sanity.png': No space left" in err
    assert "3 photos not tried." in err
    report = json.loads(run(*started("sanity", "--json"))[1])
    told = {"photos": [], "failed": [], "unwritten": ["0"], "untried": ["1", "2", "3"]}
    assert names(report) == told


def test_a_photo_of_which_one_picture_is_written_has_not_failed(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(monkeypatch, 1)
    code, out, _ = run(*started("explain", "--json", "--topk", 2))
    assert code == 2
    told = {"photos": ["0"], "failed": [], "unwritten": ["0"], "untried": ["1", "2", "3"]}
    assert names(json.loads(out)) == told


@pytest.mark.parametrize("number", [5, 28, 122])
def test_what_the_model_cannot_write_is_no_matter_of_stdout(
    run: Runner, folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    broken_by(monkeypatch, "explain", OSError(number, "its own"), after=0)
    code, _, err = run(*started("explain"))
    assert code == 1
    assert f"OSError: [Errno {number}] its own" in err


class Shut(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: OSError, descriptor: int) -> None:
        super().__init__()
        self.error, self.descriptor = error, descriptor

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (OSError(28, "No room"), 2, "cannot be written to stdout: No room.\n"),
        (BrokenPipeError(), 1, ""),
    ],
)
@pytest.mark.parametrize("words", [["methods"], ["--version"], ["--help"], ["trace", "--help"]])
def test_a_stream_that_takes_no_text(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
    expected: int,
    says: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["limelight", *words])
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", Shut(error, nowhere.fileno()))
        with pytest.raises(SystemExit) as ended:
            limelight.cli.main()
    assert ended.value.code == expected
    err = capsys.readouterr().err
    assert err.endswith(says)
    assert err.count("\n") == says.count("\n")
