from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import limelight
from helpers import networks
from helpers.networks import PoolLinear, ready
from helpers.tolerances import assert_agrees
from limelight.errors import LimelightError, ModelError, TargetError, UnknownNameError
from limelight.targets import OutputSpec, Rank, Scores, ScoreTarget, TargetContext, as_target, top
from limelight.targets.class_names import class_index, label_of
from limelight.targets.outputs import find_logits

CLASSES = ["tabby, tabby cat", "tiger cat", "pug, pug-dog", "crane", "crane"]
LOGITS = torch.tensor([[0.1, 0.5, -2.0, 3.0, 1.0], [4.0, 0.0, 2.0, -1.0, 1.5]])


def score(output: object, target: Any, batch: int, classes: Any) -> Scores:
    """Score an output of a classifier of pictures."""
    return as_target(target).score(output, TargetContext(batch, (8, 8), OutputSpec(classes)))


def values_of(target: Any, output: object = LOGITS, classes: list[str] | None = CLASSES) -> Any:
    return score(output, target, 2, classes).values.tolist()


# What a target may be


@pytest.mark.parametrize(
    ("target", "indices"),
    [
        (None, [3, 0]),
        (2, [2, 2]),
        ("pug", [2, 2]),
        ([1, 4], [1, 4]),
        ((1, 4), [1, 4]),
        (range(2), [0, 1]),
        (["tiger cat", "tabby"], [1, 0]),
        ([1, "pug"], [1, 2]),
        (torch.tensor([3, 1]), [3, 1]),
        (torch.tensor([3, 1], dtype=torch.uint8), [3, 1]),
        (torch.tensor(3), [3, 3]),
        (np.int64(3), [3, 3]),
        (np.array([3, 1]), [3, 1]),
        ([np.int32(3), torch.tensor(1)], [3, 1]),
        (Rank(1), [3, 0]),
        (Rank(2), [4, 2]),
        (Rank(5), [2, 3]),
    ],
    ids=str,
)
def test_a_target_is_one_class_per_image(target: Any, indices: list[int]) -> None:
    found = score(LOGITS, target, 2, CLASSES)
    assert found.indices is not None
    assert found.indices.tolist() == indices
    assert found.values.tolist() == [LOGITS[0, indices[0]].item(), LOGITS[1, indices[1]].item()]
    assert found.labels == tuple(CLASSES[index] for index in indices)


def test_scores_are_logits_with_their_graph_and_only_of_their_own_image() -> None:
    logits = LOGITS.clone().requires_grad_()
    for target in (None, 1, [1, 2], Rank(2)):
        found = score(logits, target, 2, None)
        assert found.indices is not None
        (gradient,) = torch.autograd.grad(found.values.sum(), logits)
        expected = torch.zeros_like(LOGITS)
        expected[[0, 1], found.indices] = 1
        assert torch.equal(gradient, expected)


def test_a_callable_is_given_the_whole_output_and_its_scores_are_taken_as_they_are() -> None:
    output = {"logits": LOGITS, "boxes": torch.ones(2, 4)}

    def width(given: dict[str, Tensor]) -> Tensor:
        assert given is output
        return given["boxes"][:, 2] * 3

    found = score(output, width, 2, CLASSES)
    assert found.values.tolist() == [3, 3]
    assert found.indices is None
    assert found.labels == ("width", "width")


def test_a_lambda_and_an_object_that_is_callable_have_a_label_too() -> None:
    class Margin:
        def __call__(self, output: Tensor) -> Tensor:
            return output[:, 0] - output[:, 1]

    assert score(LOGITS, lambda y: y[:, 0], 2, None).labels == ("custom target",) * 2
    assert score(LOGITS, Margin(), 2, None).labels == ("Margin",) * 2


def test_an_error_inside_a_callable_comes_out_as_it_is() -> None:
    def broken(_output: Tensor) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        score(LOGITS, broken, 2, None)


def test_one_output_per_image_is_one_class() -> None:
    for output in (torch.tensor([0.5, -2.0]), torch.tensor([[0.5], [-2.0]])):
        assert values_of(None, output, None) == [0.5, -2.0]
        assert values_of("only", output, ["only"]) == [0.5, -2.0]
        with pytest.raises(TargetError, match="target class is 1; the model has 1 class"):
            score(output, 1, 2, None)


def test_the_top_classes_are_each_image_s_own() -> None:
    assert top(3) == [Rank(1), Rank(2), Rank(3)]
    found = [score(LOGITS, target, 2, None).values.tolist() for target in top(5)]
    assert torch.equal(torch.tensor(found).T, LOGITS.sort(dim=1, descending=True).values)


def test_ranks_are_different_classes_when_logits_are_equal() -> None:
    flat = torch.zeros(1, 4)
    found = [score(flat, target, 1, None).indices for target in top(4)]
    assert {index.item() for index in found if index is not None} == {0, 1, 2, 3}


def test_half_precision_logits_have_scores() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        assert score(LOGITS.to(dtype), "pug", 2, CLASSES).values.tolist() == [-2.0, 2.0]


# Names


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tabby", 0),
        ("tabby cat", 0),
        ("tabby, tabby cat", 0),
        ("TABBY", 0),
        ("  Tiger Cat ", 1),
        ("pug-dog", 2),
    ],
)
def test_a_class_has_every_one_of_its_names_in_any_case(name: str, index: int) -> None:
    assert class_index(name, 5, CLASSES) == index


def test_a_whole_name_goes_before_a_part_of_another() -> None:
    assert class_index("cat", 3, ["cat, tabby", "cat", "dog"]) == 1


def test_the_thousand_classes_of_imagenet_are_known_by_name() -> None:
    assert class_index("tabby", 1000, None) == 281
    assert class_index("pug", 1000, None) == 254
    with pytest.raises(UnknownNameError, match=r"no class named 'tabbby'\. Did you mean 'tabby'"):
        class_index("tabbby", 1000, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tiger", r"no class named 'tiger'\. Did you mean 'tiger cat'\?"),
        ("tabbi", r"no class named 'tabbi'\. Did you mean 'tabby'"),
        ("Pugg", r"no class named 'Pugg'\. Did you mean 'pug"),
        ("volcano", r"no class named 'volcano'\. .*those of the weights, such as tabby, tabby cat"),
        ("", r"no class named ''"),
    ],
)
def test_a_name_that_is_no_class_comes_with_the_nearest_ones(name: str, text: str) -> None:
    with pytest.raises(UnknownNameError, match=text) as caught:
        class_index(name, 5, CLASSES)
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, LimelightError)
    assert not str(caught.value).startswith(("'", '"'))


def test_names_that_hold_a_name_as_a_word_come_first() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'great grey owl', 'bowl', 'fowl'"):
        class_index("owl", 3, ["bowl", "fowl", "great grey owl"])


def test_a_name_that_several_classes_share_needs_an_index() -> None:
    with pytest.raises(
        TargetError, match=r"Several classes are named 'crane': \[3, 4\]\. Pass one"
    ):
        class_index("crane", 5, CLASSES)


def test_a_name_without_names_asks_for_them() -> None:
    with pytest.raises(TargetError, match=r"'pug'.*the model's 5 classes are not known\. Pass"):
        class_index("pug", 5, None)


@pytest.mark.parametrize("classes", [CLASSES[:4], [*CLASSES, "crow"], []], ids=len)
@pytest.mark.parametrize("target", ["tiger cat", 1, None, [0, 1], Rank(2)], ids=str)
def test_names_that_are_of_another_model_are_refused(target: Any, classes: list[str]) -> None:
    text = rf"There are {len(classes)} class names for a model with 5 classes\. Pass the names"
    with pytest.raises(TargetError, match=text):
        score(LOGITS, target, 2, classes)


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    assert label_of(1, CLASSES) == "tiger cat"
    assert label_of(7, None) == "class 7"
    assert score(LOGITS, [3, 0], 2, None).labels == ("class 3", "class 0")


# Targets that give no score per image


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (5, r"target class is 5; the model has 5 classes, so an index from 0 to 4 was expected"),
        (-1, r"target class is -1; the model has 5 classes, so an index from 0 to 4"),
        (1.0, r"target class is 1\.0; .* an index from 0 to 4"),
        (True, r"target class is True; .* an index from 0 to 4"),
        ({"cat": 1}, r"target class is \{'cat': 1\}; .* an index from 0 to 4"),
        ([0, 9], r"target class is 9"),
        ([0, None], r"target class is None"),
        ([[0, 1], [1, 0]], r"target class is \[0, 1\]"),
        ([0], r"There are 1 targets for 2 images\. Pass one for all \(target=281\) or one per im"),
        ([0, 1, 2], r"There are 3 targets for 2 images.*several classes of each image"),
        ([], r"There are 0 targets for 2 images"),
        (torch.tensor([0]), r"There are 1 targets for 2 images"),
        (torch.tensor([0, 1, 2]), r"There are 3 targets for 2 images"),
        (torch.tensor([0.0, 1.0]), r"tensor of torch.float32 \[2\]; class indices.*integers \[2\]"),
        (torch.tensor([[0], [1]]), r"tensor of torch.int64 \[2, 1\]; class indices were expected"),
        (torch.tensor([True, False]), r"target"),
        (Rank(6), r"rank 6 was asked for; the model has 5 classes"),
        (Rank(0), r"rank 0 was asked for; the model has 5"),
        (Rank(-1), r"rank -1 was asked for; the model has 5"),
    ],
    ids=str,
)
def test_a_target_that_is_no_class_says_what_was_expected(target: Any, text: str) -> None:
    with pytest.raises(TargetError, match=text) as caught:
        score(LOGITS, target, 2, CLASSES)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LimelightError)


@pytest.mark.parametrize("k", [0, -3])
def test_the_top_of_no_class_is_refused(k: int) -> None:
    with pytest.raises(TargetError, match=rf"Asked for the top {k} classes; ask for at least one"):
        top(k)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (lambda y: y, r"returned \[2, 5\]; one score per image was expected.*shape \[2\]"),
        (lambda y: y.sum(), r"returned \[\]; one score per image"),
        (lambda y: y[:1, 0], r"returned \[1\]; one score per image"),
        (lambda y: y[:, :1], r"returned \[2, 1\]; one score per image"),
        (lambda y: 3.0, r"returned float; one score per image"),
        (
            lambda y: None,
            r"returned NoneType; one score.*For class 281: lambda output: out",
        ),
        (lambda y: [0.0, 1.0], r"returned list; one score per image"),
    ],
)
def test_a_callable_that_gives_no_score_per_image_says_what_was_expected(
    target: Any, text: str
) -> None:
    with pytest.raises(TargetError, match=text):
        score(LOGITS, target, 2, None)


@pytest.mark.parametrize(
    "shape",
    [(2, 21, 8), (2, 21, 8, 8, 2), (3, 5), (5,), (), (1, 2, 5)],
    ids=lambda shape: str(list(shape)),
)
def test_a_class_needs_logits_and_another_output_a_callable(shape: tuple[int, ...]) -> None:
    needs = r"needs logits \[B, C\] = \[2, C\]; the model returned .* pass a callable"
    with pytest.raises(TargetError, match=needs):
        score(torch.zeros(shape), 0, 2, None)


# Where the logits are


@dataclass
class Output:
    hidden: Tensor
    logits: Tensor


@dataclass
class Features:
    note: str
    features: Tensor


class Named(NamedTuple):
    first: Tensor
    second: Tensor


class ModelOutput(OrderedDict[str, Tensor]):
    """Keys that are attributes as well, as in transformers."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


OTHER = torch.zeros(2, 3)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, OTHER),
        [LOGITS, OTHER],
        (None, "text", LOGITS, OTHER),
        Named(LOGITS, OTHER),
        {"logits": LOGITS},
        {"aux": OTHER, "logits": LOGITS},
        {"aux": OTHER, "out": LOGITS},
        {"out": OTHER, "logits": LOGITS},
        {"loss": None, "anything": LOGITS, "later": OTHER},
        {"logits": None, "out": LOGITS},
        OrderedDict(aux=OTHER, logits=LOGITS),
        ModelOutput(hidden=OTHER, logits=LOGITS),
        Output(OTHER, LOGITS),
        Features("a note", LOGITS),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_found(output: object) -> None:
    assert find_logits(output) is LOGITS
    assert values_of("pug", output) == [-2.0, 2.0]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, r"The model returned None; a tensor was expected"),
        ((), r"returned a tuple of 0 without a tensor"),
        ([None, 1.0], r"returned a list of 2 without a tensor"),
        ({"logits": 3}, r"returned a dict of 1 without a tensor"),
        (3.5, r"returned a float without a tensor"),
        ("text", r"returned a str without a tensor.*Wrap the model so that it returns its logits"),
        (object(), r"returned a object without a tensor"),
    ],
    ids=["none", "no tuple", "list", "dict", "number", "text", "object"],
)
def test_an_output_without_a_tensor_says_what_it_is(output: object, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        find_logits(output)
    assert isinstance(caught.value, TypeError)


def test_a_target_of_ones_own_is_one_class() -> None:
    class Margin(ScoreTarget):
        """How far the highest logit is above the second."""

        def score(self, output: Any, context: TargetContext) -> Scores:
            def read(output: Any, rows: Tensor) -> Tensor:
                highest: Tensor = output.topk(2).values
                return highest[:, 0] - highest[:, 1]

            return Scores(read(output, torch.arange(context.batch)), None, ("margin",) * 2, read)

    model = networks.ready(networks.PoolLinear())
    images = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    result = limelight.explain(model, images, target=Margin())
    top = model(images).topk(2).indices
    expected = limelight.explain(
        model,
        images,
        target=lambda y: y.gather(1, top[:, :1])[:, 0] - y.gather(1, top[:, 1:])[:, 0],
    )
    assert result.label == ("margin", "margin")
    assert_agrees(result.raw, expected.raw)
    assert_agrees(result.score, expected.score)
    masked = limelight.explain(model, images, target=Margin(), method="ablationcam")  # reads again
    assert masked.raw.flatten(1).any(1).all()


def test_a_list_of_other_targets_than_classes_says_what_to_do() -> None:
    model, images = ready(PoolLinear()), torch.randn(1, 3, 12, 16, dtype=torch.float64)
    for target in (limelight.AnyOf([1]), lambda y: y[:, 0]):
        with pytest.raises(TargetError, match=r"A list of targets holds a .* call explain_each"):
            limelight.explain(model, images, target=[target])  # type: ignore[list-item]
