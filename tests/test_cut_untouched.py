"""A cut leaves the model as it was, whatever state it is in, and no memory behind."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from helpers import networks
from helpers.cut_cases import CASES, Case, every_case, every_mode, few_cases, name
from helpers.model_state import Raised, live, untouched
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import LAYERS, assert_agrees
from limelight.errors import LimelightError
from limelight.inputs import ModelInputs
from limelight.runtime.cut import cut
from limelight.runtime.record import record, recording_of
from limelight.targets import output_spec
from oracles.evidence import channels_first, classes, probe

# The body runs without a graph, and no gradient of a parameter is computed


def test_the_graph_begins_at_the_layer() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(2, *PICTURE, dtype=torch.float64)
    outputs: list[Tensor] = []

    def watched(output: Tensor) -> Tensor:
        outputs.append(output)
        return output[:, 0]

    cut(model, images, "block1").gradients(watched)
    reached, waiting = set[Any](), [outputs[0].grad_fn]
    leaves = []
    while waiting:
        node = waiting.pop()
        if node is None or node in reached:
            continue
        reached.add(node)  # the node, not its id: one that is let go may pass its id on
        leaves += [node.variable] if hasattr(node, "variable") else []
        waiting += [after for after, _ in node.next_functions]
    paths = {id(p): path for path, p in model.named_parameters()}
    names = {paths.get(id(leaf), "A") for leaf in leaves}
    assert "A" in names
    assert not {path for path in names if path.startswith(("stem", "block1"))}
    activations = [leaf for leaf in leaves if id(leaf) not in paths]
    assert len(activations) == 1
    assert activations[0].is_leaf


def test_what_the_body_puts_out_has_no_graph_and_what_the_head_puts_out_has() -> None:
    model, images = ready(networks.Chain()), torch.randn(2, *PICTURE, dtype=torch.float64)
    graphs: dict[str, bool] = {}
    for path, module in model.named_children():

        def see(_module: nn.Module, _args: object, out: Tensor, path: str = path) -> None:
            graphs[path] = out.grad_fn is not None

        module.register_forward_hook(see)
    cut(model, images, "second")  # the first time, the network is recorded as well
    graphs.clear()
    cut(model, images, "second")
    # A hook on the layer itself sees what the network goes on with.
    assert graphs == {"first": False, "second": True, "third": True, "fc": True}


class Remembering(networks.Chain):
    """Its head reads what a hook kept of `first`, as transformers keep hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.kept.clear()
        self.first(x)
        return self.finish(self.second(self.kept[-1].tanh()))


def test_what_a_hook_keeps_for_later_is_the_layer_s_output_in_the_pass() -> None:
    model = ready(Remembering())
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    model.first.register_forward_hook(lambda _module, _args, out: model.kept.append(out))
    cut_ = cut(model, images, "first")
    x = model.first(images).detach().requires_grad_()
    (due,) = torch.autograd.grad(model.finish(model.second(x.tanh()))[:, 1].sum(), x)
    assert_agrees(cut_.gradients(1), due)
    again = cut_.head(cut_.activations * 2)
    assert_agrees(again, model.finish(model.second((x * 2).tanh())))


def test_no_gradient_of_a_parameter_is_computed() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(2, *PICTURE, dtype=torch.float64)
    computed: list[str] = []
    for path, parameter in model.named_parameters():
        parameter.register_hook(lambda _, path=path: computed.append(path))  # type: ignore[no-untyped-call]
    found = cut(model, images, "block1")
    found.gradients(1)
    record(model, images)
    assert computed == []
    assert [path for path, p in model.named_parameters() if p.grad is not None] == []


# The model is left as it was


STUBBORN = [
    networks.ResidualCNN,
    networks.TinyViT,
    networks.ChannelsLast,
    networks.KeepsAList,
    networks.BoundMethod,
    networks.Dispatched,
    networks.Borrows,
    networks.Counting,
    networks.Remembering,
    networks.Configured,
    networks.OwnNoGrad,
]


def middle(model: nn.Module) -> str:
    """Return a layer in the middle of one of the small networks."""
    names = ("block1", "blocks.0", "mix", "second", "features")
    return next(n for n in names if n in dict(model.named_modules()))


@pytest.mark.parametrize("network", STUBBORN)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_mode
def test_a_model_is_left_as_it_was(
    network: type[nn.Module], training: bool, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    model, images = ready(network()), torch.randn(2, *PICTURE, dtype=torch.float64)
    first = next(iter(model.children()))
    model.train(training)
    first.train(not training)
    first.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    model.register_forward_hook(lambda *_: None)
    first.register_forward_pre_hook(lambda *_: None)
    with mode(), untouched(model):
        found = cut(model, images, middle(model))
        found.gradients(1)
        found.head(found.activations)
        found.head(found.activations[:1], rows=torch.tensor([1]))
        record(model, images)
        cut(model, images, None)


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm", "pruned", "parametrized"])
def test_weights_that_are_made_anew_for_every_forward_are_left_as_they_were(norm: str) -> None:
    model = ready(networks.Chain())
    if norm == "weight_norm":
        with pytest.warns(FutureWarning):
            nn.utils.weight_norm(model.first)
    elif norm == "spectral_norm":
        nn.utils.spectral_norm(model.first)
    elif norm == "pruned":
        from torch.nn.utils import prune

        prune.random_unstructured(model.first, "weight", 0.5)  # type: ignore[no-untyped-call]
    else:
        nn.utils.parametrizations.weight_norm(model.first)
    model.eval()
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    model(images)
    expected = model(images).detach()
    with untouched(model):
        found = cut(model, images, "second")
        found.gradients(1)
        assert_agrees(found.output, expected)
        assert_agrees(found.head(found.activations).detach(), expected)


def fails(_output: object) -> Tensor:
    raise Raised


@pytest.mark.parametrize("layer", ["second", None])
def test_a_model_that_raises_in_the_middle_is_left_as_it_was(layer: str | None) -> None:
    model = ready(networks.RaisesLate()).train()
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    with untouched(model), pytest.raises(RuntimeError, match="in the middle of the model"):
        cut(model, images, layer)


@every_mode
def test_a_target_that_raises_leaves_the_model_as_it_was_and_its_own_error_comes_out(
    mode: Callable[[], AbstractContextManager[object]],
) -> None:
    model = ready(networks.ResidualCNN()).train()
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    with mode(), untouched(model), pytest.raises(Raised):
        cut(model, images, "block1").gradients(fails)


def test_a_head_that_raises_leaves_the_model_as_it_was_and_works_afterwards() -> None:
    model, images = ready(networks.Chain()), torch.randn(2, *PICTURE, dtype=torch.float64)
    raising = False

    def maybe(*_: object) -> None:
        if raising:
            raise Raised

    model.third.register_forward_hook(maybe)
    found = cut(model, images, "second")
    for _ in range(2):  # the first raises while it records, the second while it replays
        with untouched(model):
            raising = True
            with pytest.raises(Raised):
                found.head(found.activations)
            raising = False
            assert_agrees(found.head(found.activations).detach(), found.output)


def test_a_layer_that_is_refused_leaves_the_model_as_it_was() -> None:
    model = ready(networks.CalledTwice()).train()
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    for layer in ("conv", "unused", "nowhere"):
        with untouched(model), pytest.raises(LimelightError):
            cut(model, images, layer)


# Whatever state the caller and the model are in


@few_cases
@every_mode
def test_it_works_in_every_grad_mode(
    case: Case, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    model, images = case.model(), case.images()
    expected = probe(model, case.layer, images, classes(CHOSEN), case.grid)
    with mode():
        found = cut(model, images, case.layer)
        gradients = found.gradients(CHOSEN)
        again = found.head(found.activations)
        fewer = found.head(found.activations[1:2], rows=torch.tensor([1]))
        chosen = cut(model, images, None)
        assert chosen.gradients(CHOSEN).any()
    assert_agrees(found.activations, expected.activations)
    assert_agrees(gradients, expected.gradients)
    assert_agrees(again.detach(), expected.output.detach())
    assert_agrees(fewer.detach(), expected.output.detach()[1:2])


def without_affine() -> nn.Module:
    norm = nn.BatchNorm2d(4, affine=False)
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Tanh(), pool, nn.Flatten(), nn.Linear(4, 5))


@pytest.mark.parametrize("case", [*CASES[:16], Case(without_affine, "0", PICTURE)], ids=name)
def test_a_model_and_images_made_under_inference_mode_give_the_same(case: Case) -> None:
    torch.manual_seed(1)
    model, images = case.model(), case.images()
    torch.manual_seed(1)
    with torch.inference_mode():
        made, pictures = case.model(), case.images()
    assert all(p.is_inference() for p in made.parameters())
    expected = probe(model, case.layer, images, classes(CHOSEN), case.grid)
    for mode in (nullcontext, torch.inference_mode):
        with mode(), untouched(made):
            found = cut(made, pictures, case.layer)
            assert_agrees(found.activations, expected.activations)
            assert_agrees(found.gradients(CHOSEN), expected.gradients)
            assert_agrees(found.head(found.activations).detach(), expected.output.detach())
            assert cut(made, pictures, None).gradients(CHOSEN).any()


@every_case
def test_a_frozen_model_gives_the_same(case: Case) -> None:
    model, images = case.model(), case.images()
    expected = probe(model, case.layer, images, classes(CHOSEN), case.grid)
    model.requires_grad_(False)
    assert_agrees(cut(model, images, case.layer).gradients(CHOSEN), expected.gradients)


def test_a_model_whose_forward_turns_grad_off_around_its_body_gives_a_gradient() -> None:
    torch.manual_seed(1)
    own = ready(networks.OwnNoGrad())
    torch.manual_seed(1)
    model = ready(networks.Chain())
    images = torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "second", images, classes(CHOSEN), channels_first)
    assert_agrees(cut(own, images, "second").gradients(CHOSEN), expected.gradients)


def test_a_model_in_training_mode_is_run_in_evaluation_mode() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1", images, classes(CHOSEN), channels_first)
    model.train()
    with untouched(model):
        found = cut(model, images, "block1")
        assert_agrees(found.output, expected.output.detach())
        assert_agrees(found.gradients(CHOSEN), expected.gradients)
        assert_agrees(found.head(found.activations).detach(), expected.output.detach())


def test_a_model_can_be_trained_on_right_after_a_cut() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    model(images).sum().backward()
    expected = [cast("Tensor", p.grad).clone() for p in model.parameters()]
    model.zero_grad()
    loss = model(images).sum()
    cut(model, images, "block1").gradients(1)
    loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(cast("Tensor", parameter.grad), gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_gives_the_same_gradient_up_to_its_precision(
    dtype: torch.dtype,
) -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1", images, classes(CHOSEN), channels_first)
    found = cut(model.to(dtype), images.to(dtype), "block1")
    assert found.gradients(CHOSEN).dtype is dtype
    assert_agrees(found.gradients(CHOSEN), expected.gradients, terms=LAYERS, dtype=dtype)


def test_it_works_under_autocast() -> None:
    model, images = ready(networks.Chain(), torch.float32), torch.randn(3, *PICTURE)
    expected = probe(model, "second", images, classes(CHOSEN), channels_first)
    with torch.autocast("cpu", torch.bfloat16):
        found = cut(model, images, "second")
        gradients = found.gradients(CHOSEN)
        assert found.head(found.activations).shape == (3, 4)
    assert_agrees(gradients, expected.gradients, terms=LAYERS, dtype=torch.bfloat16)


def test_eight_threads_on_one_model_find_what_one_thread_finds() -> None:
    model = ready(networks.Remembering()).train()
    batches = [torch.randn(2, *PICTURE, dtype=torch.float64) for _ in range(8)]

    def everything(images: Tensor) -> list[Tensor]:
        chosen = cut(model, images, None)
        found = cut(model, images, "second")
        head = found.head(found.activations * 2)
        return [chosen.gradients(1), found.activations, found.gradients(2), head.detach()]

    expected = [everything(images) for images in batches]
    together = threading.Barrier(8)

    def at_once(images: Tensor) -> list[list[Tensor]]:
        together.wait()
        return [everything(images) for _ in range(3)]

    with untouched(model), ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(at_once, batches))
    for wanted, found in zip(expected, rounds, strict=True):
        for once in found:
            for got, want in zip(once, wanted, strict=True):
                assert_agrees(got, want)


# Hooks of the user


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *itertools.product(["first", "second", "third"], ["forward", "forward pre"]),
        # At the layer itself there is none to honour: its inputs have no gradient.
        *itertools.product(["first", "third"], ["full backward"]),
    ],
)
def test_a_hook_of_the_user_s_is_honoured_once(place: str, kind: str) -> None:
    model, images = ready(networks.Chain()), torch.randn(3, *PICTURE, dtype=torch.float64)
    fired: list[str] = []

    def double(tensors: Any) -> Any:
        fired.append(kind)
        if isinstance(tensors, Tensor):
            return tensors * 2
        return tuple(tensor * 2 for tensor in tensors)

    module = model.get_submodule(place)
    if kind == "forward":
        module.register_forward_hook(lambda _module, _args, output: double(output))
    elif kind == "forward pre":
        module.register_forward_pre_hook(lambda _module, args: double(args))
    else:
        module.register_full_backward_hook(lambda _module, into, _out: double(into))
    cut(model, images, "second")  # the first time, the network is recorded as well
    fired.clear()
    found = cut(model, images, "second")
    gradients = found.gradients(CHOSEN)
    assert len(fired) == (place == "third" or kind != "full backward")
    expected = probe(model, "second", images, classes(CHOSEN), channels_first)
    assert_agrees(found.activations, expected.activations)
    assert_agrees(gradients, expected.gradients)
    assert_agrees(found.output, expected.output.detach())
    assert_agrees(found.head(found.activations).detach(), expected.output.detach())


def test_a_hook_of_the_user_s_is_honoured_at_every_call_of_the_layer() -> None:
    model, images = ready(networks.CalledTwice()), torch.randn(3, *PICTURE, dtype=torch.float64)
    model.listed = nn.ModuleList([nn.Tanh()])
    model.conv.register_forward_hook(lambda _module, _args, output: output * 2)
    found = cut(model, images, "conv#1")
    assert_agrees(found.output, model(images).detach())
    assert_agrees(found.head(found.activations).detach(), found.output)


# Memory


def test_two_hundred_cuts_leave_nothing_behind() -> None:
    model, images = ready(networks.PoolLinear()).train(), torch.randn(1, 3, 8, 8).double()

    def work(times: int) -> None:
        for _ in range(times):
            found = cut(model, images, None)
            found.gradients(1)
            found.class_weights(1)
            found.head(found.activations)

    work(1)
    before = live()
    work(200)
    assert live() == before


@pytest.mark.parametrize(
    "network", [networks.PoolLinear, networks.TinyViT, networks.BoundMethod, networks.KeepsAList]
)
def test_a_cut_is_freed_without_waiting_for_the_garbage_collector(
    network: type[nn.Module],
) -> None:
    model, images = ready(network()).train(), torch.randn(1, *PICTURE).double()

    def work(times: int) -> None:
        for _ in range(times):
            cut(model, images, None).gradients(1)

    work(1)
    before = live()
    gc.disable()
    try:
        work(20)
        after = live(collect=False)
    finally:
        gc.enable()
    assert after == before


def test_a_model_is_freed_after_a_cut() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(1, 3, 8, 8).double()
    found = cut(model, images, None)
    found.head(found.activations)
    gone = weakref.ref(model)
    del model, found
    gc.collect()
    assert gone() is None


class _Picks:
    """Picks the logits, cannot be hashed, and refers to the model."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, output: Tensor) -> Tensor:
        return output


@pytest.mark.parametrize(
    "pick",
    [_Picks, lambda model: lambda output: output if model else None],
    ids=["object", "lambda"],
)
@pytest.mark.parametrize("named", [True, False], ids=["layer named", "layer found"])
def test_a_model_is_freed_that_a_callable_for_the_logits_refers_to(pick: Any, named: bool) -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(1, 3, 8, 8).double()
    layer = next(path for path, m in model.named_modules() if isinstance(m, nn.Conv2d))
    cut(model, images, layer if named else None, output=pick(model)).gradients(1)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [networks.ResidualCNN, networks.TinyViT])
def test_what_is_noted_of_a_pass_does_not_keep_weights_alive(kind: type[nn.Module]) -> None:
    model, images = ready(kind()), torch.randn(1, *PICTURE, dtype=torch.float64)
    recording_of(model, ModelInputs.of(images), output_spec(None, None, None))
    weights = [weakref.ref(weight) for weight in model.parameters()]
    del model
    gc.collect()
    assert all(weight() is None for weight in weights)


# Modules inside the model change


class _Renames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        body, head = self._modules.values()
        assert body is not None
        assert head is not None
        logits: Tensor = head(body(x).relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize("by", ["module", "choice"])
def test_a_layer_is_found_again_after_its_name_changed(by: str) -> None:
    model, images = ready(_Renames()), torch.randn(1, 3, 8, 8).double()
    body, head = model.body, model.head
    layer = body if by == "module" else None
    assert cut(model, images, layer).layer == "body"
    model._modules.clear()
    model.features, model.head = body, head
    assert cut(model, images, layer).layer == "features"


class _Part(nn.Module):
    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.conv, self.whole = nn.Conv2d(3, 4, 3), whole

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _Whole(nn.Module):
    """A model with a module inside that holds the model."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 5)
        self.part = _Part(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.part(x).relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize("layer", ["part.conv", None])
def test_a_model_that_a_module_inside_holds(layer: str | None) -> None:
    model, images = _Whole(), torch.randn(2, 3, 8, 8)
    found = cut(model, images, layer)
    assert found.gradients(1).any()
    found.head(found.activations)
    assert model.training
    assert not model.part.conv._forward_hooks
