"""The command line, run in this process, and photos and networks to run it on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limelight.cli
from limelight.models import sources
from limelight.models.defaults import DEFAULT
from limelight.models.network import Network

#: Loads a network as the library does.
_load = sources.load_model


@cache
def _embedded_network() -> Network:
    return _load()


def load_once(name: str = DEFAULT, **options: Any) -> Network:
    """Load a network; the embedded one is loaded once, and so recorded and measured once."""
    usual = {"weights": "default", "classes": None, "device": "cpu", "dtype": torch.float32}
    if name == DEFAULT and usual | options == usual:
        return _embedded_network()
    return _load(name, **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    # Another test may have a module of the same name.
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Runner:
    monkeypatch.setattr(sources, "load_model", load_once)
    return Runner(capsys, monkeypatch)


class Runner:
    """Runs the command line in this process, as its entry point does."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *args: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["limelight", *map(str, args)])
        code: object = 0
        try:
            limelight.cli.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        assert isinstance(code, int)
        out, err = self.capsys.readouterr()
        return code, out, err


def save_photo(path: Path, seed: int = 0, size: tuple[int, int] = (90, 60)) -> Path:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path)
    return path


MODELS = """
import warnings
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

class Silent(Net):
    def forward(self, x):
        super().forward(x)

class Broken(Net):
    def forward(self, x):
        raise RuntimeError("shapes [1, 2] and [3] do not fit")

class One(Net):
    def forward(self, x):
        return super().forward(x)[:, 0]

def nan():
    net = Net()
    nn.init.constant_(net.fc.weight, float("nan"))
    return net

def scripted():
    warnings.simplefilter("ignore")  # scripting is deprecated, and still found
    return torch.jit.script(Net())
"""


def full_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let so many files be written whole, then none."""
    replace, done = Path.replace, list[Path]()

    def moved(self: Path, target: Path) -> Path:
        if len(done) == count:
            raise OSError(28, "No space left on device")
        done.append(target)
        return replace(self, target)

    monkeypatch.setattr("pathlib.Path.replace", moved)


def flat(text: str) -> str:
    """Return what was printed, without the lines and the frame that it was printed in."""
    return " ".join(text.replace("│", " ").split())
