"""What the examples share: pictures of rings and crosses, a small network, and its training."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

NAMES = ["ring", "cross"]


class Scene(NamedTuple):
    """B pictures, each of S shapes.

    Attributes:
        images: `[B, 1, 64, 64]`.
        kinds: 0 for a ring and 1 for a cross, `[B, S]`.
        boxes: x1, y1, x2, y2 in pixels, `[B, S, 4]`.
    """

    images: Tensor
    kinds: Tensor
    boxes: Tensor


def draw(count: int, shapes: int = 3) -> Scene:
    """Draw `count` pictures with up to four shapes, each in a quarter of its own."""
    quarters = torch.rand(count, 4).argsort(1)[:, :shapes]
    corners = torch.stack([quarters % 2, quarters // 2], 2) * 32
    middles = corners + 9 + 14 * torch.rand(count, shapes, 2)
    radius = 5 + 2 * torch.rand(count, shapes, 1, 1)
    across, down = (torch.arange(64) + 0.5 - middles[..., None]).abs().unbind(2)
    across, down = across[..., None, :], down[..., None]
    ring = (torch.hypot(across, down) - radius).abs() < 1
    cross = ((across - down).abs() < 1) & (across < radius)
    kinds = torch.randint(2, (count, shapes))
    pixels = torch.where(kinds[..., None, None] == 0, ring, cross).any(1, keepdim=True)
    images = pixels + 0.05 * torch.randn(count, 1, 64, 64)
    reach = radius[..., 0] + 1
    return Scene(images, kinds, torch.cat([middles - reach, middles + reach], 2))


def stage(a: int, b: int) -> nn.Sequential:
    """Return a convolution that halves the size, with its normalisation and ReLU."""
    return nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def classifier(pool: type[nn.Module] = nn.AdaptiveAvgPool2d) -> nn.Sequential:
    """Return a network of two classes; its cells are pooled by their average, or maximum."""
    seen = [stage(1, 12), stage(12, 24), stage(24, 32)]
    return nn.Sequential(*seen, pool(1), nn.Flatten(), nn.Linear(32, 2))


def train(
    model: nn.Module, loss_of: Callable[[], Tensor], steps: int = 150, rate: float = 1e-2
) -> None:
    """Train a model by what `loss_of` returns in each step, and put it into evaluation mode."""
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
