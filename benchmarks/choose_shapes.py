"""A small vision transformer that learns to tell drawn shapes apart, for `choose.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

#: The side of a picture in pixels, and what may be in it.
SIDE = 64
KINDS = ("disc", "ring", "square", "frame", "cross", "stripes")


class Drawn(NamedTuple):
    """Pictures with one shape each.

    Attributes:
        images: `[B, 3, H, W]`.
        kinds: `[B]`, the number in `KINDS` of each shape.
        masks: `[B, H, W]`, where the shape is.
    """

    images: Tensor
    kinds: Tensor
    masks: Tensor


def draw(count: int, seed: int) -> Drawn:
    """Draw a shape of any colour, size and place on waves and noise of any colour."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *size, generator=random)

    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    kinds = torch.randint(len(KINDS), (count,), generator=random)
    radius = uniform(9, 14, 1, 1)
    middle_y, middle_x = (16 + (SIDE - 32) * uniform(0, 1, 1, 1) for _ in range(2))
    across, down = (x - middle_x).abs() / radius, (y - middle_y).abs() / radius
    far, wide = across.hypot(down), torch.maximum(across, down)
    shapes = torch.stack(
        [
            far < 1,
            (far < 1) & (far > 0.55),
            wide < 0.9,
            (wide < 0.9) & (wide > 0.5),
            (torch.minimum(across, down) < 0.3) & (wide < 1),
            (wide < 0.9) & ((x - middle_x + 64) % 6 < 3),
        ]
    )
    masks = shapes[kinds, torch.arange(count)]
    angle, length = uniform(0, math.pi, 1, 1), uniform(6, 20, 1, 1)
    along = (x * angle.cos() + y * angle.sin()) * 2 * math.pi / length + uniform(0, 6.3, 1, 1)
    waves = 0.15 * along.sin()[:, None] * uniform(-1, 1, 3, 1, 1)
    ground = uniform(-0.4, 0.4, 3, 1, 1)
    # The shape is lighter or darker than the ground in every channel.
    sign = torch.randint(2, (count, 1, 1, 1), generator=random) * 2 - 1
    colour = ground + sign * uniform(0.5, 0.9, 3, 1, 1)
    noise = 0.08 * torch.randn(count, 3, SIDE, SIDE, generator=random)
    images = torch.where(masks[:, None], colour, ground + waves) + noise
    return Drawn(images, kinds, masks)


def transformer(seed: int) -> VisionTransformer:
    """Return a transformer with random weights: a class token, 6 blocks, patches of 8 x 8."""
    torch.manual_seed(seed)
    model = VisionTransformer(SIDE, 8, 6, 4, 96, 192, num_classes=len(KINDS))
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)  # torchvision begins with zeros
    return model.eval()


def train(model: nn.Module, steps: int, say: Callable[[str], None]) -> None:
    """Train a network on pictures of which none is shown twice."""
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, steps)
    model.train()
    for step in range(steps):
        drawn = draw(64, 1_000_000 + step)
        loss = nn.functional.cross_entropy(model(drawn.images), drawn.kinds)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rate.step()
        if step % 50 == 49:
            say(f"trained {step + 1} of {steps} steps, loss {float(loss.detach()):.2f}")
    model.eval()


def accuracy(model: nn.Module, drawn: Drawn) -> float:
    """Return on which share of the pictures the network is right."""
    with torch.inference_mode():
        right: Tensor = model(drawn.images).argmax(1) == drawn.kinds
    return float(right.double().mean())
