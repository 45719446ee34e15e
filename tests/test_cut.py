"""What a cut finds: activations, gradients, output; at which layer, of which inputs and models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from helpers import networks
from helpers.cut_cases import VIT, Case, every_case, every_mode
from helpers.model_state import untouched
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, LayerError, MethodError, ModelError, UnknownNameError
from limelight.evidence import Evidence
from limelight.methods import METHODS
from limelight.runtime.cut import cut, cuts
from limelight.runtime.record import record
from oracles.evidence import channels_first, classes, probe, run, substituted
from oracles.weighted import gradcam

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
        (
            "fc",
            LayerError,
            r"'fc' \(Linear\) put out \[2, 4\].*no grid over the image: it has a single position",
        ),
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
    cuts(model, images, ["first", "second", "third"])
    assert len(ran) == 2  # the network is recorded once, for all layers
    ran.clear()
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


def test_the_oracle_itself_runs_tuples_and_dicts_alike() -> None:
    model = ready(networks.TwoInputs())
    image, known = (torch.randn(2, *s, dtype=torch.float64) for s in (PICTURE, (2,)))
    assert torch.equal(run(model, (image, known)), run(model, {"image": image, "known": known}))


def test_an_operator_without_a_second_derivative_is_told_by_its_name() -> None:
    from torchvision.ops import roi_align

    place = torch.tensor([[0, 0.0, 0.0, 4.0, 4.0]], dtype=torch.float32, device="cpu")

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            grids: torch.Tensor = roi_align(self.body(images), place, 2)
            return grids.square().sum((2, 3))

    images = torch.rand(1, 3, 8, 8, dtype=torch.float32, device="cpu")
    with pytest.raises(MethodError, match="roi_align"):
        cut(Pooled().eval(), images, "body").curvature(1)
