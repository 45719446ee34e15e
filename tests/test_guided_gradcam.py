"""Guided Grad-CAM against plain hooks and autograd, also where Grad-CAM is positive everywhere."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from helpers.tolerances import assert_agrees

CLASS = 1
SIZE = (40, 32)


class Block(nn.Module):
    """A residual block of two convolutions, without in-place operations."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wider, 3, stride, padding=1)
        self.second = nn.Conv2d(wider, wider, 3, padding=1)
        self.beside = nn.Conv2d(channels, wider, 1, stride)
        self.inner, self.outer = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.second(self.inner(self.first(x)))
        return cast("Tensor", self.outer(inside + self.beside(x)))


class SmallResNet(nn.Module):
    """Three residual blocks, a pool and a linear layer.

    Args:
        positive: Whether the head's weights and the last activations are positive, and so Grad-CAM
            is in every cell of the last block.
    """

    def __init__(self, *, positive: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(3, 8, 1), Block(8, 8, 2), Block(8, 12, 2))
        self.fc = nn.Linear(12, 5)
        if positive:
            with torch.no_grad():
                self.fc.weight.abs_()
                cast("Tensor", cast("Block", self.blocks[2]).second.bias).fill_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.blocks(x).mean((2, 3))))


def network(*, positive: bool) -> SmallResNet:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SmallResNet(positive=positive).double().eval()


def pictures(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *SIZE, generator=generator, dtype=torch.float64)


def gradcam_by_hand(model: SmallResNet, images: Tensor) -> Tensor:
    """Return `resize(relu(sum_k mean_ij(g_k) A_k))` at the last block, `[B, *image]`."""
    activations = model.blocks(images).detach().requires_grad_()
    score = model.fc(activations.mean((2, 3)))[:, CLASS].sum()
    (gradients,) = torch.autograd.grad(score, activations)
    coarse = (gradients.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True).relu()
    resized = F.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    return resized[:, 0].detach()


def guided_by_hand(model: SmallResNet, images: Tensor) -> Tensor:
    """Return `max_k |R_k|`, `[B, *image]`, by hooks that keep the positive gradients of ReLUs."""

    def keep_positive(
        _module: nn.Module, gradients: tuple[Tensor], _above: tuple[Tensor]
    ) -> tuple[Tensor]:
        return (gradients[0].clamp(min=0),)

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [relu.register_full_backward_hook(keep_positive) for relu in relus]
    leaf = images.clone().requires_grad_()
    (guided,) = torch.autograd.grad(model(leaf)[:, CLASS].sum(), leaf)
    for handle in handles:
        handle.remove()
    return guided.abs().amax(1)


def by_hand(model: SmallResNet, images: Tensor) -> Tensor:
    """Return `|R| * resize(relu(L_gradcam))`, each map divided by its largest value."""
    product = guided_by_hand(model, images) * gradcam_by_hand(model, images)
    return product / product.amax((1, 2), keepdim=True)


def found(model: nn.Module, images: Tensor, **options: object) -> limelight.Explanation:
    return limelight.explain(
        model,
        images,
        target=CLASS,
        layer="blocks.2",
        method="guided-gradcam",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("positive", [True, False], ids=["positive everywhere", "zero somewhere"])
def test_it_is_the_product_of_both(positive: bool) -> None:
    model, images = network(positive=positive), pictures()
    coarse = gradcam_by_hand(model, images)
    assert bool((coarse.amin((1, 2)) > 0).all()) is positive
    raw = found(model, images).raw
    assert_agrees(raw / raw.amax((1, 2), keepdim=True), by_hand(model, images))
    # Beyond a constant per image, it is the size of guided backpropagation.
    share = coarse / coarse.amax((1, 2), keepdim=True)
    assert_agrees(raw, guided_by_hand(model, images) * share)


def test_where_gradcam_is_positive_everywhere_no_place_is_lost() -> None:
    model, images = network(positive=True), pictures(1)
    coarse, fine = gradcam_by_hand(model, images), guided_by_hand(model, images)
    weakest = coarse == coarse.min()
    assert bool((fine[weakest] > 0).any())
    assert torch.equal(found(model, images).raw > 0, fine > 0)
    # What it was before: the smallest value of Grad-CAM subtracted.
    spread = (coarse - coarse.min()) / (coarse.max() - coarse.min())
    pair = torch.stack([(fine * spread).flatten(), by_hand(model, images).flatten()])
    assert torch.corrcoef(pair)[0, 1] < 0.96


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("scale", [1e-5, 1e-25, 1e25])
def test_the_heatmap_does_not_depend_on_the_scale_of_the_score(
    scale: float, positive: bool
) -> None:
    """Nor in single precision, where the product of both gradients would leave the range."""
    model, images = network(positive=positive), pictures()
    expected = found(model, images)
    with torch.no_grad():
        for parameter in model.fc.parameters():
            parameter.mul_(scale)
    scaled = found(model.float(), images.float())
    assert [status.name for status in scaled.status] == ["ok"] * 3
    assert (scaled.heatmap - expected.heatmap).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_gives_a_map_of_the_same_picture(dtype: torch.dtype) -> None:
    model, images = network(positive=True), pictures()
    expected = found(model, images).heatmap
    half = found(model.to(dtype), images.to(dtype))
    assert half.raw.dtype is torch.float32
    assert half.raw.isfinite().all()
    apart = (half.heatmap - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert apart.max() < (0.03 if dtype is torch.float16 else 0.2)


def test_a_batch_has_the_maps_of_its_images() -> None:
    for positive in (True, False):
        model, images = network(positive=positive), pictures()
        alone = torch.cat([found(model, images[b : b + 1]).raw for b in range(3)])
        assert_agrees(found(model, images).raw, alone)
