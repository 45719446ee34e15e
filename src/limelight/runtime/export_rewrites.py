"""Operators of a network's graph, rewritten so that their gradients can be exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def rewrite_for_gradient(graph: fx.Graph) -> None:
    """Replace operators whose gradients cannot be exported, or not well, by others of equal value.

    A `view` becomes a `reshape`: behind another implementation of attention, strides differ. A mean
    over the whole grid by `adaptive_avg_pool2d` becomes a `mean`. A `linear` on more than two axes
    is run on rows, since its gradient would repeat the weights for each image.
    """
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        elif node.target is aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            node.target, node.args = aten.mean.dim, (node.args[0], [-2, -1], True)
        elif node.target is aten.linear.default and node.args[0].meta["val"].ndim > 2:
            node.target = _linear_on_rows


def _linear_on_rows(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x W^T + b` for `[..., K]`, computed on rows `[N, K]`."""
    rows = torch.nn.functional.linear(values.reshape(-1, values.shape[-1]), weight, bias)
    return rows.reshape(*values.shape[:-1], weight.shape[0])


@cache
def DECOMPOSITIONS() -> dict[Any, Callable[..., Any]]:  # noqa: N802
    """Return what to run instead of the backward operators that ONNX does not have."""
    return {
        **torch._decomp.get_decompositions(_BY_TORCH),
        aten.convolution_backward.default: _convolution_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
    }


_BY_TORCH = [
    aten.silu_backward,
    aten.hardswish_backward,
    aten.hardsigmoid_backward,
    aten.hardtanh_backward,
    aten.native_layer_norm_backward,
    aten.native_group_norm_backward,
    aten.native_batch_norm_backward,
    aten.gelu_backward,
    aten._softmax_backward_data,
    aten._log_softmax_backward_data,
    aten.threshold_backward,
    aten.as_strided_scatter,
    aten.select_backward,
    aten.slice_backward,
    aten.native_dropout_backward,
    aten.avg_pool2d_backward,
    aten.upsample_bilinear2d_backward,
    aten.leaky_relu_backward,
    aten.elu_backward,
    aten.mish_backward,
    aten.softplus_backward,
    aten.sigmoid_backward,
    aten.tanh_backward,
    aten._prelu_kernel_backward,
    aten.nan_to_num,
]


def _convolution_backward(
    gradient: Tensor,
    values: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, None, None]:
    """Return the gradient of a convolution at its input: the transposed convolution, and back."""
    missing = (
        [0] * len(stride)
        if transposed
        else [
            size - ((out - 1) * step - 2 * pad + dilate * (kernel - 1) + 1)
            for size, out, step, pad, dilate, kernel in zip(
                values.shape[2:], gradient.shape[2:], stride, padding, dilation, weight.shape[2:]
            )
        ]
    )
    back = aten.convolution.default(
        gradient, weight, None, stride, padding, dilation, not transposed, missing, groups
    )
    return back, None, None


def _max_pool_backward(grad, input, kernel, stride, padding, dilation, ceil, indices):
    flat = torch.zeros_like(input).flatten(-2)
    return flat.scatter_add(-1, indices.flatten(-2), grad.flatten(-2)).reshape(input.shape)
