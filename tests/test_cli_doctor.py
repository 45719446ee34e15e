"""`limelight doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import limelight.examination.own_network
from helpers.commands import MODELS, Runner, flat, folder, run, save_photo
from limelight.examination.observations import Observation

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture
def mine(folder: Path) -> Path:
    (folder / "doctored.py").write_text(MODELS)
    return save_photo(folder / "a.png")


def test_the_installation_is_printed_part_by_part(run: Runner) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    parts = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert parts == ["versions", "packages", "machine", "together", "self-test", parts[-1]]
    assert parts[-1].startswith("Nothing has to be mended.")


def test_a_network_is_examined_with_a_photo(run: Runner, mine: Path) -> None:
    code, out, _ = run("doctor", "--model", "doctored:Net", "--photo", mine, "--layer", "conv")
    assert code == 0, out
    assert "the images that were given" in out
    assert "conv: named" in out


def test_a_weights_file_alone_is_that_of_the_embedded_network(run: Runner) -> None:
    code, out, _ = run("doctor", "--weights", "none", "--seconds", "0")
    assert code == 0
    assert "efficientnet-lite0" in out
    assert "load trained weights" in out


def test_a_broken_network_is_told_to_a_machine(run: Runner, mine: Path) -> None:
    code, out, _ = run("doctor", "--model", "doctored:Broken", "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    (broken,) = [each for each in report["observations"] if each["verdict"] == "broken"]
    assert (broken["part"], broken["subject"]) == ("output", "output")
    assert "shapes [1, 2] and [3] do not fit" in broken["found"]
    code, out, _ = run("doctor", "--model", "doctored:Broken")
    assert code == 1
    assert out.splitlines()[-1] == "To mend: output."


def test_a_network_that_does_not_load_is_an_error(run: Runner, mine: Path) -> None:
    code, _, err = run("doctor", "--model", "resnet1800")
    assert code == 2
    assert "There is no model named 'resnet1800'" in flat(err)


def test_what_was_found_before_an_interrupt_is_told(
    run: Runner, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> Iterator[Observation]:
        yield Observation("network", "name", "mine")
        yield Observation("input", "shape", "1 x 3")
        raise KeyboardInterrupt

    monkeypatch.setattr(limelight.examination.own_network, "examine_network", stopped)
    code, out, _ = run("doctor", "--model", "doctored:Net")
    assert code == 130
    assert "mine" in out
    assert out.splitlines()[-1] == "Interrupted: the rest was not examined."
    code, out, _ = run("doctor", "--model", "doctored:Net", "--json")
    report = json.loads(out)
    assert code == report["error"]["exit_code"] == 130
    assert report["observations"][0]["found"] == "mine"


def test_options_are_named_in_place_of_arguments(run: Runner, mine: Path) -> None:
    _, out, _ = run("doctor", "--model", "doctored:Net", "--photo", mine, "--seconds", "0")
    assert "pass --classes FILE" in out
