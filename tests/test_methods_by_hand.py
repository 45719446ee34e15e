"""Where methods of a layer coincide, and what is known of them by hand."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.method_scenes import ONE_RUN, SCENES, SCENES_OF_CAM
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees
from limelight.evidence import Evidence
from limelight.methods import METHODS, find_method
from oracles.evidence import classes
from oracles.weighted import weighed


@pytest.mark.parametrize("method", ["cam", "hirescam", "xgradcam", "shapleycam", "reciprocam"])
@pytest.mark.parametrize("name", SCENES_OF_CAM)
def test_behind_a_pool_and_a_linear_layer_these_are_gradcam(method: str, name: str) -> None:
    gradcam, found = SCENES[name].explained("gradcam"), SCENES[name].explained(method)
    cells = gradcam.raw[0].numel() if method == "cam" else 1
    limit = (
        "scores with and without a cell, whose difference is smaller" if "cipro" in method else None
    )
    assert_agrees(found.raw, gradcam.raw * cells, limit=limit)
    assert_agrees(found.heatmap, gradcam.heatmap, limit=limit)


def test_where_the_head_is_piecewise_linear_shapleycam_is_gradcam() -> None:
    scene = SCENES["cnn"]
    assert_agrees(scene.explained("shapleycam").raw, scene.explained("gradcam").raw)


def test_where_no_activation_is_negative_gradcam_elementwise_is_layercam() -> None:
    scene = SCENES["cnn"]
    assert_agrees(scene.explained("gradcam-elementwise").raw, scene.explained("layercam").raw)


class Flattened(nn.Module):
    """A linear layer reads all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4 * 3 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(x).flatten(1)))


def test_in_front_of_a_linear_layer_hirescam_sums_to_the_score_less_its_bias() -> None:
    model, images = ready(Flattened()), torch.randn(3, *PICTURE, dtype=torch.float64)
    found = limelight.explain(model, images, target=CHOSEN, method="hirescam", layer="conv")
    score = classes(CHOSEN)(model(images)) - model.fc.bias[CHOSEN]
    assert_agrees(found.raw.sum((1, 2)), score.detach())


def test_behind_a_linear_head_the_weights_of_ablationcam_sum_to_the_score_less_its_bias() -> None:
    scene = SCENES["pool"]
    weights = (scene.g * scene.a).sum(scene.axes)
    assert_agrees(scene.explained("ablationcam").raw, weighed(scene, weights))
    assert_agrees(weights.sum(1), scene.score(scene.images) - scene.linear.bias[CHOSEN].detach())


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # A = 2, 3, -1.5 and g = 0.5, -4, 1
        ("gradcam", 2 * 0.5 + 3 * -4 - 1.5),
        ("hirescam", 2 * 0.5 + 3 * -4 - 1.5),
        ("xgradcam", 2 * 0.5 + 3 * -4 - 1.5),
        ("layercam", 2 * 0.5 + 0 - 1.5),
        ("gradcam-elementwise", 2 * 0.5 + 0 + 0),
        ("gradcam++", 2 * 0.5 / (2 + 2 * 0.5) + 0 - 1.5 * 1 / (2 - 1.5 * 1)),
        ("eigencam", (2**2 + 3**2 + 1.5**2) ** 0.5),
        ("eigengradcam", -((1**2 + 12**2 + 1.5**2) ** 0.5)),
        ("fem", 0.0),
    ],
)
def test_a_single_cell_by_hand(method: str, expected: float) -> None:
    activations = torch.tensor([2.0, 3.0, -1.5], dtype=torch.float64).reshape(1, 3, 1, 1)
    gradients = torch.tensor([0.5, -4.0, 1.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    found = METHODS[method].raw(evidence_of(activations, gradients))
    assert_agrees(found.item(), expected, scale=12.0)  # -4 times 3


def evidence_of(activations: Tensor, gradients: Tensor | None = None) -> Evidence:
    return Evidence(
        activations=activations,
        image=activations,
        score=activations.new_ones(len(activations)),
        found={} if gradients is None else {"gradients": gradients},
    )


def test_fem_reads_the_spread_of_a_population() -> None:
    # Of 0, 0, 0, 4 the mean is 1, the spread 3 ** 0.5 = 1.73; that of a sample would be 2.
    activations = torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64).reshape(1, 1, 2, 2)
    kept = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 2, 2)
    evidence = evidence_of(activations)
    assert_agrees(METHODS["fem"].set(deviations=1.6).raw(evidence), kept)
    assert not METHODS["fem"].set(deviations=1.8).raw(evidence).any()


def test_xgradcam_gives_a_channel_that_sums_to_zero_no_weight() -> None:
    activations = torch.tensor([[1.0, -1.0], [2.0, 1.0]], dtype=torch.float64)[None]
    gradients = torch.tensor([[5.0, 7.0], [1.0, 4.0]], dtype=torch.float64)[None]
    found = METHODS["xgradcam"].raw(evidence_of(activations, gradients))
    assert_agrees(found, torch.tensor([[2.0, 1.0]], dtype=torch.float64) * (2 * 1 + 1 * 4) / 3)


@pytest.mark.parametrize("method", ["eigencam", "eigencam:centred=true"])
def test_eigencam_finds_the_one_pattern_that_there_is(method: str) -> None:
    pattern, strengths = torch.randn(2, 3, 4).double(), torch.randn(2, 5).double()
    activations = strengths[:, :, None, None] * pattern[:, None]
    found = find_method(method).raw(evidence_of(activations))
    kept = pattern - pattern.mean((1, 2), keepdim=True) if "centred" in method else pattern
    expected = kept * strengths.norm(dim=1)[:, None, None]
    assert_agrees(found, expected * strengths.sum(1).sign()[:, None, None])


@pytest.mark.parametrize("method", sorted(set(ONE_RUN) - {"shapleycam"}))
@pytest.mark.parametrize("mean", [True, False], ids=["a mean", "none, as after a layer norm"])
def test_the_order_of_the_channels_does_not_matter(method: str, mean: bool) -> None:
    activations, gradients = torch.randn(2, 9, 8, 3, 4, dtype=torch.float64)
    if not mean:
        activations = activations - activations.mean(1, keepdim=True)
    order = torch.randperm(8)
    found = find_method(method).raw(evidence_of(activations, gradients))
    other = find_method(method).raw(evidence_of(activations[:, order], gradients[:, order]))
    assert_agrees(other, found)
