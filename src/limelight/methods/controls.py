"""Maps that know nothing about the network: a method has to beat them."""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

from limelight.evidence import Evidence


def random(evidence: Evidence, *, seed: int = 0) -> Tensor:
    """Draw each cell from a uniform distribution, as Adebayo et al. 2018 do for comparison.

    Shape `[B, *grid]`. The draw depends on the seed and on the image's own pixels: an image has the
    same map in any batch, and two images have different maps.
    """
    grid = evidence.activations.shape[2:]
    maps = []
    for image in evidence.image.detach().float().cpu():
        content = crc32(image.contiguous().numpy().tobytes(), seed & 0xFFFFFFFF)
        generator = torch.Generator().manual_seed(content)
        maps.append(torch.rand(grid, generator=generator, dtype=torch.float64, device="cpu"))
    return torch.stack(maps).to(evidence.activations)


def centre(evidence: Evidence, *, width: float = 0.25) -> Tensor:
    """Return a blob in the middle, where photographers put things.

    `L = exp(-1/2 sum_axes ((i - c) / (w n))^2)`, shape `[B, *grid]`, with i the middle of a cell, n
    the number of cells along an axis, c = n / 2 and w the width as a share of the side: the prior
    that Zhang et al. 2018 compare with.
    """
    activations = evidence.activations
    blob = torch.ones((), dtype=torch.float64, device="cpu")
    for size in activations.shape[2:]:
        cells = torch.arange(size, dtype=torch.float64, device="cpu")
        distance = (cells + 0.5 - size / 2) / (width * size)
        blob = blob[..., None] * (-(distance**2) / 2).exp()
    return blob.expand(len(activations), *blob.shape).to(activations)
