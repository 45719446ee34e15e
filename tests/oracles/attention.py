"""Methods of attention, derived again, slowly, from their papers."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from oracles.evidence import Score, cells_of
from oracles.family import Family

if TYPE_CHECKING:
    from helpers.attention_studies import Attention


class Attended(NamedTuple):
    """The attention of all layers `[B, heads, N, N]`, and the gradient of the score by it."""

    output: Any
    weights: list[Tensor]
    gradients: list[Tensor]


#: From an attention module and its input `[B, N, width]`: its queries, keys and values
#: `[B, heads, N, d]`, and what makes its output of what the heads found `[B, N, width]`.
Parts = tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]


def _by_head(joint: Tensor, heads: int) -> list[Tensor]:
    """Split queries, keys and values that follow each other, each a head after another."""
    thirds = joint.chunk(3, -1)
    return [torch.stack(one.chunk(heads, -1), dim=1) for one in thirds]


def attention_parts(module: Any, x: Tensor) -> Parts:
    """Read an `nn.MultiheadAttention`, or a module with `qkv` and `proj` (timm's and our own)."""
    if isinstance(module, nn.MultiheadAttention):
        weight = module.in_proj_weight
        q, k, v = _by_head(x @ weight.T + module.in_proj_bias, module.num_heads)
        return q, k, v, module.out_proj
    heads = module.heads if hasattr(module, "heads") else module.num_heads
    q, k, v = _by_head(module.qkv(x), heads)
    return q, k, v, module.proj


class _PassOn(nn.Module):
    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return x


def attended(
    model: nn.Module,
    attentions: Sequence[str],
    images: Tensor,
    score: Score,
    *,
    without: Sequence[str] = (),
) -> Attended:
    """Write the attention of a network out, `A = softmax(Q K^T / sqrt(d))`, and differentiate by A.

    Args:
        model: The network; its attention takes the tokens first, `[B, N, width]`.
        attentions: The paths of its attention modules, first to last.
        images: The images.
        score: From its output to scores.
        without: The paths of blocks that hand on what they get.
    """
    twin = copy.deepcopy(model).eval()
    for path in without:
        twin.set_submodule(path, _PassOn())
    weights: list[Tensor] = []
    added: list[Tensor] = []

    def write(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        q, k, v, finish = attention_parts(module, args[0])
        heads, found = [], []
        extra = torch.zeros(*q.shape[:3], k.shape[2], dtype=q.dtype, requires_grad=True)
        for h in range(q.shape[1]):
            raised = (q[:, h] @ k[:, h].transpose(1, 2) / math.sqrt(q.shape[-1])).exp()
            heads.append(raised / raised.sum(-1, keepdim=True))
            found.append((heads[-1] + extra[:, h]) @ v[:, h])  # dy/dA is dy/d(extra)
        weights.append(torch.stack(heads, dim=1).detach())
        added.append(extra)
        result = finish(torch.cat(found, dim=-1))
        return (result, None) if isinstance(output, tuple) else result

    for path in attentions:
        twin.get_submodule(path).register_forward_hook(write)
    output = twin(images)
    gradients = [torch.zeros_like(extra) for extra in added]
    for b, one in enumerate(score(output)):
        for gradient, slope in zip(
            gradients, torch.autograd.grad(one, added, retain_graph=True), strict=True
        ):
            gradient[b] = slope[b]
    return Attended(output.detach(), weights, gradients)


def rows_read(
    relevance: Tensor, readers: Sequence[int], prefix: int, grid: Sequence[int]
) -> Tensor:
    """Return what the tokens that the head reads get from the grid, on average, `[B, *grid]`."""
    found = torch.zeros(len(relevance), *grid, dtype=relevance.dtype)
    for row in readers:
        for n, cell in enumerate(cells_of(grid)):
            found[(slice(None), *cell)] += relevance[:, row, prefix + n] / len(readers)
    return found


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """Attention rollout, `[B, N, N]`; Abnar and Zuidema 2020.

    `A = 0.5 W_att + 0.5 I`, the heads averaged; eq. 1: `A~(l_i) = A(l_i) A~(l_i-1)`.
    """
    found = []
    for image in zip(*weights, strict=True):
        relevance = torch.eye(image[0].shape[-1], dtype=image[0].dtype)
        for heads in image:
            mean = sum(heads, torch.zeros_like(heads[0])) / len(heads)
            relevance = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=mean.dtype)) @ relevance
        found.append(relevance)
    return torch.stack(found)


def attention_x_gradient(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Transformer explainability, `[B, N, N]`; Chefer et al. 2021, section 3.

    `A_bar = E_h[(dy_t/dA * A)^+]`, then `R <- R + A_bar R` from `R = I`, layer by layer; of it what
    tokens got from others, `R - I`.
    """
    found = []
    for b in range(len(weights[0])):
        received = torch.zeros_like(weights[0][b, 0])
        for a, g in zip(weights, gradients, strict=True):
            bar = torch.zeros_like(received)
            for a_h, g_h in zip(a[b], g[b], strict=True):
                bar = bar + torch.where(a_h * g_h > 0, a_h * g_h, 0) / a.shape[1]
            received = received + bar + bar @ received
        found.append(received)
    return torch.stack(found)


def legrad(layers: Sequence[Tensor], prefix: int, grid: Sequence[int]) -> Tensor:
    """LeGrad, from `ds_l/dA_l` of every layer, `[B, heads, N, N]`; Bousselham et al. 2024.

    `E_l` is the mean of `(ds_l/dA_l)^+` over heads and queries; the map is the mean over layers of
    what falls on the grid. With s_l the score of the network's own head, not of the mean token.
    """
    total = torch.zeros(len(layers[0]), *grid, dtype=layers[0].dtype)
    for gradients in layers:
        _, heads, count, _ = gradients.shape
        for n, cell in enumerate(cells_of(grid)):
            column = gradients[:, :, :, prefix + n]
            positive = torch.where(column > 0, column, 0).sum((1, 2)) / (heads * count)
            total[(slice(None), *cell)] += positive / len(layers)
    return total


# How the tests call these methods, and the mistakes that they have to see


OF_ATTENTION: Family[Attention] = Family(
    oracles={
        "rollout": lambda x: x.read(rollout(x.weights)),
        "attention-x-gradient": lambda x: x.read(attention_x_gradient(x.weights, x.gradients)),
        "legrad": lambda x: legrad(x.own, x.prefix, x.grid),
    },
    doctored={
        "rollout": {
            "no residual": lambda x: x.read(
                functools.reduce(lambda r, a: a.mean(1) @ r, x.weights, torch.eye(15).double()),
            ),
            "later layers to the right": lambda x: x.read(rollout(x.weights[::-1])),
            "the strongest head": lambda x: x.read(
                rollout([a.amax(1, keepdim=True) for a in x.weights])
            ),
            "the mean over all rows": lambda x: rows_read(rollout(x.weights), range(15), 3, (3, 4)),
            "a register's row": lambda x: rows_read(rollout(x.weights), [1], 3, (3, 4)),
            "columns instead of rows": lambda x: x.read(rollout(x.weights).transpose(1, 2)),
        },
        "attention-x-gradient": {
            "the gradient alone": lambda x: x.read(
                attention_x_gradient([torch.ones_like(a) for a in x.weights], x.gradients),
            ),
            "sizes": lambda x: x.read(
                attention_x_gradient(x.weights, [g.abs() for g in x.gradients]),
            ),
            "heads averaged first": lambda x: x.read(
                attention_x_gradient(
                    [a.mean(1, keepdim=True) for a in x.weights],
                    [g.mean(1, keepdim=True) for g in x.gradients],
                ),
            ),
            "later layers to the right": lambda x: x.read(
                attention_x_gradient(x.weights[::-1], x.gradients[::-1]),
            ),
        },
        "legrad": {
            "the score of the network": lambda x: legrad(x.gradients, 3, (3, 4)),
            "sizes": lambda x: legrad([g.abs() for g in x.own], 3, (3, 4)),
            "times the attention": lambda x: legrad(
                [a * g for a, g in zip(x.weights, x.own, strict=True)], 3, (3, 4)
            ),
            "the last layer": lambda x: legrad(x.own[-1:], 3, (3, 4)),
            "the class token's query": lambda x: legrad([g[:, :, :1] for g in x.own], 3, (3, 4)),
            "keys for queries": lambda x: legrad([g.transpose(2, 3) for g in x.own], 3, (3, 4)),
        },
    },
)
