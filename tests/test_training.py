"""Losses on where a network looks, against plain hooks and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import limelight
from helpers.networks import ResidualCNN, TinyViT, ready
from helpers.tolerances import assert_agrees
from limelight.errors import InputError
from limelight.metrics.objects import Objects
from limelight.training import inside, outside

LABELS = [1, 0, 2]


def pictures(dtype: torch.dtype = torch.float64, size: int = 20) -> Tensor:
    seeded = torch.Generator().manual_seed(3)
    return torch.randn(3, 3, size, size, dtype=torch.float64, generator=seeded).to(dtype)


def network(dtype: torch.dtype = torch.float64) -> ResidualCNN:
    """A network whose maps of LABELS all show something."""
    torch.manual_seed(3)
    return ready(ResidualCNN(), dtype)


def in_the_corner(images: Tensor) -> Tensor:
    masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
    masks[:, 2:11, 3:15] = True
    return masks


def explained(
    model: nn.Module, images: Tensor, layer: str | None = "block1"
) -> limelight.Explanation:
    return limelight.explain(model, images, target=LABELS, layer=layer, differentiable=True)


def by_hand(model: nn.Module, images: Tensor, layer: str, masks: Tensor) -> Tensor:
    """Return the share of Grad-CAM's heat outside masks: a hook, and a gradient with a graph."""
    kept = list[Tensor]()
    hook = model.get_submodule(layer).register_forward_hook(lambda _m, _a, out: kept.append(out))
    logits = model(images)
    hook.remove()
    (activations,) = kept
    score = logits[torch.arange(len(images)), LABELS].sum()
    (slopes,) = torch.autograd.grad(score, activations, create_graph=True)
    raw = (slopes.mean((2, 3), keepdim=True) * activations).sum(1)
    size = tuple(images.shape[2:])
    heat = interpolate(raw.relu()[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    losses = [
        (one * (1 - mask.to(one))).sum() / one.sum() for one, mask in zip(heat, masks, strict=True)
    ]
    return torch.stack(losses).mean()


def test_the_loss_and_its_gradients_are_those_of_plain_hooks() -> None:
    model, images = network(), pictures()
    masks = in_the_corner(images)
    due = by_hand(model, images, "block1", masks)
    found = outside(explained(model, images), masks)
    assert_agrees(found, due)
    assert 0.05 < float(found.detach()) < 0.95
    parameters = list(model.parameters())
    expected = torch.autograd.grad(due, parameters, allow_unused=True)
    gradients = torch.autograd.grad(found, parameters, allow_unused=True)
    assert sum(bool(each is not None and each.any()) for each in expected) > 10
    for own, plain in zip(gradients, expected, strict=True):
        assert (own is None) == (plain is None)
        if own is not None and plain is not None:
            assert_agrees(own, plain, scale=plain.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize(
    ("kind", "layer"), [(ResidualCNN, "block1"), (TinyViT, "blocks.0")], ids=["cnn", "vit"]
)
@pytest.mark.parametrize("loss", [outside, inside])
def test_the_gradient_by_a_parameter_is_that_of_finite_differences(
    kind: type[nn.Module], layer: str, loss: Callable[..., Tensor]
) -> None:
    torch.manual_seed(3)
    model = ready(kind())
    images = pictures() if kind is ResidualCNN else pictures()[:, :, :12, :16]
    masks = in_the_corner(images)
    parameter = next(model.parameters())
    step, at = 1e-6, (0,) * parameter.ndim

    def value() -> Tensor:
        return loss(explained(model, images, layer), masks)

    (gradient,) = torch.autograd.grad(value(), [parameter])
    with torch.no_grad():
        parameter[at] += step
        above = value()
        parameter[at] -= 2 * step
        below = value()
        parameter[at] += step
    slope = float((above - below).detach()) / (2 * step)
    assert abs(slope) > 1e-5
    assert float(gradient[at]) == pytest.approx(slope, rel=1e-4)


def test_what_is_inside_and_what_is_outside_add_up() -> None:
    images = pictures()
    result = explained(network(), images)
    masks = in_the_corner(images)
    assert_agrees(
        inside(result, masks) + outside(result, masks), torch.ones((), dtype=torch.float64)
    )
    assert_agrees(inside(result, masks), outside(result, ~masks))


def test_the_loss_is_one_minus_the_metric() -> None:
    model, images = network(), pictures()
    result, masks = explained(model, images), in_the_corner(images)
    measured = limelight.measure(model, images, result, metrics="mass-accuracy", objects=masks)
    mean = measured.estimate("gradcam", "mass-accuracy").own.value
    assert float(outside(result, masks).detach()) == pytest.approx(1 - mean, rel=1e-9)


def test_masks_boxes_and_objects_are_the_same() -> None:
    images = pictures()
    result, masks = explained(network(), images), in_the_corner(images)
    boxes = [[[3, 2, 15, 11]]] * 3
    due = outside(result, masks)
    for same in (masks.long(), masks.double(), boxes, Objects.of(boxes, images)):
        assert_agrees(outside(result, same), due)


def test_a_soft_mask_counts_by_its_shares() -> None:
    images = pictures()
    result, masks = explained(network(), images), in_the_corner(images)
    half = outside(result, masks / 2)
    assert_agrees(half, (1 + outside(result, masks)) / 2)
    with pytest.raises(
        InputError, match=r"numbers from 0 to 255; shares from 0 to 1 were expected"
    ):
        outside(result, masks * 255.0)


def test_images_without_an_object_are_left_out() -> None:
    model, images = network(), pictures()
    masks = in_the_corner(images)
    masks[1] = False
    result = explained(model, images)
    rows = [outside(result[row], masks[row : row + 1]) for row in (0, 2)]
    assert_agrees(outside(result, masks), torch.stack(rows).mean())


def test_a_batch_without_objects_trains_nothing() -> None:
    model, images = network(), pictures()
    for loss in (outside, inside):
        value = loss(explained(model, images), torch.zeros(3, 20, 20))
        assert float(value.detach()) == 0
        value.backward()  # type: ignore[no-untyped-call]
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


class Dying(nn.Module):
    """Its map is zero where the first pixel of the image is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        alive = (x[:, :1, :1, :1] > 0).to(x)
        features = self.features(x * alive) * alive
        return cast("Tensor", self.fc(features.mean((2, 3))))


def test_a_dead_map_is_left_out_and_its_gradient_is_no_nan() -> None:
    torch.manual_seed(1)
    model, images = Dying().double(), pictures()
    images[:, 0, 0, 0] = torch.tensor([1.0, -1.0, 1.0])
    masks = in_the_corner(images)
    for target in (1, 0, 2):
        result = limelight.explain(model, images, target=target, differentiable=True)
        if [status.ok for status in result.status] == [True, False, True]:
            break
    assert [status.ok for status in result.status] == [True, False, True]
    value = outside(result, masks)
    alive = torch.stack([outside(result[row], masks[row : row + 1]) for row in (0, 2)])
    assert_agrees(value, alive.mean())
    value.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(each.isfinite().all()) for each in gradients)
    assert any(bool(each.any()) for each in gradients)


def test_all_maps_dead_give_zero_and_no_nan() -> None:
    torch.manual_seed(1)
    model, images = Dying().double(), pictures()
    images[:, 0, 0, 0] = -1
    result = limelight.explain(model, images, target=0, differentiable=True)
    value = outside(result, in_the_corner(images))
    assert float(value.detach()) == 0
    value.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    model, images = network(torch.float32), pictures(torch.float32)
    masks = in_the_corner(images)
    due = outside(explained(model, images), masks)
    with torch.autocast("cpu", dtype):
        found = outside(explained(model, images), masks)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(float(due.detach()), abs=0.03)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    model.to(dtype)
    low = outside(explained(model, images.to(dtype)), masks)
    assert low.dtype == torch.float32
    assert float(low.detach()) == pytest.approx(float(due.detach()), abs=0.05)


def test_a_large_sum_in_float16_does_not_overflow() -> None:
    # 96 x 96 cells of 100 are 921,600; float16 ends at 65,504.
    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 2, 1)
            nn.init.constant_(self.features.weight, 100 / 3)

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.features(x).float().sum((2, 3)))

    model, images = Bright().half(), torch.ones(2, 3, 96, 96, dtype=torch.float16)
    images[:, :, :, 48:] = 0.5
    result = limelight.explain(model, images, target=1, layer="features", differentiable=True)
    masks = torch.zeros(2, 96, 96, dtype=torch.bool)
    masks[:, :, :48] = True
    assert float(outside(result, masks).detach()) == pytest.approx(1 / 3, abs=0.01)


def test_a_map_without_a_graph_is_refused() -> None:
    images = pictures()
    result = limelight.explain(network(), images, target=LABELS)
    with pytest.raises(InputError, match="differentiable=True"):
        outside(result, in_the_corner(images))


def test_masks_of_another_shape_are_refused() -> None:
    images = pictures()
    result = explained(network(), images)
    with pytest.raises(InputError, match=r"Masks \[3, 20, 20\] were expected"):
        outside(result, torch.ones(3, 5, 5))


# In training mode


class Normed(nn.Module):
    """Batch norm, dropout and a linear layer, in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)
        )
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.features(x).mean((2, 3))))


@pytest.mark.parametrize("first", ["map", "logits"])
def test_a_step_updates_running_statistics_once_and_ignores_dropout(first: str) -> None:
    torch.manual_seed(0)
    model, images = Normed().double().train(), pictures()
    masks, labels = in_the_corner(images), torch.tensor(LABELS)
    norm = cast("nn.BatchNorm2d", model.features[1])
    expected = 0.1 * model.features[0](images).mean((0, 2, 3)).detach()  # from 0, momentum 0.1
    if first == "map":
        result = explained(model, images, "features")
        logits = model(images)
    else:
        logits = model(images)
        result = explained(model, images, "features")
    loss = cross_entropy(logits, labels) + outside(result, masks)
    loss.backward()  # type: ignore[no-untyped-call]
    assert norm.running_mean is not None
    assert norm.num_batches_tracked is not None
    assert_agrees(norm.running_mean, expected)
    assert int(norm.num_batches_tracked) == 1
    assert all(module.training for module in model.modules())
    # The map is that of evaluation mode: with running statistics, without dropout.
    if first == "logits":
        plain = limelight.explain(model.eval(), images, target=LABELS, layer="features")
        assert_agrees(result.raw.detach(), plain.raw)


def test_training_on_the_loss_moves_the_heat_onto_the_object() -> None:
    torch.manual_seed(0)
    model, images = Normed().eval(), pictures(torch.float32)
    masks, labels = in_the_corner(images), torch.tensor(LABELS)
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    losses = list[float]()
    for _ in range(20):
        result = explained(model, images, "features")
        loss = outside(result, masks)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        (loss + cross_entropy(model(images), labels)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert all(status.ok for status in result.status)
    assert losses[-1] < losses[0] / 2
