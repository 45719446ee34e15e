"""A network that tells patterns apart, and pictures of which it is known where the pattern is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers import networks


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures `[B, 3, 24, 24]` with a bright square, its colour, and where it is."""
    images = 0.3 * torch.randn(count, 3, 24, 24, generator=generator).double()
    where = torch.zeros(count, 24, 24)
    labels = torch.randint(0, 3, (count,), generator=generator)
    for b, label in enumerate(labels.tolist()):
        y, x = torch.randint(0, 16, (2,), generator=generator).tolist()
        images[b, label, y : y + 8, x : x + 8] += 2
        where[b, y : y + 8, x : x + 8] = 1
    return images, labels, where


def trained(count: int = 12) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network that tells patterns apart, pictures, and where the patterns are."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = networks.PoolLinear(classes=3).double()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        images, labels, _where = draw(32, generator)
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, _labels, where = draw(count, generator)
    return model.eval(), images, where
