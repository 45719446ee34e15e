"""What each method costs, counted rather than timed: passes through body and head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import limelight
from limelight.methods import METHODS

IMAGES, CHANNELS, SIZE, GRID = 2, 5, 12, 6 * 6
#: A network with weights drawn so that no channel of the layer is dead on these images.
LAYER = "3"


class Tally(nn.Module):
    """Passes a tensor on, and notes of how many images it is."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def forward(self, x: Tensor) -> Tensor:
        self.log.append((self.name, len(x)))
        return x


class Passes:
    """A small network that counts: passes, and images in them, through its body and its head."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.log = list[tuple[str, int]]()
        self.model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            Tally("body", self.log),
            nn.Conv2d(6, CHANNELS, 3, stride=2, padding=1),
            nn.ReLU(),
            Tally("head", self.log),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(CHANNELS, 4),
        ).eval()
        self.images = torch.randn(IMAGES, 3, SIZE, SIZE)
        for layer in (None, LAYER, limelight.INPUT):  # the record is made once for a network
            limelight.explain(self.model, self.images, layer=layer)
        self.log.clear()

    @property
    def passes(self) -> tuple[int, int]:
        count = Counter(name for name, _ in self.log)
        return count["body"], count["head"]

    @property
    def rows(self) -> tuple[int, int]:
        total = Counter[str]()
        for name, images in self.log:
            total[name] += images
        return total["body"], total["head"]


@pytest.fixture
def network() -> Passes:
    return Passes()


ONE_PASS = [
    row.name
    for row in METHODS.values()
    if row.needs <= {"gradients", "curvature"} and row.family != "attention"
]


@pytest.mark.parametrize("name", ONE_PASS)
def test_gradients_take_one_pass_and_nothing_more(network: Passes, name: str) -> None:
    layer = LAYER if METHODS[name].place == "layer" else None
    limelight.explain(network.model, network.images, method=name, layer=layer)
    assert network.passes == (1, 1)
    assert network.rows == (IMAGES, IMAGES)


def test_any_number_of_methods_classes_and_layers_takes_one_pass(network: Passes) -> None:
    limelight.compare(
        network.model,
        network.images,
        methods=ONE_PASS,
        targets=[0, 1, 2, 3],
        layers=["0", LAYER],
    )
    assert network.passes == (1, 1)


def test_the_methods_that_take_one_pass_are_most() -> None:
    assert {"gradcam", "layercam", "eigencam", "saliency", "shapleycam"} <= set(ONE_PASS)
    assert len(ONE_PASS) >= 15


#: Of each image, how many variants a method's definition asks for; what only the head is run on
#: does not touch the body.
VARIANTS = {
    "ablationcam": CHANNELS + 1,  # and all channels, run in the same way
    "reciprocam": GRID + 1,  # and no cell at all
    "scorecam": CHANNELS + 1,  # and the black image
    "sscam:samples=3": 3 * CHANNELS + 1,
    "iscam:samples=4": 4 * CHANNELS + 1,
    "smoothgrad:samples=5": 5,
    "integrated-gradients:steps=6": 6 + 1,  # and the baseline, to tell the gap
    "rise:masks=20": 20,
}


@pytest.mark.parametrize("method", VARIANTS)
def test_perturbations_take_the_runs_that_they_are_defined_by(network: Passes, method: str) -> None:
    row = METHODS[method.partition(":")[0]]
    layer = LAYER if row.place == "layer" else None
    limelight.explain(network.model, network.images, method=method, layer=layer)
    body, head = network.rows
    wanted = IMAGES * VARIANTS[method]
    if row.needs == {"head"} and row.place == "layer":
        # The pass itself, and two that are recorded: of all images, and of one fewer.
        assert body == IMAGES + IMAGES + IMAGES - 1
        assert head <= body + wanted
        assert head >= body + wanted - IMAGES * CHANNELS  # dead channels are left out
    else:
        assert body == head
        assert body <= IMAGES + wanted
        assert body >= IMAGES + wanted - IMAGES * CHANNELS


@pytest.mark.parametrize(("chunk", "passes"), [(1, 20), (8, 3), (40, 1)])
def test_variants_go_through_in_chunks(network: Passes, chunk: int, passes: int) -> None:
    limelight.explain(network.model, network.images[:1], method="rise:masks=20", chunk=chunk)
    assert network.passes == (1 + passes, 1 + passes)


def test_many_runs_are_worth_two_that_find_out_how_images_should_lie(network: Passes) -> None:
    limelight.explain(network.model, network.images[:1], method="rise:masks=63", chunk=9)
    before = network.passes[0]
    assert before == 1 + 7
    limelight.explain(network.model, network.images[:1], method="rise:masks=64", chunk=8)
    assert network.passes[0] - before == 1 + 8 + 2
    limelight.explain(network.model, network.images[:1], method="rise:masks=64", chunk=8)
    assert network.passes[0] - before == 1 + 8 + 2 + 1 + 8  # it is remembered


class Backwards(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what every convolution's backward was asked for, and every product of matrices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.convolutions = list[list[bool]]()
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.convolutions.append(list(args[-1]))
        self.products += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


@contextmanager
def trained(model: nn.Module) -> Iterator[None]:
    """All parameters want a gradient, as in training; none may get one."""
    assert all(parameter.requires_grad for parameter in model.parameters())
    yield
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("layer", ["0", LAYER, limelight.INPUT])
def test_no_gradient_of_a_parameter_is_computed(network: Passes, layer: str) -> None:
    with trained(network.model), Backwards() as seen:
        limelight.explain(network.model, network.images, layer=layer)
    behind = {"0": 1, LAYER: 0, limelight.INPUT: 2}[layer]  # convolutions after the cut
    assert seen.convolutions == [[True, False, False]] * behind
    assert seen.products == 1  # of the linear layer, for its input; none for its weight


def test_the_count_would_see_them(network: Passes) -> None:
    with Backwards() as seen:
        network.model(network.images).sum().backward()
    assert [True, True, True] in seen.convolutions
    assert seen.products == 2
