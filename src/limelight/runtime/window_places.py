"""Which token stands at which place of the windows that attention is computed within."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from limelight.layers import Layout

#: How far a digit that is read may be from 0 or 1.
_CLEAR = 0.2


def cells_of_windows(
    weights: Tensor, output: GradientEdge, shape: Sequence[int], layout: Layout
) -> Tensor | None:
    """Return the token at each place of each window, `[W, n]`, -1 for padding; None if unclear.

    What attention gives to a query changes one token of the output alone. So the gradient by a row
    of the matrix, of the output weighted by a number for each token, is that number times the
    gradient of the output itself. The numbers are the binary digits of the token's own number, one
    after another: 0 and 1 can be told apart in any precision.

    Args:
        weights: The matrices of B images of W windows, `[B W, heads, n, n]`, part of the graph.
        output: An output made of them, in the graph, one token from each query.
        shape: Its shape, with one row for each image.
        layout: Its layout.
    """
    batch, axis = shape[0], layout.axis_of_channels % len(shape)
    positions = [size for n, size in enumerate(shape) if n not in (0, axis)]
    count = math.prod(positions)
    tokens = torch.arange(batch * count, device=weights.device).reshape(batch, *positions)
    generator = torch.Generator("cpu").manual_seed(0)
    signs = torch.randint(0, 2, (shape[axis],), generator=generator, device="cpu") * 2 - 1
    by_channel = signs.to(weights).reshape(-1, *(1,) * (len(shape) - 1 - axis))

    def gradient(numbers: Tensor) -> Tensor:
        along = (numbers.to(weights).unsqueeze(axis) * by_channel).expand(*shape)
        (found,) = torch.autograd.grad(
            output, [weights], along, retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(weights) if found is None else found.double()

    whole = gradient(torch.ones_like(tokens))
    size = whole.square().sum((1, 3))  # [B W, n]
    found = torch.zeros_like(size, dtype=torch.long)
    for digit in range((batch * count - 1).bit_length()):
        share = (gradient(tokens >> digit & 1) * whole).sum((1, 3)) / size
        clear = (share.abs() < _CLEAR) | ((share - 1).abs() < _CLEAR) | (size == 0)
        if not bool(clear.all()):
            return None
        found += (share > 0.5).long() << digit
    found = torch.where(size > 0, found, -1).reshape(batch, -1, whole.shape[-1])
    return _alike_in_all_images(found, count)


def _alike_in_all_images(found: Tensor, count: int) -> Tensor | None:
    """Return the places in one image, from those in all `[B, W, n]`; None if they differ.

    They are also None if a token stands at no place, or at several.
    """
    images = torch.arange(len(found), device=found.device)[:, None, None]
    places = torch.where(found < 0, -1, found - images * count)
    here = places[0][places[0] >= 0]
    once = torch.equal(here.sort().values, torch.arange(count, device=here.device))
    return places[0].cpu() if once and bool((places == places[0]).all()) else None
