"""Layouts that follow from a network's operations are those that the measurement shows alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import limelight
from helpers.networks import ready
from helpers.place_networks import SCENES
from limelight.inputs import ModelInputs
from limelight.layers import Layout, measured_span, read_places
from limelight.runtime.places import measure_places
from limelight.runtime.record import recording_of
from limelight.runtime.recording import Recording
from limelight.targets import output_spec

DRAWS = 6
#: The ends of two grids lie within so many cells: windows that begin or end by half a stride beside
#: the border are taken to cover the picture, at each of several layers.
APART = 1.0

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": partial(torchvision.models.resnet18, weights=None),
    "mobilenet_v2": partial(torchvision.models.mobilenet_v2, weights=None),
    "convnext_atto": partial(timm.create_model, "convnext_atto"),
    "densenet": partial(torchvision.models.DenseNet, 8, (2, 2, 2, 2), 16),
    "squeezenet": partial(torchvision.models.squeezenet1_1, weights=None),
}


def recorded(model: nn.Module, inputs: Any) -> tuple[Recording, ModelInputs]:
    given = ModelInputs.of(inputs)
    return recording_of(model, given, output_spec(None, None, None)), given.first(1)


def compare(model: nn.Module, recording: Recording, given: ModelInputs, number: int) -> str:
    """Return what the measurement says of a call's layout: the same, nothing, or another."""
    layout, anchor = recording.tracks[number].layout, recording.anchor_of(number)
    assert layout is not None
    (measurement,) = measure_places(model, given, [anchor], draws=DRAWS)
    assert measurement is not None
    alone = read_places(measurement.moments, known=())
    if isinstance(alone, str):
        return "nothing"
    numbers = torch.arange(measurement.moments.energy.numel()).reshape(anchor.shape)
    same = alone.grid == layout.grid and is_equal(alone, layout, numbers)
    span = measured_span(measurement.moments, alone) if same else None
    if span is not None:
        found = layout.span or [(0.0, 1.0)] * len(span)
        ends = ((a[0] - b[0], a[1] - b[1]) for a, b in zip(found, span, strict=True))
        for cells, apart in zip(layout.grid, ends, strict=True):
            same = same and max(map(abs, apart)) * cells < APART
    return "the same" if same else f"{layout} {layout.grid}, but {alone} {alone.grid} {span}"


def is_equal(one: Layout, other: Layout, numbers: Tensor) -> bool:
    return torch.equal(one.to_grid(numbers), other.to_grid(numbers))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(96, 96), (64, 160)])
def test_the_layers_of_a_network_are_measured_where_they_follow(
    name: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model = ready(NETWORKS[name](), torch.float32)
    recording, given = recorded(model, torch.randn(1, 3, *size))
    certain = [call for call in recording.calls if recording.tracks[call.number].layout]
    by_grid = {recording.tracks[call.number].layout.grid: call for call in certain}  # type: ignore[union-attr]
    assert len(by_grid) >= 4
    answers = {
        call.path: compare(model, recording, given, call.number)
        for grid, call in by_grid.items()
        if min(grid) > 1
    }
    assert set(answers.values()) <= {"the same", "nothing"}, answers
    assert list(answers.values()).count("the same") >= 3, answers


@pytest.mark.parametrize("name", SCENES)
def test_the_layers_of_a_scene_are_measured_where_they_follow(name: str) -> None:
    scene = SCENES[name]
    model = scene.model()
    recording, given = recorded(model, scene.inputs())
    for call in recording.calls:
        if recording.tracks[call.number].layout is not None:
            answer = compare(model, recording, given, call.number)
            assert answer in ("the same", "nothing"), (call.path, answer)


class Placed(nn.Module):
    """Tokens to which learned positions are added, which a module puts out before."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(24, 8)
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        positions = self.positions(torch.arange(24)[None])
        tokens = positions + self.patches(x).flatten(2).transpose(1, 2)
        return cast("Tensor", self.head(self.norm(tokens).tanh().mean(1)))


def test_tokens_follow_from_the_picture_and_not_from_positions_that_are_added() -> None:
    torch.manual_seed(0)
    recording, _ = recorded(ready(Placed()), torch.randn(1, 3, 32, 48, dtype=torch.float64))
    (norm,) = (call.number for call in recording.calls if call.path == "norm")
    assert recording.tracks[norm].anchor.path == "norm"


class Summary(nn.Module):
    """Tokens, and twelve layers over a few latents that look everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.latents = nn.Parameter(torch.randn(1, 6, 16))
        self.read = nn.MultiheadAttention(16, 2, batch_first=True)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(12))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        latents = self.read(self.latents, tokens, tokens)[0]
        for layer in self.layers:
            latents = layer(latents).tanh()
        return cast("Tensor", self.head(latents.mean(1)))


def test_layers_without_a_place_are_measured_several_at_once() -> None:
    torch.manual_seed(0)
    model, runs = ready(Summary()), list[nn.Module]()
    model.patches.register_forward_hook(lambda module, _inputs, _output: runs.append(module))
    cut = limelight.cut(model, torch.randn(1, 3, 32, 48, dtype=torch.float64))
    assert cut.layer == "patches"
    assert len(runs) < 200
