"""Operators of a network's graph, rewritten so that their gradients can be exported.

ONNX has operators for what networks compute, but none for the gradients. Each backward operator is
written out in forward ones: most of them as torch itself does, the rest here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import global_decomposition_table

from limelight.runtime.resampling import resampling_decompositions

aten = torch.ops.aten


def rewrite_for_gradient(graph: fx.Graph) -> None:
    """Replace operators whose gradients cannot be exported, or not well, by others of equal value.

    A `view` becomes a `reshape`: behind another implementation of attention, strides differ. A mean
    over the whole grid by an adaptive pool becomes a `mean`. A `linear` on more than two axes
    is run on rows, since its gradient would repeat the weights for each image.
    """
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        elif node.target in _ADAPTIVE_POOLS and set(node.args[1]) == {1}:
            axes = list(range(-len(node.args[1]), 0))
            node.target, node.args = aten.mean.dim, (node.args[0], axes, True)
        elif node.target is aten.linear.default and node.args[0].meta["val"].ndim > 2:
            node.target = _linear_on_rows


_ADAPTIVE_POOLS = (
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
)


def _linear_on_rows(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x W^T + b` for `[..., K]`, computed on rows `[N, K]`."""
    rows = torch.nn.functional.linear(values.reshape(-1, values.shape[-1]), weight, bias)
    return rows.reshape(*values.shape[:-1], weight.shape[0])


@cache
def backward_decompositions() -> dict[Any, Callable[..., Any]]:
    """Return for each backward operator what to run in its place."""
    by_torch = {
        operator: function
        for operator, function in global_decomposition_table["post_autograd"].items()
        if "backward" in str(operator)
    }
    return {
        **by_torch,
        **resampling_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.max_pool3d_with_indices_backward.default: _max_pool_backward,
        aten.adaptive_max_pool2d_backward.default: _adaptive_max_pool_backward,
        aten.adaptive_max_pool3d_backward.default: _adaptive_max_pool_backward,
    }


def _convolution_backward(
    gradient: Tensor,
    values: Tensor,
    weight: Tensor,
    _bias_sizes: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: object,
    groups: int,
    _wanted: object,
) -> tuple[Tensor, None, None]:
    """Return the gradient of a convolution at its input: the transposed convolution, and back."""
    sizes = zip(values.shape[2:], gradient.shape[2:], weight.shape[2:], strict=True)
    steps = zip(stride, padding, dilation, strict=True)
    missing = [
        0 if transposed else size - ((out - 1) * step - 2 * pad + dilate * (kernel - 1) + 1)
        for (size, out, kernel), (step, pad, dilate) in zip(sizes, steps, strict=True)
    ]
    back = aten.convolution.default(
        gradient, weight, None, stride, padding, dilation, not transposed, missing, groups
    )
    return back, None, None


def _max_pool_backward(gradient: Tensor, values: Tensor, *settings: Any) -> Tensor:
    """Return the gradient of a max pool: each value goes back to the place that was the largest."""
    places = settings[-1]
    axes = places.ndim - 2
    flat = torch.zeros_like(values).flatten(-axes)
    flat = flat.scatter_add(-1, places.flatten(-axes), gradient.flatten(-axes))
    return flat.reshape(values.shape)


def _adaptive_max_pool_backward(gradient: Tensor, values: Tensor, places: Tensor) -> Tensor:
    return _max_pool_backward(gradient, values, places)
