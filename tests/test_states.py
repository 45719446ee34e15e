"""The network in whatever state people bring it: its map is that of the same network, plain."""

from __future__ import annotations

import copy
import functools
import gc
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel
from torch.overrides import TorchFunctionMode

import limelight
from limelight.errors import LayerError, LimelightError, ModelError
from networks import ready
from oracles.methods import channels_first, gradcam, probe
from test_cut import untouched
from tolerances import LAYERS, NETWORK, assert_agrees, rounding

CLASS = 1
#: Methods that read the layer, run the head again, read the input, run the network again, and
#: change its gradients.
METHODS = ["gradcam", "ablationcam", "saliency", "scorecam", "guided-backprop"]

every_method = pytest.mark.parametrize("method", METHODS)


class Net(nn.Module):
    """Batch norm, in-place ReLUs, dropout; the layer to cut at is in the middle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.conv(self.relu(self.stem(x))))

    def head(self, x: Tensor) -> Any:
        return self.fc(self.drop(self.relu(x).mean((2, 3))))


def net(kind: type[Net] = Net, dtype: torch.dtype = torch.float64) -> Net:
    """The same weights every time."""
    return ready(kind(), dtype)


IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)).double()


def by_hand(model: nn.Module, layer: str = "conv", images: Tensor = IMAGES) -> Tensor:
    """Grad-CAM's raw map from plain hooks and a full backward of a copy in evaluation mode."""
    found = probe(model, layer, images, lambda y: y[:, CLASS], channels_first)
    return gradcam(found.activations, found.gradients)


HALF = "half precision: each layer rounds once, and few layers average nothing out"

#: Methods whose map is the gradient at the image.
OF_IMAGE = ("saliency", "guided-backprop")


@functools.cache
def of_relus(dtype: torch.dtype) -> float:
    """How far the gradient at a pixel moves as ReLUs beside it are rounded to the other side of 0.

    In plain torch too. Two roundings make their inputs: the convolution's and the batch norm's.
    """
    model = net()
    stem = probe(model, "stem", IMAGES, lambda y: y[:, CLASS], channels_first).activations
    behind = probe(model, "relu", IMAGES, lambda y: y[:, CLASS], channels_first).gradients.abs()
    near = stem.abs() <= rounding(dtype, terms=2, errors=1) * stem.abs().max()
    conv, norm = model.stem
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    gain = (norm.weight / norm.running_var.sqrt()).abs()[:, None, None]
    moved = F.conv_transpose2d(near * behind * gain, conv.weight.abs(), padding=1)
    return float(moved.detach().max())


def explain(model: nn.Module, method: str, images: Tensor = IMAGES, **options: Any) -> Any:
    return limelight.explain(model, images, target=CLASS, method=method, **options)


@functools.cache
def plain(method: str) -> tuple[str, Tensor]:
    """The layer and the raw map of the plain network; Grad-CAM's is found by hand as well."""
    found = explain(net(), method)
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(net()))
        assert found.layer == "conv"
    assert found.raw.any()
    return found.layer, found.raw


def assert_same(
    model: nn.Module,
    method: str,
    *,
    prefix: str = "",
    dtype: torch.dtype | None = None,
    terms: int = NETWORK,
    **options: Any,
) -> None:
    """Assert that the map of a model, in its state, is that of the plain network."""
    layer, raw = plain(method)
    found = explain(model, method, **options)
    assert found.layer == (layer if layer == limelight.INPUT else prefix + layer)
    truncation = of_relus(dtype) if method in OF_IMAGE and dtype is not None else 0.0
    assert_agrees(
        found.raw,
        raw,
        dtype=dtype,
        terms=terms,
        truncation=truncation,
        limit=HALF if terms == LAYERS else None,
    )


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


def compiled(model: nn.Module) -> nn.Module:
    return cast("nn.Module", torch.compile(model, backend="eager"))


@torch.no_grad()
def run(model: nn.Module) -> Tensor:
    return cast("Tensor", model(IMAGES))


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


# ---- training on several machines ------------------------------------------------------------


@contextmanager
def process_group(folder: Path) -> Iterator[None]:
    """A group of this one process."""
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    with process_group(tmp_path):
        yield


def fsdp(model: nn.Module, *, within: bool = False, **options: Any) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    return FullyShardedDataParallel(
        model,
        sharding_strategy=ShardingStrategy.NO_SHARD,  # what becomes of the others in one process
        auto_wrap_policy=ModuleWrapPolicy({nn.Sequential, nn.Conv2d}) if within else None,
        device_id=torch.device("cpu"),
        **options,
    )


def fsdp2(model: nn.Module, *, within: bool = False) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("this torch cannot run fully_shard on a CPU")
    mesh = init_device_mesh("cpu", (1,))
    for module in (model.stem, model.conv, model.fc) if within else ():
        fully_shard(cast("nn.Module", module), mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


DISTRIBUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DDP": nn.parallel.DistributedDataParallel,
    "compiled DDP": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "FSDP2": fsdp2,
    "FSDP2 within": lambda model: fsdp2(model, within=True),
}


def distributed(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a group, without what torch says of its own old ways."""
    quiet = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
    return cast("Callable[..., None]", pytest.mark.usefixtures("group")(quiet(test)))


every_distribution = pytest.mark.parametrize("how", DISTRIBUTED)


@distributed
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency"])
@every_distribution
def test_distributed(how: str, method: str) -> None:
    """What is spread out is looked through: same layer, same map."""
    model = DISTRIBUTED[how](net())
    assert_agrees(run(model), run(net()))
    assert_same(model, method)
    if method != "saliency":
        assert_same(model, method, layer="conv")
    assert_agrees(run(model.eval()), run(net()))


@distributed
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency"])
@pytest.mark.parametrize(("within", "original"), [(False, False), (False, True), (True, True)])
def test_fully_sharded(within: bool, original: bool, method: str) -> None:
    """With the weights put together, as the error says: same layer, same map; and it goes on."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = fsdp(net(), within=within, use_orig_params=original)
    with pytest.raises(ModelError, match=r"summon_full_params\(model, writeback=False\)"):
        explain(model, method)
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        assert_same(cast("nn.Module", model.module), method)
    assert_agrees(run(model.eval()), run(net()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(IMAGES).square().sum().backward()
    optimizer.step()
    assert (run(model) - run(net())).abs().max() > 1e-3


@distributed
@every_distribution
@pytest.mark.parametrize("when", ["before", "between forward and backward", "after"])
def test_training_goes_on_distributed(when: str, how: str) -> None:
    """The model learns what it learns without an explanation in the loop."""

    def explain_if(now: str, model: nn.Module) -> None:
        if when == now:
            for method in ("saliency", "gradcam"):
                explain(model, method)

    def trained(model: nn.Module, explain_if: Callable[[str, nn.Module], None]) -> Tensor:
        explain_if("before", model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            torch.manual_seed(step)  # it has a dropout
            loss = model.train()(IMAGES).square().sum()
            explain_if("between forward and backward", model)
            loss.backward()
            explain_if("after", model)
            optimizer.step()
            optimizer.zero_grad()
        return run(model.eval())

    alone = trained(DISTRIBUTED[how](net()), lambda _now, _model: None)
    assert_agrees(alone, trained(net(), lambda _now, _model: None))
    assert (alone - run(net())).abs().max() > 1e-3
    assert_agrees(trained(DISTRIBUTED[how](net()), explain_if), alone)


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


def quantised_dynamically() -> nn.Module:
    quantize_dynamic: Any = torch.ao.quantization.quantize_dynamic
    model = net(dtype=torch.float32)
    return cast("nn.Module", quantize_dynamic(model, {nn.Linear}))


def quantised_statically() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    images = IMAGES.float()
    prepared = prepare_fx(net(dtype=torch.float32), get_default_qconfig_mapping("x86"), (images,))
    prepared(images)
    return cast("nn.Module", convert_fx(prepared))


old = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


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
@pytest.mark.parametrize("layer", [None, "conv"])
@pytest.mark.parametrize("part", ["stem", "fc"])
def test_a_scripted_part(part: str, layer: str | None) -> None:
    """It is refused too, and named."""
    model = net()
    model.add_module(part, torch.jit.script(model.get_submodule(part)))
    with pytest.raises(ModelError, match=r"ScriptModule.*Pass the eager model"):
        explain(model, "gradcam", layer=layer)


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


def hooks(model: nn.Module) -> int:
    """Count the hooks on a model and on its parameters."""
    of_modules = sum(
        len(value)
        for module in model.modules()
        for name, value in vars(module).items()
        if "hooks" in name and value is not None
    )
    return of_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())


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
