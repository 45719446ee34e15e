"""Random weights, layer by layer: the cascade, and that a network is left as it was."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.metric_cases import QUICK, explained, network, pictures
from helpers.model_state import untouched
from helpers.networks import ready
from helpers.patterns import trained
from helpers.tolerances import assert_agrees
from limelight.inputs import ModelInputs
from limelight.runtime.randomise import cascade

# The network is left as it was


class Tied(networks.Chain):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.fourth = nn.Conv2d(6, 6, 3, padding=1)
        self.fourth.weight = self.third.weight

    def finish(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.fourth(self.third(x).tanh()).tanh().mean((2, 3))))


class Attends(nn.Module):
    """PyTorch's own attention, which reads its weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return cast("Tensor", self.head(x.tanh().mean(1)))


class NoReset(nn.Module):
    """Weights of its own, and no way to reset them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.body = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.body(x).mean((2, 3)) @ self.weight.T)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": networks.ResidualCNN,
    "vit": networks.TinyViT,
    "lstm": networks.Recurrent,
    "attention": Attends,
    "encoder": networks.Encoder,
    "tied": Tied,
    "no reset": NoReset,
    "channels last": networks.ChannelsLast,
    "called twice": networks.CalledTwice,
    "list": networks.KeepsAList,
}
every_network = pytest.mark.parametrize("kind", NETWORKS)


def of_kind(kind: str) -> nn.Module:
    torch.manual_seed(5)
    model = ready(NETWORKS[kind]())
    for module in model.modules():  # as trained: nothing is constant
        if isinstance(module, nn.LayerNorm | nn.MultiheadAttention):
            for parameter in module.parameters():
                nn.init.normal_(parameter, 0.5, 0.5)
    return model


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("kind", ["residual", "lstm", "attention", "tied"])
def test_every_metric_leaves_the_network_as_it_was(kind: str, training: bool) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 16, 16))
    model.train(training)
    handle = model.register_forward_hook(lambda *_: None)
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.ones_like(parameter) if number % 3 == 0 else None
    state = {name: one.clone() for name, one in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    numbers = np.random.get_state()[1].tolist()  # type: ignore[index]
    objects = torch.zeros(2, 16, 16)
    objects[:, 3:9, 4:10] = 1
    result = limelight.explain(model, images, method="input-x-gradient")
    for metric in QUICK.values():
        with untouched(model):
            limelight.measure(model, images, result, metrics=[metric], objects=objects)
        for name, one in model.state_dict().items():
            assert torch.equal(one, state[name]), f"{metric}: {name}"
        for parameter, grad in zip(model.parameters(), grads, strict=True):
            assert (parameter.grad is None) == (grad is None)
            assert grad is None or torch.equal(cast("Tensor", parameter.grad), grad)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index]
    handle.remove()


class Fails(networks.ResidualCNN):
    """Raises at a certain run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = [math.inf]

    def forward(self, x: Tensor) -> Tensor:
        self.runs[0] -= 1
        if self.runs[0] <= 0:
            raise KeyError("the network's own")
        return super().forward(x)


@pytest.mark.parametrize("after", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["deletion", "road", "max-sensitivity", "parameter-randomisation"])
def test_a_network_that_raises_midway_is_left_as_it_was(name: str, after: int) -> None:
    torch.manual_seed(0)
    model, images = ready(Fails()), pictures(2)
    result = explained(model, images)
    state = {key: one.clone() for key, one in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    model.runs[0] = after
    with pytest.raises(KeyError, match="the network's own"):
        limelight.measure(model, images, result, metrics=[name], chunk=1)
    model.runs[0] = math.inf
    for key, one in model.state_dict().items():
        assert torch.equal(one, state[key])
    assert [module.training for module in model.modules()] == training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


# The cascade


def stages(
    model: nn.Module, images: Tensor, steps: int = 100, seed: int = 0
) -> list[tuple[str, float, dict[str, Tensor], Tensor]]:
    """Return each stage: its layer, share, weights, and what the network puts out."""
    found = []
    for layer, share, shadow in cascade(model, ModelInputs.of(images), steps, seed):
        state = {name: one.detach().clone() for name, one in shadow.named_parameters()}
        with torch.no_grad():
            found.append((layer, share, state, shadow(images)))
    return found


def changed(model: nn.Module, state: dict[str, Tensor]) -> set[str]:
    return {name for name, one in model.named_parameters() if not torch.equal(one, state[name])}


@every_network
def test_the_cascade_goes_from_the_logits_to_all_weights(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    with torch.no_grad():
        output = model(images)
    found = stages(model, images)
    assert found[-1][1] == 1
    assert changed(model, found[-1][2]) == {name for name, _ in model.named_parameters()}
    before = set[str]()
    for (_layer, _share, state, other), (_, share) in zip(
        found, [(None, s[1]) for s in found], strict=True
    ):
        now = changed(model, state)
        assert before < now, "every stage adds a layer"
        assert 0 < share <= 1
        assert not torch.equal(other, output), "what is drawn is what the network reads"
        before = now
    for previous, following in itertools.pairwise(found):
        # Attention empties its last layer's bias with its own, and what is tied is drawn twice.
        for name in changed(model, previous[2]) - {"fourth.weight", "third.weight"}:
            if not name.endswith("out_proj.bias"):
                assert torch.equal(previous[2][name], following[2][name]), "drawn once"


@every_network
def test_the_shadow_is_an_ordinary_network_with_those_weights(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    for _layer, _share, shadow in cascade(model, ModelInputs.of(images), 100, 0):
        twin = copy.deepcopy(model)
        twin.load_state_dict(shadow.state_dict())
        with torch.no_grad():
            assert_agrees(shadow(images), twin(images))


@pytest.mark.parametrize(
    ("kind", "logits"),
    [
        ("residual", "classifier.2."),
        ("vit", "head."),
        ("lstm", "fc."),
        ("attention", "head."),
        ("encoder", "head."),
        ("tied", "fc."),
        ("channels last", "head."),
    ],
)
def test_the_first_stage_is_the_layer_that_makes_the_logits(kind: str, logits: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    layer, _share, state, _output = stages(model, images)[0]
    assert f"{layer}." == logits
    assert changed(model, state) == {f"{logits}weight", f"{logits}bias"}


def test_tied_weights_stay_tied() -> None:
    model, images = of_kind("tied"), pictures(2)
    for _layer, _share, shadow in cascade(model, ModelInputs.of(images), 100, 0):
        third, fourth = shadow.get_submodule("third"), shadow.get_submodule("fourth")
        assert third.weight is fourth.weight


@every_network
def test_the_cascade_is_seeded(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    torch.manual_seed(77)
    random = torch.get_rng_state()
    first, again, other = (stages(model, images, 3, seed)[-1][2] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), random)
    for name, one in first.items():
        assert torch.equal(one, again[name])
        assert not torch.equal(one, other[name]) or one.std() == 0  # as norms begin


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 50])
def test_however_many_steps_in_the_end_all_weights_are_random(steps: int) -> None:
    model, images = network(), pictures(2)
    found = stages(model, images, steps)
    assert len(found) <= steps
    assert found[-1][1] == 1


def test_a_map_that_does_not_read_the_weights_does_not_change() -> None:
    model, images = network(), pictures()
    for method in ("centre", "random"):
        measured = limelight.measure(
            model,
            images,
            explained(model, images, method=method),
            metrics=["parameter-randomisation:steps=3"],
        )
        for part in ("value", "absolute", "ssim"):
            one = measured.estimate(method, "parameter-randomisation", part=part)
            for estimate in (one.own, one.random, one.centre):
                assert_agrees(estimate.value, 1.0)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "parametrised"])
def test_normalised_weights_are_drawn_anew_and_left_alone(kind: str) -> None:
    torch.manual_seed(3)
    model, images = networks.Chain(), pictures(2)
    wrap: dict[str, Callable[[nn.Module], nn.Module]] = {
        "weight norm": torch.nn.utils.weight_norm,
        "spectral norm": torch.nn.utils.spectral_norm,
        "parametrised": torch.nn.utils.parametrizations.weight_norm,
    }
    model.second = cast("nn.Conv2d", wrap[kind](model.second))
    ready(model)
    with torch.no_grad():
        output = model(images)
    with untouched(model):
        found = stages(model, images)
    with torch.no_grad():
        assert torch.equal(model(images), output)
    assert changed(model, found[-1][2]) == {name for name, _ in model.named_parameters()}


# Sanity: on a network that learned something


def test_on_a_network_that_was_trained_maps_beat_chance_and_go_away_with_the_weights() -> None:
    torch.manual_seed(0)
    model, images, boxes = trained()
    result = limelight.explain(model, images, layer="features.2")
    measured = limelight.measure(
        model,
        images,
        result,
        metrics=["deletion:steps=20", "insertion:steps=20", "road:steps=4", "energy-pointing"],
        objects=boxes,
    )
    for metric in ("insertion", "road", "energy-pointing"):
        estimate = measured.estimate("gradcam", metric)
        assert estimate.own.value > estimate.random.value, metric
    assert measured.estimate("gradcam", "energy-pointing").over_random.low > 0
