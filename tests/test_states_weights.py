"""Weights that are no plain weights, and models that are no longer Python."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from helpers.model_state import untouched
from helpers.plain_hooks import CLASS
from helpers.plain_network import (
    IMAGES,
    Net,
    assert_same,
    by_hand,
    every_method,
    explain,
    net,
    old,
    quantised_dynamically,
    quantised_statically,
)
from helpers.tolerances import assert_agrees
from limelight.errors import LimelightError, MethodError, ModelError

# ---- weights that are no plain weights -------------------------------------------------------


@every_method
@pytest.mark.parametrize("norm", ["spectral_norm", "weight_norm", "orthogonal"])
@pytest.mark.parametrize("training", [True, False])
def test_parametrized(training: bool, norm: str, method: str) -> None:
    """The map is that of the network whose weights are what the parametrization makes."""
    model = net()
    for module in (model.conv, model.fc):
        getattr(parametrizations, norm)(module)
    model(IMAGES)
    model.eval()
    plain = net()
    with torch.no_grad():
        for ours, theirs in ((plain.conv, model.conv), (plain.fc, model.fc)):
            ours.weight.copy_(theirs.weight)
    assert not torch.equal(plain.conv.weight, net().conv.weight) or norm == "weight_norm"
    model.train(training)
    with untouched(model):
        found = explain(model, method, layer="conv" if "cam" in method else None)
    assert_agrees(found.raw, explain(plain, method).raw)
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(plain))
        assert explain(model, method).layer == "conv"


class WeightOnly(nn.Module):
    """A linear layer whose weights are kept as int8, with a scale for each output."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


@every_method
def test_weights_kept_as_int8(method: str) -> None:
    """Gradients flow through them: the map is that of the weights they stand for."""
    model, plain = net(), net()
    kept = WeightOnly(model.fc)
    model.add_module("fc", kept)
    with torch.no_grad():
        plain.fc.weight.copy_(kept.weight * kept.scale)
    assert not torch.equal(plain.fc.weight, net().fc.weight)
    with untouched(model):
        assert_agrees(explain(model, method).raw, explain(plain, method).raw)
    assert_agrees(explain(model, "gradcam").raw, by_hand(plain))


@old
@pytest.mark.parametrize(
    ("method", "layer"),
    [("gradcam", None), ("gradcam", "conv"), ("saliency", None), ("guided-backprop", None)],
)
@pytest.mark.parametrize("quantised", [quantised_dynamically, quantised_statically])
def test_quantised(quantised: Callable[[], nn.Module], method: str, layer: str | None) -> None:
    """No gradient flows through integers, and that is said; never a blank map without a reason."""
    with pytest.raises(LimelightError, match=r"(?i)quanti[sz]ed"):
        explain(quantised(), method, IMAGES.float(), layer=layer)


@old
def test_quantised_head_by_a_method_without_gradients() -> None:
    """Ablation needs none: the map is that of a hook that switches channels off."""
    model, images = quantised_dynamically(), IMAGES[:1].float()
    off: list[int] = []
    activations: list[Tensor] = []

    def switch(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        activations.append(output)
        keep = torch.tensor([float(k not in off) for k in range(8)])
        return output * keep[:, None, None]

    twin = copy.deepcopy(model)
    twin.conv.register_forward_hook(switch)  # type: ignore[union-attr]
    with torch.no_grad():
        whole = twin(images)[:, CLASS]
        expected = torch.zeros(1, *activations[0].shape[2:])
        for channel in range(8):
            off[:] = [channel]
            weight = whole - twin(images)[:, CLASS]
            expected += weight[:, None, None] * activations[0][:, channel]
    # One at a time: the range of the integers is that of the whole batch.
    found = explain(model, "ablationcam", images, layer="conv", chunk=1)
    assert_agrees(found.raw, expected)


@old
@pytest.mark.parametrize("training", [True, False])
def test_quantisation_in_training(training: bool) -> None:
    """Fake quantisation passes gradients on; its observers do not move."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    images = IMAGES.float()
    model = prepare_qat_fx(
        net(dtype=torch.float32).train(), get_default_qat_qconfig_mapping("x86"), (images,)
    )
    for _ in range(5):
        model(images)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.train(training)
    found = explain(model, "gradcam", images, layer="conv")
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert found.raw.any()
    assert_agrees(found.raw, by_hand(model, "conv", images))


# ---- models that are no longer Python --------------------------------------------------------


class Typed(Net):
    """As far as torch.jit can read it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(self.relu(self.stem(x)))).mean((2, 3))
        return self.fc(self.drop(x))  # type: ignore[no-any-return]

    @torch.jit.unused
    def head(self, x: Tensor) -> Any:
        return super().head(x)


JIT: dict[str, Callable[[nn.Module], Any]] = {
    "scripted": torch.jit.script,
    "traced": lambda model: torch.jit.trace(model, IMAGES),  # type: ignore[no-untyped-call]
    "frozen": lambda model: torch.jit.freeze(torch.jit.script(model.eval())),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@every_method
@pytest.mark.parametrize("how", JIT)
def test_scripted_and_traced(how: str, method: str) -> None:
    """They are refused, and the error says what to pass."""
    script = cast("nn.Module", JIT[how](net(Typed)))
    assert_agrees(script(IMAGES).detach(), net()(IMAGES).detach())
    with pytest.raises(ModelError, match=r"ScriptModule.*Pass the eager model"):
        explain(script, method)
    if "cam" in method:
        with pytest.raises(ModelError, match=r"ScriptModule.*Pass the eager model"):
            explain(script, method, layer="conv")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", [None, "conv"])
@pytest.mark.parametrize("part", ["stem", "fc", "conv", "drop"])
def test_a_scripted_part(part: str, layer: str | None, training: bool) -> None:
    """It runs as one module, in evaluation mode, and the map is that of the network."""
    model = net()
    model.add_module(part, torch.jit.script(model.get_submodule(part)))
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for method in ("gradcam", "ablationcam", "saliency", "scorecam"):
        found = explain(model, method, layer=layer if "cam" in method else None)
        assert_agrees(found.raw, explain(net(), method).raw)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert {module.training for module in model.modules()} == {training}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_inside_a_scripted_part() -> None:
    """There is nothing to cut there, and no rule of gradients reaches there."""
    model = net()
    model.add_module("stem", torch.jit.script(model.stem))
    with pytest.raises(
        ModelError, match=r"'stem\.0' is inside 'stem', .*ScriptModule.*Pass the eager model"
    ):
        explain(model, "gradcam", layer="stem.0")
    for method in ("guided-backprop", "fullgrad"):
        with pytest.raises(MethodError, match=r"the inside of 'stem', a ScriptModule"):
            explain(model, method)


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(model, (IMAGES,), dynamic_shapes=({0: torch.export.Dim("b")},))


@pytest.mark.parametrize("layer", [None, "conv"])
def test_exported(layer: str | None) -> None:
    """Its modules no longer run one by one, and that is said."""
    program = exported(net())
    with pytest.raises(ModelError, match="ExportedProgram"):
        explain(cast("nn.Module", program), "gradcam", layer=layer)
    with pytest.raises(LimelightError, match=r"(?i)export"):
        explain(program.module(), "gradcam", layer=layer)


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency", "scorecam"])
def test_exported_and_unflattened(method: str) -> None:
    """Now they do, and the map is that of the network."""
    assert_same(torch.export.unflatten(exported(net())), method)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "scorecam"])
@pytest.mark.parametrize("place", ["stem", "fc"])
@pytest.mark.parametrize("training", [True, False])
def test_lazy(training: bool, place: str, method: str) -> None:
    """Parameters that are not there yet: the model has to run first, and then it is like any."""
    model = net()
    lazy = nn.LazyConv2d(6, 3, padding=1) if place == "stem" else nn.LazyLinear(5)
    model.add_module(place, lazy.double())
    model.train(training)
    for layer in (None, "conv") if "cam" in method else (None,):
        with pytest.raises(ModelError, match=r"not initialised yet\. Run the model once"):
            explain(model, method, layer=layer)
    model.eval()(IMAGES)
    model.train(training)
    found = explain(model, method)
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(model))
    assert found.raw.any()
