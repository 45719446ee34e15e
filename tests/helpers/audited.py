"""Small data sets and networks for tests of audits."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limelight import Network, Preprocess
from limelight.audits import pipeline
from limelight.audits.data.folders import LocalFolder
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.audits.rows.shards import read_rows

CLASSES = ("cat", "dog", "pig")

#: Photos are 40 pixels wide, and become inputs of 32.
PREPROCESS = Preprocess(size=(32, 32), resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)


class TwoStages(nn.Module):
    """An early layer of 16 x 16 cells and a late one of 8 x 8, without batch norm."""

    def __init__(self, early: int = 12, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, early, 3, 2, 1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(early, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.late(self.early(x)).mean((2, 3)))
        return logits


def tiny_network(seed: int = 0, early: int = 12) -> Network:
    """A network with random weights."""
    torch.manual_seed(seed)
    return Network("tiny", TwoStages(early).eval(), PREPROCESS, CLASSES)


def other_network() -> Network:
    """The same with other weights."""
    return tiny_network(1)


def write_photos(
    folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (40, 40)
) -> list[Path]:
    """Draw photos of smooth noise into folders named after the classes, in turn."""
    random = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        rough = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        photo = Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)
        path = folder / CLASSES[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        paths.append(path)
    return paths


def rows_in(out: Path) -> AuditRows:
    """The rows of a run, sorted by photo."""
    return read_rows(LocalFolder(out)).rows


def only_rows(*args: Any, **options: Any) -> Any:
    """Audit without the search and the report."""
    return pipeline.audit(*args, removal=False, report=False, **options)


def assert_same_rows(left: AuditRows, right: AuditRows) -> None:
    """Assert that two runs have the same rows, value by value."""
    for column in fields(AuditRows):
        if column.name != "peaks":
            _assert_equal(getattr(left, column.name), getattr(right, column.name), column.name)
    for column in fields(Peaks):
        name = column.name
        _assert_equal(getattr(left.peaks, name), getattr(right.peaks, name), name)


def _assert_equal(a: Any, b: Any, name: str) -> None:
    assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
