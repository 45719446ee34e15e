"""Has the network learned anything? The test is exact where nothing was learned."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from helpers import networks
from helpers.choices import scene
from helpers.model_state import untouched
from helpers.networks import ready
from limelight.inputs import ModelInputs
from limelight.metrics.learned import Learned, has_learned
from limelight.options import Options
from limelight.runtime.randomise import shuffled


def learned(model: nn.Module, images: Tensor, seed: int = 0) -> Learned:
    """Return the result of the test on these images, run together."""
    *_, last = has_learned(model, [ModelInputs.of(images)], Options.read(), seed=seed)
    return last


class Positions(nn.Module):
    """A small transformer whose positions are fixed waves, in a buffer."""

    waves: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        self.register_buffer("waves", torch.outer(torch.arange(9.0), torch.arange(1, 9.0)).sin())
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + 3 * self.waves
        weights = (tokens @ self.mix(tokens).transpose(1, 2)).softmax(-1)
        found: Tensor = self.head((weights @ tokens).mean(1))
        return found


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 4))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def saturated() -> nn.Module:
    model = perceptron()
    with torch.no_grad():
        model.get_parameter("3.weight").mul_(1000)
    return model


UNTRAINED: dict[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "convolutions": convolutions,
    "positions": Positions,
    "saturated": saturated,
}


@pytest.mark.parametrize("kind", UNTRAINED)
def test_random_weights_are_said_to_have_learned_at_most_at_the_nominal_rate(kind: str) -> None:
    images, found = torch.randn(8, 3, 6, 6).double(), 0
    runs = 40
    for seed in range(runs):
        torch.manual_seed(seed)
        result = learned(ready(UNTRAINED[kind]()), images, seed=1000 * seed)
        found += result.is_shown is True
    # At most 5 % each: with 40 runs, 7 or more have a chance of 0.3 %.
    assert found < 7


def test_a_trained_network_is_said_to_have_learned() -> None:
    model, images, _ = scene()
    for seed in range(3):
        result = learned(model, images[8 * seed : 8 * seed + 8], seed)
        assert result.is_shown
        assert result.p == 0.05
    assert 0.3 < result.information <= math.log(3)
    assert result.confidence > 0.9


def test_information_and_confidence_are_those_of_the_formula() -> None:
    model, images, _ = scene()
    with torch.no_grad():
        p = model(images).softmax(1).numpy()
    result = learned(model, images)
    from scipy.stats import entropy

    wanted = entropy(p.mean(0)) - entropy(p, axis=1).mean()
    assert math.isclose(result.information, wanted, rel_tol=1e-9)
    assert math.isclose(result.confidence, p.max(1).mean(), rel_tol=1e-9)


def test_a_network_that_says_the_same_of_all_has_not_learned() -> None:
    model = perceptron()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    result = learned(model, torch.randn(8, 3, 6, 6))
    assert result.p == 1
    assert "It is not shown that this network has learned anything" in result.sentence


def test_without_class_logits_it_is_not_checked() -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for network in (model, model[:1]):
        result = learned(network, torch.randn(8, 3, 6, 6))
        assert result.is_shown is None
        assert math.isnan(result.information)
        assert "was not checked, because it gives no class logits" in result.sentence


def test_broken_off_it_says_so() -> None:
    images = [ModelInputs.of(torch.randn(8, 3, 6, 6))]
    first = next(has_learned(perceptron(), images, Options.read()))
    assert first.is_shown is None
    assert first.sentence == "The test whether this network has learned anything was broken off."


# Shuffling


class Tied(nn.Module):
    """Two layers with one weight, and a buffer of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(6)
        self.register_buffer("fixed", torch.arange(6.0))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.second(self.first(x).relu())) + self.fixed
        return found


def spread(model: nn.Module) -> nn.Module:
    """Let nothing be constant, as in a trained network."""
    with torch.no_grad():
        for values in [*model.parameters(), *model.buffers()]:
            if values.is_floating_point():
                values.uniform_(0.5, 2)
    return model


def test_each_weight_has_the_same_numbers_in_other_places() -> None:
    model = spread(Tied())
    other = shuffled(model, 3)
    before, after = model.state_dict(), other.state_dict()
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert torch.equal(values.flatten().sort()[0], after[name].flatten().sort()[0]), name
        same = name in ("fixed", "norm.num_batches_tracked")
        assert torch.equal(values, after[name]) == same, name
    assert torch.equal(after["first.weight"], after["second.weight"])
    assert other.get_parameter("first.weight") is other.get_parameter("second.weight")


def test_a_seed_shuffles_always_alike() -> None:
    model = spread(Tied())
    first, again, other = (shuffled(model, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])
    assert not torch.equal(first["first.bias"], first["second.bias"])


def test_every_order_is_as_likely() -> None:
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 1.0, 2.0]]))
    counts = dict[tuple[float, ...], int]()
    for seed in range(600):
        order = tuple(shuffled(model, seed).get_parameter("weight").flatten().tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert max(abs(count - 100) for count in counts.values()) < 40  # four standard deviations


@pytest.mark.parametrize("kind", [Tied, networks.Recurrent, networks.TinyViT, networks.ResidualCNN])
def test_the_model_is_left_as_it_was(kind: Callable[[], nn.Module]) -> None:
    model = spread(kind()).train()
    model.register_forward_hook(lambda *_: None)
    weights = copy.deepcopy(model.state_dict())
    with untouched(model):
        other = shuffled(model, 1)
    assert all(torch.equal(weights[name], values) for name, values in model.state_dict().items())
    own = {values.data_ptr() for values in model.state_dict().values()}
    assert not own & {p.data_ptr() for p in other.parameters()}
