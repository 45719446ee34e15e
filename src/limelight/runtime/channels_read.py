"""Which numbers of a layer's output a function of it reads, channel by channel; and without some.

The function turns the output, a tensor or a nest of tensors, into channels over a grid. To remove
one of its channels, what it reads for that channel is set to zero: the whole channel of the output
that holds those numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.inputs import tensors
from limelight.runtime.autograd import differentiate

#: For each tensor of an output that is read, by its number: the axis of its channels, without the
#: batch axis, and their indices.
ChannelsRead = dict[int, tuple[int, Tensor]]


def channels_read(transform: Callable[[Any], Tensor], output: Any) -> list[ChannelsRead]:
    """Return for each channel of `transform(output)`, `[B, K, *grid]`, what it reads.

    It is read off the derivative at random numbers. A tensor's channels lie along the axis along
    which the smallest share of the indices is read.
    """
    with torch.inference_mode(False), torch.enable_grad():
        probe = pytree.tree_map_only(
            Tensor, lambda t: torch.rand_like(t[:1]).add(1).requires_grad_(), output
        )
        leaves = tensors([probe])
        channels = transform(probe)[0].flatten(1).sum(1).unbind()
    by_channel = []
    for channel in channels:
        masks = [gradient[0] != 0 for gradient in differentiate(channel, leaves)]
        by_channel.append({n: _sparsest_axis(mask) for n, mask in enumerate(masks) if mask.any()})
    return by_channel


def without_channels(output: Any, rows: Tensor, removed: Sequence[ChannelsRead]) -> Any:
    """Return the output of the images `rows` `[M]`, without some channels in each of them."""
    numbers = itertools.count()

    def without(leaf: Tensor) -> Tensor:
        number, leaf = next(numbers), leaf.detach().index_select(0, rows.to(leaf.device))
        for row, by_tensor in enumerate(removed):
            if number in by_tensor:
                axis, indices = by_tensor[number]
                leaf[row].index_fill_(axis, indices.to(leaf.device), 0)
        return leaf

    return pytree.tree_map_only(Tensor, without, output)


def _sparsest_axis(mask: Tensor) -> tuple[int, Tensor]:
    """Return the axis along which the smallest share of indices holds a true value, and these."""
    by_axis = [
        mask.movedim(axis, 0).flatten(1).any(1) if mask.ndim > 1 else mask
        for axis in range(mask.ndim)
    ]
    axis = min(range(mask.ndim), key=lambda a: float(by_axis[a].float().mean()))
    return axis, by_axis[axis].nonzero()[:, 0]
