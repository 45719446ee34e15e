"""The head of a cut: what is behind the layer, run again, and the weights of CAM."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from helpers import networks
from helpers.cut_cases import CASES, Case, every_case, every_mode, few_cases, name
from helpers.model_state import untouched
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, MethodError
from limelight.runtime.cut import cut
from oracles.evidence import channels_first, channels_last, classes, probe, substituted

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


# Hooks of the user


class _Twice(nn.Module):
    """What comes before the layer is read again behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.layer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        before = self.before(images)
        logits: Tensor = self.fc((self.layer(before.relu()).relu() + before).mean((2, 3)))
        return logits


def test_what_a_hook_changes_in_front_of_the_layer_stays_changed() -> None:
    model, images = ready(_Twice()), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    model.before.register_forward_hook(lambda _module, _args, output: 2 * output)
    found, expected = cut(model, images, "layer"), model(images)
    assert_agrees(found.head(found.activations), expected)
    rows = [1, 0, 1]
    assert_agrees(found.head(found.activations[rows], rows=rows), expected[rows])
