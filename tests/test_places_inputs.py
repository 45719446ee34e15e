"""Which of several pictures a map belongs to: pairs, trackers, and networks with two encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.place_networks import Siamese, Tracker, TwoEncoders
from helpers.tolerances import assert_agrees, of_heatmaps
from limelight.errors import LayerError
from oracles.evidence import ScoreOf, channels_first, probe
from oracles.perturbed import scorecam
from oracles.places import heat
from oracles.weighted import gradcam

CLASS = 3


def picture(*size: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, *size, dtype=torch.float64)


def pair(batch: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    return Siamese().double().eval(), picture(32, 48, batch=batch), picture(32, 48, batch=batch)


def logit(output: Tensor) -> Tensor:
    return output[:, CLASS]


def peak(response: Tensor) -> Tensor:
    """Return the highest correlation of each picture."""
    return response.flatten(1).amax(1)


def by_hand(
    model: nn.Module, layer: str, inputs: Any, score: Callable[[Any], Tensor] = logit
) -> tuple[Tensor, Tensor]:
    """Return the activations of a layer's call, and the map."""
    path, _, call = layer.partition("#")
    found = probe(model, path, inputs, score, channels_first, call=int(call or 1))
    return found.activations, gradcam(found.activations, found.gradients)


def shown(explanation: limelight.Explanation) -> np.ndarray[Any, Any]:
    """Return what a map is drawn on: the overlay, with none of the colours in it."""
    (overlay,) = explanation.overlay(alpha=0.0)
    return np.asarray(overlay.convert("RGB"))


def drawn(image: Tensor) -> np.ndarray[Any, Any]:
    """Return a picture stretched to the full range."""
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).round().movedim(0, -1).numpy()


@pytest.mark.parametrize("call", [1, 2])
def test_the_map_of_a_call_belongs_to_the_picture_of_that_call(call: int) -> None:
    model, a, b = pair()
    _, raw = by_hand(model, f"backbone#{call}", (a, b))
    found = limelight.explain(model, (a, b), target=CLASS, layer=f"backbone#{call}")
    own = (a, b)[call - 1]
    assert_agrees(found.raw, raw)
    assert torch.equal(found.image, own)
    assert np.abs(shown(found) - drawn(own[0])).max() <= 2
    (alone,) = found.pictures()
    assert np.abs(np.asarray(alone.convert("RGB")) - drawn(own[0])).max() <= 2
    assert_agrees(found.heatmap, heat(raw, (32, 48), ()), condition=of_heatmaps(raw))


def test_a_batch_of_pairs() -> None:
    model, a, b = pair(batch=3)
    _, raw = by_hand(model, "backbone#2", (a, b))
    found = limelight.explain(model, (a, b), target=CLASS, layer="backbone#2")
    assert_agrees(found.raw, raw)
    assert torch.equal(found.image, b)
    assert torch.equal(found[1].image, b[1:2])


def score_of(model: nn.Module, a: Tensor, b: Tensor, call: int) -> ScoreOf:
    """Return the score as a function of one of both pictures."""
    with torch.no_grad():
        return lambda other: logit(model(other, b) if call == 1 else model(a, other)).detach()


@pytest.mark.parametrize("call", [1, 2])
def test_score_cam_masks_the_picture_of_the_call(call: int) -> None:
    model, a, b = pair()
    activations, _ = by_hand(model, f"backbone#{call}", (a, b))
    due = scorecam(score_of(model, a, b, call), (a, b)[call - 1], activations)
    found = limelight.explain(
        model, (a, b), target=CLASS, layer=f"backbone#{call}", method="scorecam"
    )
    assert_agrees(found.raw, due, scale=float(activations.abs().max()))


class Beside(nn.Module):
    """A network of two pictures as one of a single picture, beside one that stays."""

    def __init__(self, net: nn.Module, kept: Tensor, call: int) -> None:
        super().__init__()
        self.net, self.kept, self.call = net, kept, call

    def forward(self, x: Tensor) -> Any:
        return self.net(x, self.kept) if self.call == 1 else self.net(self.kept, x)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("method", ["occlusion:patch=0.5,stride=0.5", "saliency", "rise:masks=5"])
def test_methods_of_the_input_change_the_picture_of_the_call(method: str, call: int) -> None:
    model, a, b = pair()
    own, kept = (a, b) if call == 1 else (b, a)
    layer = f"backbone#{call}"
    alone = Beside(model, kept, call)
    due = limelight.explain(alone, own, target=CLASS, layer=f"net.{layer}", method=method)
    found = limelight.explain(model, (a, b), target=CLASS, layer=layer, method=method)
    assert torch.equal(found.image, own)
    assert_agrees(found.raw, due.raw, scale=float(model(a, b).detach().abs().max()))


def test_a_backbone_that_runs_for_both_has_to_be_numbered() -> None:
    model, a, b = pair()
    with pytest.raises(LayerError, match=r"backbone#1.*backbone#2|#2"):
        limelight.explain(model, (a, b), target=CLASS, layer="backbone")


def tracker() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a tracker, a template and a larger picture to search."""
    return Tracker().double().eval(), picture(31, 31), picture(63, 79)


@pytest.mark.parametrize(("call", "size"), [(1, (31, 31)), (2, (63, 79))])
def test_a_tracker_s_map_has_the_size_of_its_own_picture(call: int, size: tuple[int, int]) -> None:
    model, template, search = tracker()
    inputs = (template, search)
    _, raw = by_hand(model, f"backbone#{call}", inputs, peak)
    found = limelight.explain(model, inputs, target=peak, layer=f"backbone#{call}")
    assert_agrees(found.raw, raw)
    assert torch.equal(found.image, inputs[call - 1])
    assert found.heatmap.shape == (1, *size)
    if found.status[0].ok:
        # 63 pixels are 8 cells of 8 but for one: where they end is measured, not known.
        assert np.corrcoef(found.heatmap.flatten(), heat(raw, size, ()).flatten())[0, 1] > 0.99


@pytest.mark.parametrize("search_first", [True, False])
def test_pictures_are_told_apart_by_name(search_first: bool) -> None:
    model, template, search = tracker()
    inputs = {"search": search, "template": template}
    if not search_first:
        inputs = dict(reversed(inputs.items()))
    _, raw = by_hand(model, "backbone#2", inputs, peak)
    found = limelight.explain(model, inputs, target=peak, layer="backbone#2")
    assert_agrees(found.raw, raw)
    assert torch.equal(found.image, search)
    assert found.heatmap.shape == (1, 63, 79)


@pytest.mark.parametrize("sizes", [((32, 48), (32, 48)), ((32, 32), (64, 48))])
@pytest.mark.parametrize("layer", ["first", "second", None])
def test_each_encoder_looks_at_its_own_picture(
    layer: str | None, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    model = TwoEncoders().double().eval()
    inputs = tuple(picture(*size) for size in sizes)
    found = limelight.explain(model, inputs, target=CLASS, layer=layer)
    own = inputs[found.layer.startswith("second")]
    _, raw = by_hand(model, found.layer, inputs)
    assert_agrees(found.raw, raw)
    assert torch.equal(found.image, own)
    assert found.heatmap.shape == (1, *own.shape[2:])


def test_the_cut_of_a_call_takes_other_pictures_of_its_own() -> None:
    model, a, b = pair()
    cut = limelight.cut(model, (a, b), "backbone#2")
    assert torch.equal(cut.image, b)
    other = picture(32, 48)
    assert_agrees(cut.on(other).activations, by_hand(model, "backbone#2", (a, other))[0])
    assert_agrees(cut.network(other), model(a, other))


class Scaled(nn.Module):
    """A network that takes numbers of numpy's beside the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor, means: np.ndarray[Any, Any]) -> Tensor:
        scores: Tensor = self.fc(self.conv(x - torch.from_numpy(means)).relu().mean((2, 3)))
        return scores


@pytest.mark.parametrize("layer", ["conv", None])
def test_arrays_of_numpy_may_stand_beside_the_picture(layer: str | None) -> None:
    torch.manual_seed(0)
    model, image, means = Scaled().double().eval(), picture(8, 12), np.full((3, 1, 1), 0.1)
    found = limelight.explain(model, (image, means), target=CLASS, layer=layer)
    _, due = by_hand(model, "conv", (image, means))
    assert found.layer == "conv"
    assert_agrees(found.raw, due)
