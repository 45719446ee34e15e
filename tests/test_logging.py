"""The logger `limelight`: quiet, until it is asked."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import limelight
from helpers.commands import Runner, folder, run, save_photo
from helpers.scans import SECRET, dicom, phantom

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture
def model() -> nn.Module:
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return nn.Sequential(*layers)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{each.levelname} {each.name} {each.getMessage()}" for each in caplog.records]


def test_nothing_is_shown_unless_the_program_asks(
    model: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    limelight.explain(model, torch.rand(1, 3, 16, 16))
    assert capsys.readouterr() == ("", "")
    handlers = logging.getLogger("limelight").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_normal_work_warns_of_nothing(model: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "limelight"):
        limelight.explain(model, torch.rand(1, 3, 16, 16), method="rise:masks=4")
    assert said(caplog) == []


def test_what_is_decided_is_said(model: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "limelight"):
        result = limelight.explain(model, torch.rand(1, 3, 16, 16))
    cut, made = said(caplog)
    assert cut.startswith(f"INFO limelight.runtime.cut cut at 0 ({result.reason}): channels first")
    assert made.startswith("INFO limelight.application gradcam at 0: 0.")
    assert made.endswith(" s, ok")


def test_what_is_recorded_and_run_is_said(
    model: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.rand(1, 3, 16, 16)
    with caplog.at_level(logging.DEBUG, "limelight"):
        limelight.explain(model, images)
        first = said(caplog)
        caplog.clear()
        limelight.explain(model, images)
        second = said(caplog)
        caplog.clear()
        limelight.explain(model, images, method="rise:masks=10", chunk=4)
        third = said(caplog)
    assert "DEBUG limelight.runtime.model_cache choice of a layer: made" in first
    assert any("limelight.runtime.recording layout of 0: channels first" in each for each in first)
    assert not any("made" in each or "layout of" in each for each in second)
    assert "DEBUG limelight.runtime.rerun 10 runs, up to 4 together" in third


def test_a_loaded_network_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "limelight"):
        limelight.load_model(weights="none")
    (line,) = said(caplog)
    assert line.endswith("loaded efficientnet-lite0, weights random, on cpu")


def test_nothing_of_a_patient_is_said(
    folder: Path, model: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    dicom(folder / f"{SECRET}.dcm", phantom((20, 20)))
    preprocess = limelight.Preprocess(size=(16, 16), resize=(16, 16))
    with caplog.at_level(logging.DEBUG, "limelight"):
        limelight.explain(limelight.Network("net", model, preprocess), f"{SECRET}.dcm")
    assert len(said(caplog)) > 3
    assert not [line for line in said(caplog) if SECRET in line]


# limelight --verbose


def test_the_command_shows_it_on_stderr(run: Runner, folder: Path) -> None:
    photo = save_photo(folder / "a.png")
    # Random weights: the network of the tests is loaded, and its layer chosen, once in a process.
    anew = ("explain", photo, "--weights", "none")
    code, out, err = run("-v", *anew, "--json")
    assert code == 0
    assert json.loads(out)["photos"][0]["top5"]
    lines = err.splitlines()
    assert any(line.startswith("models.sources: loaded efficientnet-lite0") for line in lines)
    assert any(line.startswith("runtime.cut: cut at bn2 (the last layer") for line in lines)
    assert not any(line.startswith("runtime.model_cache") for line in lines)
    code, _, err = run("-vv", *anew, "--out", "b.png")
    assert "runtime.model_cache: choice of a layer: made" in err
    code, _, err = run(*anew, "--out", "c.png")
    assert (code, err) == (0, "")
    assert logging.getLogger("limelight").level == logging.NOTSET


def test_the_version_says_more_with_verbose(run: Runner) -> None:
    code, out, _ = run("--version")
    assert (code, out) == (0, f"limelight {limelight.__version__}\n")
    for line in (("--version", "--verbose"), ("-v", "--version")):
        code, out, _ = run(*line)
        assert code == 0
        first, second, *_ = out.splitlines()
        assert first == f"limelight {limelight.__version__}"
        assert second == f"torch {torch.__version__.partition('+')[0]}"
