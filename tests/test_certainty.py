"""Layouts that follow from a network's operations are those that the measurement shows alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

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
