"""The body compiled: which parts, once for a model, and with what the model holds now."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

import limelight
from helpers.commands import Runner, folder, run, save_photo
from helpers.tolerances import assert_agrees
from limelight.errors import OptionError
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess
from limelight.runtime.compiled import _kept_shadows, parts_of

__all__ = ["folder", "run"]  # fixtures


class Compiler:
    """Stands in for `torch.compile`: runs a module as it is, and notes what it did."""

    def __init__(self) -> None:
        self.made, self.runs = list[str](), list[str]()
        self.problem: Exception | None = None

    def __call__(self, module: nn.Module) -> Callable[..., Any]:
        name = type(module).__name__
        self.made.append(name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if self.problem is not None:
                raise self.problem
            self.runs.append(name)
            return module(*args, **kwargs)

        return run


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    found = Compiler()
    monkeypatch.setattr(torch, "compile", found)
    return found


def network() -> nn.Module:
    torch.manual_seed(0)

    def stage(channels: int, wide: int) -> nn.Module:
        norm = nn.BatchNorm2d(wide)
        nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
        return nn.Sequential(nn.Conv2d(channels, wide, 3, padding=1), norm, nn.ReLU())

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(stage(3, 6), stage(6, 8), nn.Sequential(nn.Conv2d(8, 8, 1)), head).eval()


IMAGES = torch.rand(2, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def both(model: nn.Module, **given: Any) -> tuple[Tensor, Tensor]:
    """Return the raw map compiled, and as it is."""
    fast, plain = (
        limelight.explain(model, IMAGES, target=1, compile=compile, **given).raw
        for compile in (True, False)
    )
    return fast, plain


def test_parts_are_the_largest_that_hold_no_layer() -> None:
    model = resnet18(weights=None)
    names = {id(module): name for name, module in model.named_modules()}

    def parts(*layers: str) -> list[str]:
        found = parts_of(model, {id(model.get_submodule(layer)) for layer in layers})
        return [names[id(part)] for part in found]

    assert parts() == ["layer1", "layer2", "layer3", "layer4"]
    assert parts("layer4") == ["layer1", "layer2", "layer3", "layer4"]
    assert parts("layer3.0") == ["layer1", "layer2", "layer3.0", "layer3.1", "layer4"]
    deep = parts("layer3.0.conv1", "layer4")
    assert deep == ["layer1", "layer2", "layer3.0.downsample", "layer3.1", "layer4"]


def test_the_map_is_the_same(compiler: Compiler) -> None:
    fast, plain = both(network(), layer="1")
    assert torch.equal(fast, plain)
    assert compiler.runs == ["Sequential", "Sequential"]  # the stages; not what comes behind


def test_a_part_is_compiled_once(compiler: Compiler) -> None:
    model = network()
    for _ in range(3):
        both(model, layer="1")
    limelight.explain(model, IMAGES, layer="0", compile=True)
    assert len(compiler.made) == 4  # the stages, the convolution and the head
    assert len(compiler.runs) == 3 * 2 + 1


def test_without_it_nothing_is_compiled_or_prepared(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = list[nn.Module]()
    monkeypatch.setattr(_kept_shadows, "of", prepared.append)
    limelight.explain(network(), IMAGES)
    limelight.explain(network(), IMAGES, method="rise:masks=4")
    assert compiler.made == []
    assert prepared == []


def test_what_the_model_has_learned_since_counts(compiler: Compiler) -> None:
    model = network()
    before, _ = both(model, layer="1")
    stage = model[0]  # type: ignore[index]
    stage[1].running_mean += 1
    fast, plain = both(model, layer="1")
    assert torch.equal(fast, plain)
    assert not torch.equal(fast, before)
    with torch.no_grad():
        stage[0].weight.mul_(2)
    stage[0].bias = nn.Parameter(torch.ones(6))
    fast, plain = both(model, layer="1")
    assert torch.equal(fast, plain)
    model[0] = nn.Sequential(nn.Conv2d(3, 6, 1))  # type: ignore[operator]
    fast, plain = both(model, layer="1")
    assert torch.equal(fast, plain)


def test_a_model_in_training_is_left_untouched(compiler: Compiler) -> None:
    model = network().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    fast, _ = both(model, layer="1")
    assert torch.equal(fast, both(network(), layer="1")[1])
    assert compiler.runs
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_part_with_a_hook_inside_is_not_compiled(compiler: Compiler) -> None:
    model, seen = network(), list[int]()
    model[0][1].register_forward_hook(lambda *_: seen.append(1))  # type: ignore[index]
    limelight.explain(model, IMAGES, layer="1", compile=True)
    assert compiler.runs == ["Sequential"]
    assert seen


def test_where_a_graph_is_recorded_nothing_is_compiled(compiler: Compiler) -> None:
    limelight.explain(network(), IMAGES, layer="1", differentiable=True, compile=True)
    limelight.explain(network(), IMAGES, method="saliency", compile=True)
    assert compiler.runs == []


def test_many_runs_are_compiled(compiler: Compiler) -> None:
    fast, plain = both(network(), method="rise:masks=20", chunk=5)
    assert torch.equal(fast, plain)
    assert len(compiler.runs) == 4 * (1 + 2 * 20 // 5)


def test_comparing_and_measuring_run_compiled(compiler: Compiler) -> None:
    model, many = network(), ["gradcam", "rise:masks=4"]
    found = limelight.compare(model, IMAGES, methods=many, layers=["1"])
    plain = limelight.measure(model, IMAGES, found, metrics=["deletion:steps=4"])
    assert compiler.runs == []
    again = limelight.compare(model, IMAGES, methods=many, layers=["1"], compile=True)
    assert torch.equal(found.heatmaps, again.heatmaps)
    assert compiler.runs
    compiler.runs.clear()
    fast = limelight.measure(model, IMAGES, found, metrics=["deletion:steps=4"], compile=True)
    assert fast.rows() == plain.rows()
    assert compiler.runs


def test_a_model_that_was_compiled_goes_away(compiler: Compiler) -> None:
    model = network()
    both(model, layer="1")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_what_cannot_be_compiled_is_said(compiler: Compiler) -> None:
    from torch._dynamo.exc import TorchDynamoException

    compiler.problem = TorchDynamoException("no compiler")
    with pytest.raises(OptionError, match=r"the part Sequential .*no compiler Leave compile out"):
        limelight.explain(network(), IMAGES, compile=True)


def stages() -> Network:
    return Network("stages", network(), Preprocess(size=(10, 10), resize=10), tuple("abcd"))


@pytest.mark.parametrize(
    "words",
    [
        ["explain"],
        ["compare", "--methods", "gradcam rise:masks=4"],
        ["measure", "--methods", "gradcam", "--metrics", "increase"],
    ],
    ids=lambda words: words[0],
)
def test_the_commands_compile_when_asked(
    run: Runner, folder: Path, compiler: Compiler, words: list[str]
) -> None:
    asked = [*words, save_photo(folder / "photo.png"), "--model", "test_compile:stages", "--json"]
    assert run(*asked, "--out", folder / "plain")[0] == 0
    assert compiler.runs == []
    assert run(*asked, "--out", folder / "fast", "--compile")[0] == 0
    assert compiler.runs


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_with_the_real_compiler() -> None:
    fast, plain = both(network(), layer="1")
    assert_agrees(fast, plain)
