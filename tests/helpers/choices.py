"""A network that has learned, as `choose` is given it: by name, with photos of squares."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor, nn

from helpers.patterns import trained
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess

CLASSES = ("red", "green", "blue")
LEARNED = ("--model", "helpers.choices:learned")
FRESH = ("--model", "helpers.choices:fresh")
#: So few candidates and steps that a choice takes seconds.
QUICK = ("--methods", "gradcam random", "--layer", "features", "--metrics", "deletion:steps=4")


@cache
def _trained() -> tuple[nn.Module, Tensor, Tensor]:
    return trained(24)


def scene() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the trained network, 24 pictures, and where their squares are."""
    model, images, where = _trained()
    return copy.deepcopy(model), images.clone(), where.clone()


def learned() -> Network:
    """Return the trained network, for photos."""
    square = Preprocess(size=(24, 24), resize=24, mean=(0.4,) * 3, std=(0.2,) * 3)
    return Network("learned", scene()[0].float(), square, CLASSES)


def fresh() -> Network:
    """Return the same network with random weights."""
    network = learned()
    for module in network.model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return network


def save_squares(folder: Path) -> Path:
    """Save twenty photos of squares, and boxes.csv that says where they are."""
    _, images, where = scene()
    place = folder / "photos"
    place.mkdir()
    lines = ["photo,x1,y1,x2,y2"]
    for number in range(20):
        pixels = (255 * (0.4 + 0.2 * images[number]).clamp(0, 1)).round().byte()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place / f"{number:02}.png")
        y, x = where[number].nonzero().amin(0).tolist()
        lines.append(f"{number:02}.png,{x},{y},{x + 8},{y + 8}")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture
def squares(folder: Path) -> Path:
    """Twenty photos of squares, with boxes.csv beside their folder."""
    return save_squares(folder)
