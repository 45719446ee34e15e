"""The three worked examples of the article on Grad-CAM, number by number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from helpers.tolerances import assert_agrees
from limelight.evidence import Evidence
from limelight.methods import METHODS
from limelight.runtime.cut import cut, cuts

INPUT = [[1, 2, 3], [1, 1, 2], [2, 1, 2]]
CONV_WEIGHT = [[1, 0], [1, 2]]
FC_WEIGHT = [[0, 1, 0, 1], [1, 0, 1, 1]]
CONV_OUTPUT = [[4, 7], [5, 6]]
FC_OUTPUT = [13, 15]
GRADIENT_AT_CONV = [[0, 1], [0, 1]]
GRADIENT_AT_INPUT = [[0, 1, 0], [0, 2, 2], [0, 1, 2]]
JACOBIAN = [
    [1, 0, 0, 1, 2, 0, 0, 0, 0],
    [0, 1, 0, 0, 1, 2, 0, 0, 0],
    [0, 0, 0, 1, 0, 0, 1, 2, 0],
    [0, 0, 0, 0, 1, 0, 0, 1, 2],
]
ACTIVATIONS = [[[1, 0, 2], [3, 5, 0], [1, 1, 1]], [[0, 1, 0], [3, 1, 0], [1, 0, 1]]]
WEIGHTS = ["1/3", "-2/3"]
BEFORE_RELU = [["1/3", "-2/3", "2/3"], ["-1", "1", "0"], ["-1/3", "1/3", "-1/3"]]
MAP = [["1/3", "0", "2/3"], ["0", "1", "0"], ["0", "1/3", "0"]]


def numbers(nested: Any) -> Tensor:
    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [number(item) for item in value]
        over, _, under = str(value).partition("/")
        return float(over) / float(under or 1)

    return torch.tensor(number(nested), dtype=torch.float64)


def exactly(found: Tensor, expected: Any) -> None:
    assert_agrees(found, numbers(expected))


class ByHand(nn.Module):
    """The article's convolution and linear layer, behind a layer that stands for the input."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()
        self.conv = nn.Conv2d(1, 1, 2, bias=False)
        self.fc = nn.Linear(4, 2, bias=False)
        self.double()
        with torch.no_grad():
            self.conv.weight.copy_(numbers(CONV_WEIGHT)[None, None])
            self.fc.weight.copy_(numbers(FC_WEIGHT))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(self.pixels(x)).flatten(1)))


def test_the_article_s_gradient_at_the_convolution_and_at_the_input() -> None:
    image = numbers(INPUT)[None, None]
    at_conv, at_input = cuts(ByHand(), image, ["conv", "pixels"])
    exactly(at_conv.activations[0, 0], CONV_OUTPUT)
    exactly(at_conv.output[0], FC_OUTPUT)
    exactly(at_conv.gradients(0)[0, 0], GRADIENT_AT_CONV)
    exactly(at_input.gradients(0)[0, 0], GRADIENT_AT_INPUT)
    exactly(at_input.activations[0, 0], INPUT)


def test_the_article_s_jacobian_of_the_convolution() -> None:
    by_hand = ByHand()
    model = nn.Sequential(by_hand.pixels, by_hand.conv)
    found = cut(model, numbers(INPUT)[None, None], "0")
    cells: list[Callable[[Tensor], Tensor]] = [
        lambda output: output[:, 0, 0, 0],
        lambda output: output[:, 0, 0, 1],
        lambda output: output[:, 0, 1, 0],
        lambda output: output[:, 0, 1, 1],
    ]
    rows = [found.gradients(cell)[0, 0].flatten() for cell in cells]
    exactly(torch.stack(rows), JACOBIAN)
    whole = torch.autograd.functional.jacobian(found.head, found.activations)  # type: ignore[no-untyped-call]
    exactly(whole.reshape(4, 9), JACOBIAN)
    exactly(
        numbers(GRADIENT_AT_CONV).flatten() @ torch.stack(rows),
        numbers(GRADIENT_AT_INPUT).flatten().tolist(),
    )


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_article_s_weighted_sum(spread: float) -> None:
    noise = torch.randn(1, 2, 3, 3, dtype=torch.float64) * spread
    # Any gradient with these means must give this map.
    gradients = noise - noise.mean((2, 3), keepdim=True) + numbers(WEIGHTS)[None, :, None, None]
    evidence = Evidence(
        activations=numbers(ACTIVATIONS)[None],
        image=torch.zeros(1),
        score=torch.zeros(1),
        found={"gradients": gradients},
    )
    raw = METHODS["gradcam"].function(evidence)
    exactly(raw[0], BEFORE_RELU)
    exactly(raw[0].relu(), MAP)


def test_the_article_s_numbers_are_those_that_were_handed_down(shared: Path) -> None:
    given = json.loads((shared / "article" / "worked_examples.json").read_text())
    one, two = given["weighted_sum"], given["gradient_by_hand"]
    assert one["activations_K_h_w"] == ACTIVATIONS
    assert one["weights_K"] == WEIGHTS
    assert one["before_relu_h_w"] == BEFORE_RELU
    assert one["map_h_w"] == MAP
    assert two["input_1_1_3_3"] == INPUT
    assert two["conv_weight_1_1_2_2"] == CONV_WEIGHT
    assert two["fc_weight_2_4"] == FC_WEIGHT
    assert two["conv_output_2_2"] == CONV_OUTPUT
    assert two["fc_output_2"] == FC_OUTPUT
    assert two["grad_of_output0_wrt_conv_output_2_2"] == GRADIENT_AT_CONV
    assert two["jacobian_conv_output_wrt_input_4_9"] == JACOBIAN
    assert two["grad_of_output0_wrt_input_3_3"] == GRADIENT_AT_INPUT
