from __future__ import annotations

import gc
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

import networks
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    ModelError,
    UnknownNameError,
)
from limelight.evidence import Evidence
from limelight.methods import METHODS
from limelight.runtime.cut import cut, cuts
from limelight.runtime.record import record
from networks import ready
from oracles.methods import (
    Grid,
    channels_first,
    channels_last,
    classes,
    gradcam,
    probe,
    run,
    substituted,
    tokens,
)
from tolerances import LAYERS, assert_agrees

CHOSEN = [1, 0, 2]  # one class per image, for batches of 3


class Case(NamedTuple):
    network: Callable[[], nn.Module]
    layer: str
    size: tuple[int, ...]
    grid: Grid = channels_first
    prefix: int = 0  # how many tokens stand before the grid

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        return ready(self.network(), dtype)

    def images(self, batch: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(batch, *self.size, dtype=dtype)


def graph_module() -> nn.Module:
    return torch.fx.symbolic_trace(networks.Chain())


PICTURE = (3, 12, 16)
VIT = tokens(networks.TinyViT.prefix, (3, 4))
CASES = [
    Case(networks.ResidualCNN, "stem.0", PICTURE),
    Case(networks.ResidualCNN, "stem", PICTURE),
    Case(networks.ResidualCNN, "block1.bn1", PICTURE),
    Case(networks.ResidualCNN, "block2.bn2", PICTURE),
    Case(networks.ResidualCNN, "block1.shortcut", PICTURE),
    Case(networks.ResidualCNN, "block2", PICTURE),
    Case(networks.PoolLinear, "features.0", PICTURE),
    Case(networks.PoolLinear, "features", PICTURE),
    Case(networks.TinyViT, "blocks.0", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.TinyViT, "blocks.0.attention.proj", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.TinyViT, "blocks.1.norm1", PICTURE, VIT, networks.TinyViT.prefix),
    Case(networks.ChannelsLast, "mix.0", PICTURE, channels_last),
    Case(networks.ChannelsLast, "norm", PICTURE, channels_last),
    Case(networks.Encoder, "encoder.layers.0", PICTURE, tokens(0, (3, 4))),
    Case(networks.Encoder, "encoder.layers.1.norm1", PICTURE, tokens(0, (3, 4))),
    Case(networks.Recurrent, "conv", PICTURE),
    Case(networks.Signal, "conv", (2, 23)),
    Case(networks.Volume, "conv", (1, 7, 8, 9)),
    Case(networks.KeepsAList, "second", PICTURE),
    Case(networks.BoundMethod, "second", PICTURE),
    Case(networks.BoundMethod, "third", PICTURE),
    Case(networks.Dispatched, "second", PICTURE),
    Case(networks.Borrows, "second", PICTURE),
    Case(networks.Borrows, "caller", PICTURE),
    Case(networks.Counting, "second", PICTURE),
    Case(networks.Remembering, "second", PICTURE),
    Case(networks.Configured, "second", PICTURE),
    Case(networks.WithTable, "second", PICTURE),
    Case(networks.Skips, "second", PICTURE),
    Case(networks.Skips, "shortcut", PICTURE),
    Case(graph_module, "second", PICTURE),
    Case(networks.TupleInside, "pair", PICTURE),
]


def name(case: Case) -> str:
    return f"{case.network.__name__}-{case.layer}"


every_case = pytest.mark.parametrize("case", CASES, ids=name)
few_cases = pytest.mark.parametrize(
    "case", [CASES[2], CASES[8], CASES[11]], ids=name
)  # a CNN, tokens, channels last


every_mode = pytest.mark.parametrize(
    "mode", [torch.enable_grad, torch.no_grad, torch.inference_mode]
)


def described(value: object, alive: list[object]) -> object:
    """Describe an attribute of a module so that two descriptions are equal if nothing changed."""
    alive.append(value)  # so that no id is used twice
    if isinstance(value, Tensor):
        version = None if value.is_inference() else value._version
        grad = described(value.grad, alive) if value.is_leaf else None
        return id(value), version, value.requires_grad, value.detach().flatten().tolist(), grad
    if isinstance(value, dict):
        return id(value), [(key, described(item, alive)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return id(value), [described(item, alive) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else id(value)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    alive: list[object] = []

    def state() -> dict[str, object]:
        found: dict[str, object] = {
            "grad mode": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "random numbers": torch.get_rng_state().tolist(),
        }
        for path, module in model.named_modules():
            found[f"{path} itself"] = id(module), type(module)
            found[f"{path} has"] = sorted(module.__dict__)
            for key, value in module.__dict__.items():
                found[f"{path}.{key}"] = described(value, alive)
        return found

    before = state()
    try:
        yield
    finally:
        after = state()
        assert [key for key in before if before[key] != after.get(key)] == []


# What a cut finds


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_activations_output_and_gradients_equal_the_oracle(case: Case, dtype: torch.dtype) -> None:
    model, images = case.model(dtype), case.images(dtype=dtype)
    expected = probe(model, case.layer, images, classes(CHOSEN), case.grid)
    found = cut(model, images, case.layer)
    assert found.layer == case.layer
    assert found.reason == "named"
    assert_agrees(found.activations, expected.activations)
    assert_agrees(found.output, expected.output.detach())
    assert_agrees(found.gradients(CHOSEN), expected.gradients)


@every_case
def test_gradcam_equals_the_oracle(case: Case) -> None:
    model, images = case.model(), case.images()
    expected = probe(model, case.layer, images, classes(CHOSEN), case.grid)
    found = cut(model, images, case.layer)
    evidence = Evidence(
        activations=found.activations,
        image=found.image,
        score=found.score(CHOSEN).values.detach(),
        found={"gradients": found.gradients(CHOSEN)},
    )
    raw = METHODS["gradcam"].function(evidence)
    assert_agrees(raw, gradcam(expected.activations, expected.gradients))


def test_activations_before_an_in_place_relu_are_those_that_were_there() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(2, *PICTURE, dtype=torch.float64)
    assert cut(model, images, "block1.bn1").activations.min() < 0
    with torch.no_grad():
        expected = model.block1.bn1(model.block1.conv1(model.stem(images)))
    assert_agrees(cut(model, images, "block1.bn1").activations, expected)


def test_the_target_defaults_to_the_predicted_class() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(4, *PICTURE, dtype=torch.float64)
    predicted = model(images).argmax(1).tolist()
    found = cut(model, images, "features")
    assert torch.equal(found.gradients(), found.gradients(predicted))
    assert found.score().indices is not None
    assert_agrees(found.score().values, model(images).detach().max(1).values)


def test_the_gradient_of_any_callable_equals_the_oracle() -> None:
    def margin(output: Tensor) -> Tensor:
        return output[:, 0] - output[:, 1:].logsumexp(1)

    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1", images, margin, channels_first)
    assert_agrees(cut(model, images, "block1").gradients(margin), expected.gradients)


def test_one_cut_gives_the_gradients_of_many_targets_in_any_order() -> None:
    model, images = ready(networks.TinyViT()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(model, images, "blocks.0")
    for target in (3, 0, 3, 4):
        expected = probe(model, "blocks.0", images, classes([target] * 2), VIT)
        assert_agrees(found.gradients(target), expected.gradients)


def test_the_gradient_is_zero_where_the_score_does_not_depend_on_the_layer() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(model, images, "features")
    gradients = found.gradients(lambda _output: torch.ones(2))
    assert gradients.shape == found.activations.shape
    assert not gradients.any()


def test_changing_what_a_cut_handed_out_does_not_change_its_gradients_or_head() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found, again = cut(model, images, "block1"), cut(model, images, "block1")
    original = found.activations.clone()
    found.activations.zero_()
    found.output.zero_()
    assert torch.equal(found.gradients(1), again.gradients(1))
    assert_agrees(found.head(original), again.output)


# The three worked examples of the article


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
    cut(model, images, "second")
    assert graphs == {"first": False, "second": False, "third": True, "fc": True}


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


class Raised(Exception):
    pass


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


# The weights of CAM


def test_class_weights_are_the_linear_layer_s_for_the_class_of_each_image() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    found = cut(model, images, "features")
    assert torch.equal(found.class_weights(CHOSEN), model.fc.weight.detach()[CHOSEN])
    predicted = model(images).argmax(1)
    assert torch.equal(found.class_weights(), model.fc.weight.detach()[predicted])


def test_class_weights_of_a_difference_are_the_difference_of_the_weights() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    weights = cut(model, images, "features").class_weights(lambda y: y[:, 3] - y[:, 1])
    weight = model.fc.weight.detach()
    assert_agrees(weights, (weight[3] - weight[1]).expand(3, -1))


@every_mode
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_class_weights_are_found_in_every_precision_and_grad_mode(
    dtype: torch.dtype, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    model, images = ready(networks.PoolLinear(), dtype), torch.randn(3, *PICTURE, dtype=dtype)
    with mode(), untouched(model):
        weights = cut(model, images, "features").class_weights(2)
    assert torch.equal(weights, model.fc.weight.detach()[[2, 2, 2]])


def test_a_convolution_of_one_cell_before_the_pool_is_a_linear_layer_too() -> None:
    conv = nn.Conv2d(6, 4, 1)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    found = cut(model, torch.randn(2, *PICTURE, dtype=torch.float64), "0")
    assert torch.equal(found.class_weights(3), conv.weight.detach()[[3, 3], :, 0, 0])


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (networks.PoolLinear, "features.0"),
        (networks.ResidualCNN, "block2"),
        (networks.TinyViT, "blocks.1.norm1"),
        (networks.ChannelsLast, "norm"),
    ],
)
def test_class_weights_do_not_exist_where_the_head_is_something_else(
    network: type[nn.Module], layer: str
) -> None:
    model, images = ready(network()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with pytest.raises(
        MethodError, match=rf"average pool and one linear.*after '{layer}'.*gradcam"
    ):
        cut(model, images, layer).class_weights(1)


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


# Which layer


def test_a_layer_may_be_a_path_a_path_with_indices_or_the_module_itself() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(2, *PICTURE, dtype=torch.float64)
    last = model.features[2]
    layers: list[str | nn.Module] = ["features.2", "features[2]", "features[-1]", last]
    found = [cut(model, images, layer) for layer in layers]
    assert {one.layer for one in found} == {"features.2"}
    for one in found[1:]:
        assert torch.equal(one.gradients(1), found[0].gradients(1))


def test_no_layer_given_has_one_chosen_with_a_reason() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(model, images, None)
    assert found.layer == "block2"
    assert "last layer with a grid" in found.reason
    assert torch.equal(found.gradients(1), cut(model, images, "block2").gradients(1))


@pytest.mark.parametrize(
    ("layer", "error", "text"),
    [
        ("conv", LayerError, r"'conv' \(Conv2d\) ran 2 times.*'conv#1' is the first, 'conv#2' the"),
        ("conv#3", LayerError, r"'conv' \(Conv2d\) ran 2 times in this pass, so it has no call 3"),
        ("stem#2", LayerError, r"'stem' \(Conv2d\) ran once in this pass, so it has no call 2"),
        ("conv#0", LayerError, r"Cannot read the layer 'conv#0'.*which call is meant, from 1"),
        ("conv#last", LayerError, r"Cannot read the layer 'conv#last'"),
        ("unused", LayerError, r"'unused' \(Conv2d\) did not run in this pass"),
        (
            "listed",
            LayerError,
            r"'listed' \(ModuleList\) did not run.*A container.*its children do",
        ),
        ("listed[1]", UnknownNameError, r"no layer 'listed\[1\]': 'listed' has 1 mod"),
        ("listed[-2]", UnknownNameError, r"no layer 'listed\[-2\]': 'listed' has 1 mod"),
        ("convv", UnknownNameError, r"no layer named 'convv'. Did you mean 'conv'"),
        (
            "backbone.7",
            UnknownNameError,
            r"no layer named 'backbone.7'.*Inside 'CalledTwice' there",
        ),
        ("", LayerError, r"Cannot read the layer ''. A dotted path was expected"),
        ("fc", LayerError, r"'fc' \(Linear\) put out \[2, 4\].*no reading of that is a grid"),
        (nn.Conv2d(3, 6, 3), LayerError, r"is a Conv2d outside the model.*inside CalledTwice"),
    ],
    ids=str,
)
def test_a_layer_that_cannot_be_cut_at_says_why(
    layer: str | nn.Module, error: type[Exception], text: str
) -> None:
    model, images = ready(networks.CalledTwice()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with pytest.raises(error, match=text):
        cut(model, images, layer)


def test_the_whole_model_is_no_layer() -> None:
    model, images = ready(networks.Chain()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with pytest.raises(LayerError, match="is the whole model; a layer inside Chain was expected"):
        cut(model, images, model)


def test_a_module_that_the_model_itself_does_not_run_says_so() -> None:
    class Direct(networks.Chain):
        def forward(self, x: Tensor) -> Tensor:
            return self.finish(self.second.forward(self.first(x).tanh()).tanh())

    model, images = ready(Direct()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with pytest.raises(LayerError, match=r"'second' \(Conv2d\) did not run"):
        cut(model, images, "second")


def test_a_layer_without_a_floating_point_output_says_so() -> None:
    class Rounds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.round().long()

    class Model(networks.Chain):
        def __init__(self) -> None:
            super().__init__()
            self.rounds = Rounds()

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + self.rounds(x))

    with pytest.raises(LayerError, match=r"'rounds' \(Rounds\) put out no floating point tensor"):
        cut(ready(Model()), torch.randn(2, *PICTURE, dtype=torch.float64), "rounds")


def test_an_image_without_a_batch_axis_is_told_how_to_get_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(0), nn.LazyLinear(4))
    model(torch.randn(PICTURE))
    with pytest.raises(LayerError, match=r"first axis is not the batch.*image\[None\]"):
        cut(model, torch.randn(PICTURE), "0")


@pytest.mark.parametrize("call", [1, 2])
def test_one_call_of_several_can_be_chosen(call: int) -> None:
    model, images = ready(networks.CalledTwice()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "conv", images, classes(CHOSEN), channels_first, call=call)
    found = cut(model, images, f"conv#{call}")
    assert found.layer == f"conv#{call}"
    assert_agrees(found.activations, expected.activations)
    assert_agrees(found.gradients(CHOSEN), expected.gradients)
    other = torch.randn_like(found.activations)
    afresh = substituted(model, "conv", images, other, call=call)
    assert_agrees(found.head(other).detach(), afresh)


def test_an_in_place_relu_that_runs_twice_can_be_chosen_by_its_call() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    for call in (1, 2):
        expected = probe(model, "block1.relu", images, classes(CHOSEN), channels_first, call=call)
        found = cut(model, images, f"block1.relu#{call}")
        assert_agrees(found.activations, expected.activations)
        assert_agrees(found.gradients(CHOSEN), expected.gradients)


# What goes in and what comes out


def test_tuple_and_dict_inputs_are_what_the_model_takes() -> None:
    model = ready(networks.TwoInputs())
    image, known = (torch.randn(3, *s, dtype=torch.float64) for s in (PICTURE, (2,)))
    for inputs in ((image, known), {"known": known, "image": image}):
        expected = probe(model, "conv", inputs, classes(CHOSEN), channels_first)
        found = cut(model, inputs, "conv")
        assert torch.equal(found.image, image)
        assert_agrees(found.gradients(CHOSEN), expected.gradients)
        other = torch.randn(2, *found.activations.shape[1:], dtype=torch.float64)
        rows = torch.tensor([2, 0])
        picked = {"image": image[rows], "known": known[rows]}
        assert_agrees(
            found.head(other, rows=rows).detach(), substituted(model, "conv", picked, other)
        )


@every_mode
def test_inputs_made_under_inference_mode_may_be_read_after_the_layer(
    mode: Callable[[], AbstractContextManager[object]],
) -> None:
    model = ready(networks.TwoInputs())
    image, known = (torch.randn(3, *s, dtype=torch.float64) for s in (PICTURE, (2,)))
    expected = probe(model, "conv", (image, known), classes(CHOSEN), channels_first)
    with torch.inference_mode():
        made = image * 1, known * 1
    with mode():
        found = cut(model, made, "conv")
        assert_agrees(found.gradients(CHOSEN), expected.gradients)
        assert_agrees(found.head(found.activations).detach(), expected.output.detach())


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "object"])
def test_logits_are_found_in_what_the_model_returns(kind: str) -> None:
    torch.manual_seed(1)
    model = ready(networks.Returns(kind))
    torch.manual_seed(1)
    plain = ready(networks.Chain())
    images = torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(plain, "second", images, classes(CHOSEN), channels_first)
    found = cut(model, images, "second")
    assert type(found.output) is type(model(images))
    assert_agrees(found.gradients(CHOSEN), expected.gradients)
    assert_agrees(found.score(CHOSEN).values, classes(CHOSEN)(expected.output).detach())
    assert cut(model, images, None).layer == "third"


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "object"])
def test_the_output_has_no_graph(kind: str) -> None:
    model = ready(networks.Returns(kind))
    output = cut(model, torch.randn(2, *PICTURE, dtype=torch.float64), "second").output
    parts = vars(output) if isinstance(output, networks.Result) else output
    parts = list(parts.values()) if isinstance(parts, dict) else parts
    assert [part.requires_grad for part in parts] == [False, False]


def test_a_model_that_returns_no_tensor_says_so() -> None:
    model, images = ready(networks.Returns("nothing")), torch.randn(2, *PICTURE).double()
    with pytest.raises(ModelError, match=r"The model returned None.*Wrap the model"):
        cut(model, images, "second").gradients(1)


def test_several_layers_in_one_pass_are_what_each_is_on_its_own() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    names = ["block2", "stem.0", "block1.relu#2", "block2.conv1", "block1", "stem.0"]
    together = cuts(model, images, [*names, None])
    assert [one.layer for one in together] == [*names, "block2"]
    for one in together:
        alone = cut(model, images, one.layer)
        assert_agrees(one.activations, alone.activations)
        assert_agrees(one.gradients(CHOSEN), alone.gradients(CHOSEN))
        other = torch.randn_like(one.activations)
        assert_agrees(one.head(other).detach(), alone.head(other).detach())


def test_several_layers_take_one_pass() -> None:
    model, images = ready(networks.Chain()), torch.randn(3, *PICTURE, dtype=torch.float64)
    ran: list[int] = []
    model.fc.register_forward_hook(lambda *_: ran.append(1))
    for one in cuts(model, images, ["first", "second", "third"]):
        one.gradients(1)
        one.gradients(2)
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            torch.full((2, 3, 8, 8), torch.nan),
            r"NaN or infinite \(192 in image 0, 192 in image 1\)",
        ),
        (torch.zeros(0, 3, 8, 8), r"empty: their shape is \[0, 3, 8, 8\]"),
        (torch.zeros(2, 3, 0, 8), r"empty: their shape is \[2, 3, 0, 8\]"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], r"shapes \[\[3, 8, 8\], \[3, 8, 9\]\]; one"),
        (["a.jpg"], r"a list of str; a list of images \[C, H, W\] was expected"),
        ([], r"a list of nothing; a list of images"),
        ("cat.jpg", r"inputs are a str; a tensor"),
        (None, r"inputs are a NoneType; a tensor"),
        ((1, 2), r"hold no tensor with a batch axis"),
        ({"x": torch.tensor(1.0)}, r"hold no tensor with a batch axis"),
    ],
    ids=[
        "nan",
        "no image",
        "no rows",
        "sizes",
        "names",
        "empty list",
        "text",
        "none",
        "no tensor",
        "scalar",
    ],
)
def test_inputs_that_cannot_be_explained_say_why(inputs: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cut(networks.Chain(), inputs, "second")


def test_only_the_images_that_are_not_finite_are_named() -> None:
    images = torch.randn(3, *PICTURE)
    images[1, 0, 0, 0], images[1, 1, 2, 3] = torch.inf, torch.nan
    with pytest.raises(InputError, match=r"\(2 in image 1\)"):
        cut(networks.Chain(), images, "second")
    with pytest.raises(InputError, match="NaN or infinite"):
        cut(networks.Chain(), torch.tensor([1.0, torch.nan]), "second")


# Models in wrappers, and models that cannot be cut


def test_wrapped_models_are_looked_through() -> None:
    model, images = ready(networks.Chain()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = cut(model, images, "second")
    wrapped = [
        networks.Wrapper(model),
        nn.DataParallel(model),
        nn.DataParallel(networks.Wrapper(model)),
        cast("nn.Module", torch.compile(model, backend="eager")),
    ]
    for wrapper in wrapped:
        found = cut(wrapper, images, "second")
        assert_agrees(found.gradients(1), expected.gradients(1))
        assert_agrees(found.head(found.activations).detach(), expected.output)
        assert cut(wrapper, images, None).layer == "third"
        assert record(wrapper, images)


def test_modules_compiled_in_place_are_cut_as_they_were_written() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1.conv2", images, classes(CHOSEN), channels_first)

    def refuse(_graph: object, _inputs: object) -> Any:
        raise AssertionError("compiled")

    model.block1.compile(backend=refuse)
    model.compile(backend=refuse)
    with untouched(model):
        found = cut(model, images, "block1.conv2")
        assert_agrees(found.gradients(CHOSEN), expected.gradients)
        assert_agrees(found.head(found.activations).detach(), expected.output.detach())


def test_a_layer_inside_a_compiled_child_can_be_cut_at() -> None:
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1.conv2", images, classes(CHOSEN), channels_first)
    compiled = torch.compile(model.block1, backend="eager")
    model.add_module("block1", cast("nn.Module", compiled))
    found = cut(model, images, "block1._orig_mod.conv2")
    assert_agrees(found.gradients(CHOSEN), expected.gradients)
    assert_agrees(found.head(found.activations).detach(), expected.output.detach())


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # it is deprecated, and still met
def test_a_scripted_model_is_refused() -> None:
    images = torch.randn(1, *PICTURE)
    traced = torch.jit.trace(networks.Chain(), images)  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"is a ScriptModule.*Pass the eager model"):
        cut(traced, images, "second")
    with pytest.raises(ModelError, match=r"is a ScriptModule.*Pass the eager model"):
        cut(nn.Sequential(traced, nn.ReLU()), images, "0.second")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lazy", [lambda: nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d])
def test_a_model_with_uninitialised_parameters_is_told_to_run_first(
    lazy: Callable[[], nn.Module], training: bool
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), lazy(), nn.Flatten(), nn.LazyLinear(3))
    for layer in ("0", None):
        with pytest.raises(ModelError, match=r"not initialised yet\. Run the model once"):
            cut(model.train(training), torch.randn(1, *PICTURE), layer)


@pytest.mark.parametrize("model", ["resnet50", None, networks.Chain, lambda x: x])
def test_what_is_no_module_is_refused(model: Any) -> None:
    with pytest.raises(ModelError, match=r"The model is a \w+; a torch.nn.Module was expected"):
        cut(model, torch.randn(1, *PICTURE), "second")


# The head


HEADS = [case for case in CASES if case.layer not in ("pair",)]


def ungrid(case: Case, activations: Tensor, raw: Tensor) -> Tensor:
    """Return activations as the layer would have put them out; prefix tokens are those of `raw`."""
    if case.grid is channels_first:
        return activations
    if case.grid is channels_last:
        return activations.permute(0, 2, 3, 1)
    raw = raw.clone()
    raw[:, case.prefix :] = activations.flatten(2).transpose(1, 2)
    return raw


@every_case
def test_the_head_of_the_layer_s_own_activations_is_the_output(case: Case) -> None:
    model, images = case.model(), case.images()
    found = cut(model, images, case.layer)
    for _ in range(2):
        assert_agrees(found.head(found.activations).detach(), found.output)


@pytest.mark.parametrize("case", HEADS, ids=name)
@every_mode
def test_the_head_of_other_activations_equals_a_forward_with_them_in_place(
    case: Case, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    model, images = case.model(), case.images()
    found = cut(model, images, case.layer)
    raw = probe(model, case.layer, images, classes(CHOSEN), case.grid).raw
    for _ in range(2):
        other = torch.randn_like(found.activations)
        expected = substituted(model, case.layer, images, ungrid(case, other, raw))
        with mode():
            output = found.head(other)
        assert_agrees(output.detach(), expected)


@pytest.mark.parametrize("case", HEADS, ids=name)
@pytest.mark.parametrize("rows", [[1], [2, 0], [2, 1, 0], [0, 0, 1, 2, 2, 2, 1]], ids=str)
def test_the_head_takes_other_batches(case: Case, rows: list[int]) -> None:
    model, images = case.model(), case.images()
    found = cut(model, images, case.layer)
    other = torch.randn(len(rows), *found.activations.shape[1:], dtype=torch.float64)
    raw = probe(model, case.layer, images[rows], lambda y: y[:, 0], case.grid).raw
    expected = substituted(model, case.layer, images[rows], ungrid(case, other, raw))
    assert_agrees(found.head(other, rows=torch.tensor(rows)).detach(), expected)


@pytest.mark.parametrize("case", HEADS, ids=name)
@pytest.mark.parametrize("count", [1, 3, 5])  # 3 is also how many rows the table has
def test_one_image_needs_no_rows(case: Case, count: int) -> None:
    model, image = case.model(), case.images(1)
    found = cut(model, image, case.layer)
    other = torch.randn(count, *found.activations.shape[1:], dtype=torch.float64)
    images = image.expand(count, *image.shape[1:])
    raw = probe(model, case.layer, images, lambda y: y[:, 0], case.grid).raw
    expected = substituted(model, case.layer, images, ungrid(case, other, raw))
    assert_agrees(found.head(other).detach(), expected)


@few_cases
def test_the_head_is_differentiable(case: Case) -> None:
    model, images = case.model(), case.images()
    found = cut(model, images, case.layer)
    activations = found.activations.clone().requires_grad_()
    with untouched(model):
        score = classes(CHOSEN)(found.head(activations)).sum()
        (gradient,) = torch.autograd.grad(score, activations, create_graph=True)
        assert_agrees(gradient.detach(), found.gradients(CHOSEN))
        (again,) = torch.autograd.grad(gradient.square().sum(), activations)
    assert again.isfinite().all()


def test_the_head_keeps_to_the_caller_s_grad_mode() -> None:
    model, images = ready(networks.Chain()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(model, images, "second")
    activations = found.activations.clone().requires_grad_()
    with torch.no_grad():
        assert not found.head(activations).requires_grad
    assert found.head(activations).requires_grad


def test_the_head_does_not_run_the_body() -> None:
    ran: list[str] = []

    class Counted(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            ran.append(f"{self.in_channels} to {self.out_channels}")
            return super().forward(x)

    model = networks.Chain()
    model.first, model.second, model.third = Counted(3, 5, 3), Counted(5, 6, 3), Counted(6, 6, 3)
    images = torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(ready(model), images, "second")
    found.head(found.activations)
    found.head(found.activations[:1], rows=torch.tensor([1]))
    ran.clear()
    found.head(found.activations)
    found.head(found.activations[:1], rows=torch.tensor([1]))
    found.gradients(1)
    assert ran == ["6 to 6"] * 2


@pytest.mark.parametrize(
    ("shape", "rows", "text"),
    [
        ((2, 5, 5, 7), None, r"shape \[2, 5, 5, 7\]; \[M, 6, 5, 7\] was expected at 'second'"),
        ((2, 6, 5, 8), None, r"\[M, 6, 5, 7\] was expected"),
        ((2, 6, 5), None, r"\[M, 6, 5, 7\] was expected"),
        ((3, 6, 5, 7), None, r"3 activations for 2 images. Pass rows="),
        ((3, 6, 5, 7), [0, 1], r"rows is \[0, 1\]; 3 integers from 0 to 1 were expected"),
        ((3, 6, 5, 7), [0, 1, 2], r"rows is \[0, 1, 2\]; 3 integers from 0 to 1"),
        ((3, 6, 5, 7), [0, -1, 1], r"rows is \[0, -1, 1\]; 3 integers from 0 to 1"),
        ((2, 6, 5, 7), [0.0, 1.0], r"rows is \[0.0, 1.0\]; 2 integers from 0 to 1"),
        ((2, 6, 5, 7), [False, True], r"rows is \[False, True\]; 2 integers from 0 to 1"),
    ],
)
def test_activations_that_do_not_fit_the_head_say_why(
    shape: tuple[int, ...], rows: list[int] | None, text: str
) -> None:
    model, images = ready(networks.Chain()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = cut(model, images, "second")
    given = None if rows is None else torch.tensor(rows)
    with pytest.raises(InputError, match=text):
        found.head(torch.zeros(shape, dtype=torch.float64), rows=given)


# Memory


def live(collect: bool = True) -> int:
    if collect:
        gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


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
    import weakref

    model, images = ready(networks.PoolLinear()), torch.randn(1, 3, 8, 8).double()
    found = cut(model, images, None)
    found.head(found.activations)
    gone = weakref.ref(model)
    del model, found
    gc.collect()
    assert gone() is None


def test_the_oracle_itself_runs_tuples_and_dicts_alike() -> None:
    model = ready(networks.TwoInputs())
    image, known = (torch.randn(2, *s, dtype=torch.float64) for s in (PICTURE, (2,)))
    assert torch.equal(run(model, (image, known)), run(model, {"image": image, "known": known}))
