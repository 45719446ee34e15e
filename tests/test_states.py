"""Models in the modes and wrappers of a user's day: the map is that of the plain network."""

from __future__ import annotations

import copy
import gc
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.overrides import TorchFunctionMode

import limelight
from helpers.model_state import hooks, untouched
from helpers.networks import ready
from helpers.plain_network import (
    IMAGES,
    METHODS,
    Net,
    assert_same,
    by_hand,
    compiled,
    every_method,
    explain,
    net,
    plain,
    run,
)
from helpers.tolerances import LAYERS, NETWORK, assert_agrees
from limelight.errors import LayerError, LimelightError

# ---- modes -----------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("mode", ["training", "norms frozen", "dropout alone", "evaluation"])
def test_training_mode(mode: str, method: str) -> None:
    """The map is that of evaluation mode; statistics and dropout are untouched."""
    model = net().train(mode in ("training", "norms frozen"))
    model.stem[1].train(mode == "training")
    model.drop.train(mode != "evaluation")
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    with untouched(model):
        assert_same(model, method)
    for key, value in model.state_dict().items():
        assert torch.equal(value, statistics[key])
    model.train()
    before = statistics["stem.1.running_mean"]
    model(IMAGES)
    assert not torch.equal(model.state_dict()["stem.1.running_mean"], before)  # it still trains


@every_method
@pytest.mark.parametrize("which", ["stem", "conv", "fc", ""])
def test_frozen(which: str, method: str) -> None:
    model = net()
    model.get_submodule(which).requires_grad_(False)
    with untouched(model):
        assert_same(model, method)


@every_method
def test_channels_last_in_memory(method: str) -> None:
    model = net().to(memory_format=torch.channels_last)
    images = IMAGES.to(memory_format=torch.channels_last)
    assert_same(model, method, images=images)
    for pair in ((model, IMAGES), (net(), images)):
        assert_same(pair[0], method, images=pair[1])


#: How many roundings there are on the way.
PRECISION = {torch.float16: LAYERS, torch.bfloat16: LAYERS, torch.float32: NETWORK}


@every_method
@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_precision(training: bool, dtype: torch.dtype, method: str) -> None:
    model = net(dtype=dtype).train(training)
    with untouched(model):
        assert_same(model, method, images=IMAGES.to(dtype), dtype=dtype, terms=PRECISION[dtype])
    assert explain(model, method, IMAGES.to(dtype)).raw.dtype is torch.float32


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("place", ["around the call", "inside", "around the head"])
def test_autocast(place: str, dtype: torch.dtype, method: str) -> None:
    class Casting(Net):
        def forward(self, x: Tensor) -> Any:
            with torch.autocast("cpu", dtype, enabled=place == "inside"):
                x = self.conv(self.relu(self.stem(x)))
            with torch.autocast("cpu", dtype, enabled=place != "around the call"):
                return self.head(x)

    model = net(Net if place == "around the call" else Casting, torch.float32).train()
    around = torch.autocast("cpu", dtype) if place == "around the call" else nullcontext()
    with around, untouched(model):
        assert_same(model, method, images=IMAGES.float(), dtype=dtype, terms=PRECISION[dtype])
        assert torch.is_autocast_enabled("cpu") is (place == "around the call")


class Looks(TorchFunctionMode):
    """Sees every call of a torch function, and changes nothing."""

    def __torch_function__(
        self, func: Any, types: object, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "anomaly detection": torch.autograd.detect_anomaly,
    "saved tensors moved": torch.autograd.graph.save_on_cpu,
    "no threads in the backward": lambda: torch.autograd.set_multithreading_enabled(False),
    "a mode of the user's": Looks,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@every_method
@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_of_the_caller(context: str, method: str) -> None:
    model = net()
    plain(method)  # outside
    with CONTEXTS[context](), untouched(model):
        assert_same(model, method)


# ---- wrappers --------------------------------------------------------------------------------


def compiled_and_run(model: nn.Module) -> nn.Module:
    model = compiled(model)
    run(model)
    return model


def with_compiled_child(model: nn.Module) -> nn.Module:
    for name in ("stem", "fc"):
        model.add_module(name, compiled(model.get_submodule(name)))
    run(model)
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    model.get_submodule("conv").compile(backend="eager")
    run(model)
    return model


def explained_and_copied(model: nn.Module) -> nn.Module:
    limelight.explain(model, IMAGES)
    return copy.deepcopy(model)


def explained_and_saved(model: nn.Module) -> nn.Module:
    limelight.explain(model, IMAGES)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return cast("nn.Module", torch.load(file, weights_only=False))


WRAPPED: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "compiled": (compiled, ""),
    "compiled and run": (compiled_and_run, ""),
    "with a compiled child": (with_compiled_child, ""),
    "compiled in place": (compiled_in_place, ""),
    "DataParallel": (nn.DataParallel, ""),
    "DataParallel of compiled": (lambda model: nn.DataParallel(compiled(model)), ""),
    "averaged": (AveragedModel, "module."),
    "in a Sequential": (lambda model: nn.Sequential(model, nn.Identity()), "0."),
    "explained and copied": (explained_and_copied, ""),
    "explained and saved": (explained_and_saved, ""),
}


@every_method
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrappers(wrapped: str, method: str) -> None:
    wrap, prefix = WRAPPED[wrapped]
    model = wrap(net()).train()
    inner = next(m for m in model.modules() if isinstance(m, Net))
    with untouched(model):
        assert_same(model, method, prefix=prefix)
        if method in ("gradcam", "ablationcam"):
            assert_same(model, method, prefix=prefix, layer=inner.conv)


# ---- recurrent layers ------------------------------------------------------------------------


class Rows(nn.Module):
    """Reads the rows of the grid one after another, in both directions."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.rnn = kind(6 * 6, 7, 2, batch_first=True, dropout=0.5, bidirectional=True)
        self.fc = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Any:
        rows = self.conv(x).permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.rnn(rows)[0][:, -1])


@every_method
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent(kind: type[nn.RNNBase], training: bool, method: str) -> None:
    """The gradient comes through them, in both modes, and ReLU or not."""
    model = ready(Rows(kind))
    plain = None if method == "guided-backprop" else explain(copy.deepcopy(model), method).raw
    model.train(training)
    with untouched(model):
        if plain is None:
            with pytest.raises(LimelightError, match="runs none"):  # no ReLU to guide
                explain(model, method)
        else:
            assert_agrees(explain(model, method).raw, plain)
    found = explain(model, "gradcam")
    assert found.layer == "conv"
    assert_agrees(found.raw, by_hand(model))


# ---- forwards and hooks of the user's own ----------------------------------------------------


def counting(seen: list[str], model: Net) -> None:
    model.register_forward_pre_hook(lambda *_: seen.append("before all"))
    model.stem.register_forward_hook(lambda *_: seen.append("stem"), always_call=True)
    model.conv.register_forward_hook(
        lambda _module, _args, _kwargs, _output: seen.append("conv"), with_kwargs=True
    )
    model.fc.register_forward_pre_hook(
        lambda _module, _args, _kwargs: seen.append("before fc"), with_kwargs=True
    )
    model.fc.register_full_backward_hook(lambda *_: seen.append("backward"))
    model.fc.register_full_backward_pre_hook(lambda *_: seen.append("before backward"))


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_hooks_that_look(training: bool, method: str) -> None:
    """Hooks stay, in their order, fire in their order, and change nothing."""
    model, seen = net(), list[str]()
    counting(seen, model)
    model.train(training)
    explain(model, method)
    seen.clear()
    with untouched(model):
        assert_same(model, method)
    forward = ["before all", "stem", "conv", "before fc"]
    assert seen[:4] == forward
    if method == "gradcam":
        assert seen == [*forward, "before backward", "backward"]
    if method == "scorecam":
        assert seen.count("before all") == seen.count("before fc")
    seen.clear()
    model(IMAGES).sum().backward()
    assert seen == [*forward, "before backward", "backward"]


@every_method
def test_hooks_that_change(method: str) -> None:
    """A hook that is part of what the network computes is part of the map, once."""
    model, plain = net(), net()
    model.conv.register_forward_hook(lambda _module, _args, output: output * 2)
    model.fc.register_forward_pre_hook(lambda _module, args: (args[0] * 3,))
    with torch.no_grad():
        plain.conv.weight *= 2
        cast("Tensor", plain.conv.bias).mul_(2)
        plain.fc.weight *= 3
    with untouched(model):
        assert_agrees(explain(model, method).raw, explain(plain, method).raw)


def test_a_hook_for_all_modules() -> None:
    seen: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _args, _output: seen.append(type(module).__name__)
    )
    try:
        assert_same(net(), "gradcam")
        assert "Conv2d" in seen
        assert len(nn.modules.module._global_forward_hooks) == 1
    finally:
        handle.remove()


class WithoutGrad(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


class SwitchesGrad(Net):
    def forward(self, x: Tensor) -> Any:
        was = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        x = super().forward(x)
        torch.set_grad_enabled(was)
        return x


class KeepsACopy(Net):
    """Keeps a detached copy of what passes, and looks at its numbers."""

    def head(self, x: Tensor) -> Any:
        self.seen = x.detach()
        self.numbers = x.detach().numpy().copy()
        self.item = x.detach().mean().item()
        return super().head(x)


class Rounds(Net):
    """Passes on what was rounded, with the gradient of what was not."""

    def head(self, x: Tensor) -> Any:
        return super().head(x + (x.round() - x).detach() * 0)


@every_method
@pytest.mark.parametrize("kind", [WithoutGrad, SwitchesGrad, KeepsACopy, Rounds])
@pytest.mark.parametrize("training", [True, False])
def test_grad_and_copies_inside_the_forward(training: bool, kind: type[Net], method: str) -> None:
    model = net(kind).train(training)
    with untouched(model):
        assert_same(model, method)
    assert torch.is_grad_enabled()


class WithoutGradAtAll(Net):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


class Detaches(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


class DetachesWithin(Net):
    def head(self, x: Tensor) -> Any:
        return self.fc(self.drop(self.relu(x).mean((2, 3)).data))


@pytest.mark.parametrize(
    ("method", "layer"), [("gradcam", None), ("gradcam", "conv"), ("saliency", None)]
)
def test_inference_mode_around_the_forward_is_named(method: str, layer: str | None) -> None:
    """There is no map, and the error says what stands in the way."""
    with pytest.raises(LayerError, match="inference_mode inside the model's own forward"):
        explain(net(WithoutGradAtAll), method, layer=layer)


@pytest.mark.parametrize("kind", [Detaches, DetachesWithin])
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_an_output_that_is_detached_is_named(method: str, kind: type[Net]) -> None:
    """The gradient is zero because the model cuts it off; that, not zero weights, is the reason."""
    found = explain(net(kind), method, layer="conv" if method == "gradcam" else None)
    assert found.status[0].name == "disconnected"
    assert "detach" in found.status[0].message
    assert_same(net(kind), "ablationcam", layer="conv")  # which needs no gradient


@pytest.mark.parametrize("kind", [Detaches, DetachesWithin])
def test_an_output_that_is_detached_is_named_where_a_layer_is_looked_for(kind: type[Net]) -> None:
    with pytest.raises(LayerError, match="detach"):
        explain(net(kind), "gradcam")


# ---- again and again, and at the same time ---------------------------------------------------


def resident() -> int:
    """How many bytes of memory this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("method", "times"), [("gradcam", 1000), ("saliency", 300), ("ablationcam", 100)]
)
def test_a_thousand_explanations(method: str, times: int) -> None:
    """Memory stays flat within 2 %, and not even half an image is left of each; nor a hook."""
    model = net(dtype=torch.float32).train()
    images = torch.randn(1, 3, 48, 48)

    def work(times: int) -> None:
        for _ in range(times):
            explain(model, method, images)

    work(100)
    before = resident()
    work(times)
    assert resident() - before < min(before * 0.02, times * images.nbytes / 2)
    assert hooks(model) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_hundred_models_and_sizes() -> None:
    """What is remembered of a model goes with it, and of many sizes of input little is kept."""

    def work(times: int) -> None:
        for number in range(times):
            model = net(dtype=torch.float32)
            model.add_module("ballast", nn.Linear(512, 512))  # a megabyte
            explain(model, "gradcam", torch.randn(1, 3, 16, 16 + number % 40))

    work(10)
    before = resident()
    work(100)
    assert resident() < before + 20 * 2**20


@pytest.mark.parametrize("training", [True, False])
def test_eight_threads_on_one_model(training: bool) -> None:
    """They find what one finds, also where all of them are the first to look for a layer."""
    model = net().train(training)
    batches = [torch.randn(2, 3, 16, 24).double() for _ in range(8)]
    expected = [[explain(net(), method, one).raw for method in METHODS] for one in batches]
    together = threading.Barrier(8)

    def work(images: Tensor) -> list[list[Tensor]]:
        together.wait()
        return [[explain(model, method, images).raw for method in METHODS] for _ in range(3)]

    with untouched(model), ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(work, batches))
    for wanted, found in zip(expected, rounds, strict=True):
        for once in found:
            for got, want in zip(once, wanted, strict=True):
                assert_agrees(got, want)


def test_a_thread_that_trains_meanwhile() -> None:
    """Its gradients are what they are alone, and the maps are those of evaluation mode."""
    model = net().train()
    model.drop.p = 0.0  # threads share random numbers
    norm = cast("nn.BatchNorm2d", model.stem[1])
    norm.momentum = 0.0  # statistics stay, so that maps can be compared
    expected = {method: explain(model, method).raw for method in METHODS}
    model(IMAGES).square().sum().backward()
    alone = [cast("Tensor", p.grad).clone() for p in model.parameters()]
    done, wrong = threading.Event(), list[str]()

    def train() -> None:
        while not done.is_set():
            model.zero_grad()
            loss = model(IMAGES).square().sum()
            if not all(module.training for module in model.modules()):
                wrong.append("mode")
            loss.backward()
            for parameter, gradient in zip(model.parameters(), alone, strict=True):
                if parameter.grad is None or not torch.equal(parameter.grad, gradient):
                    wrong.append("gradient")

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for _ in range(20):
            for method, raw in expected.items():
                assert_agrees(explain(model, method).raw, raw)
    finally:
        done.set()
        trainer.join()
    assert wrong == []
