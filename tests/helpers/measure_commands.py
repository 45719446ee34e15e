"""The commands that measure, on four small photos and a network that is quick."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from helpers.commands import save_photo
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import PhotoMeasured, measure_photos
from limelight.models.network import Network
from limelight.photos.pictures import load_photo
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo

CLASSES = ("ant", "bee", "cat", "dog")
FILES = {"curves.png", "readings.jsonl", "table.csv", "table.json"}
QUICK = ("--methods", "gradcam saliency", "--metrics", "insertion:steps=3 increase")
NET = ("--model", "helpers.measure_commands:net")
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
    monkeypatch.setattr(Measurement, "figure", lambda _self, **_: Figure(figsize=(1, 1)))
    return noise


def table(folder: Path, name: str = "out") -> list[dict[str, str]]:
    with (folder / name / "table.csv").open() as file:
        return list(csv.DictReader(file))


def lines(folder: Path, name: str = "out") -> list[str]:
    return (folder / name / "readings.jsonl").read_text().splitlines()


def told(value: float | str | None) -> float | None:
    """Return a number of a table; None where there is none."""
    number = float("nan" if value is None else value)
    return None if math.isnan(number) else number


def assert_same(ours: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> None:
    """Compare rows of estimates, of CSV, of JSON or of the library."""
    assert len(ours) == len(others) > 0
    words = ("method", "layer", "metric", "part", "better")
    for own, other in zip(ours, others, strict=True):
        assert [own[name] for name in words] == [other[name] for name in words]
        for name in ("value", "low", "high", "random_value", "centre_high", "n", "left_out"):
            assert told(own[name]) == told(other[name]), name


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each photo is added that is opened to be measured."""
    opened = list[str]()

    def counting(self: Network, path: str | Path) -> Photo:
        opened.append(Path(path).name)
        return load_photo(path, channels=self.preprocess.channels)

    monkeypatch.setattr(Network, "load_photo", counting)
    return opened


def broken_off_after(count: int) -> Callable[..., Iterator[PhotoMeasured]]:
    """Return `measure_photos`, interrupted by the user in the middle of a later photo."""

    def stopping(*args: Any, **options: Any) -> Iterator[PhotoMeasured]:
        for number, one in enumerate(measure_photos(*args, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield one

    return stopping


SANITY = ("--methods", "gradcam random", "--steps", 2)
