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


class Found(NamedTuple):
    """Queries, keys and values of an attention, `[B, heads, N, d]`; the gradient by its output.

    The output is what the heads found, before it is projected, `[B, M, width]`.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    by_output: Tensor


class Attended(NamedTuple):
    """The attention of all layers `[B, heads, N, N]`, and the gradient of the score by it."""

    output: Any
    weights: list[Tensor]
    gradients: list[Tensor]
    last: Found


#: From an attention module and its input `[B, N, width]`: its queries, keys and values
#: `[B, heads, N, d]`, and what makes its output of what the heads found `[B, N, width]`.
Parts = tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]


def _by_head(joint: Tensor, heads: int) -> list[Tensor]:
    """Split queries, keys and values that follow each other, each a head after another."""
    thirds = joint.chunk(3, -1)
    return [torch.stack(one.chunk(heads, -1), dim=1) for one in thirds]


def attention_parts(module: Any, x: Tensor) -> Parts:
    """Read an `nn.MultiheadAttention`, or a module with `qkv` and `proj` (timm's and our own).

    And timm's pool, whose queries are its own.
    """
    if isinstance(module, nn.MultiheadAttention):
        weight = module.in_proj_weight
        x = x if module.batch_first else x.transpose(0, 1)
        q, k, v = _by_head(x @ weight.T + module.in_proj_bias, module.num_heads)
        if module.batch_first:
            return q, k, v, module.out_proj
        return q, k, v, lambda joint: module.out_proj(joint).transpose(0, 1)
    if hasattr(module, "latent"):
        split = module.num_heads
        asked = torch.stack(module.q(module.latent).chunk(split, -1), dim=1)
        keys, values = (
            torch.stack(part.chunk(split, -1), dim=1) for part in module.kv(x).chunk(2, -1)
        )

        def finish(joint: Tensor) -> Tensor:
            pooled: Tensor = module.proj(joint)
            told: Tensor = pooled + module.mlp(module.norm(pooled))
            return told[:, 0]

        return asked.expand(len(x), -1, -1, -1), keys, values, finish
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
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    joints: list[Tensor] = []

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
        seen.append((q.detach(), k.detach(), v.detach()))
        joints.append(torch.zeros_like(torch.cat(found, dim=-1)).detach().requires_grad_())
        result = finish(torch.cat(found, dim=-1) + joints[-1])
        return (result, None) if isinstance(output, tuple) else result

    for path in attentions:
        twin.get_submodule(path).register_forward_hook(write)
    output = twin(images)
    sources = [*added, joints[-1]]
    gradients = [torch.zeros_like(extra) for extra in sources]
    for b, one in enumerate(score(output)):
        for gradient, slope in zip(
            gradients, torch.autograd.grad(one, sources, retain_graph=True), strict=True
        ):
            gradient[b] = slope[b]
    *by_weights, by_output = gradients
    return Attended(output.detach(), weights, by_weights, Found(*seen[-1], by_output))


def rows_read(
    relevance: Tensor, readers: Sequence[int], prefix: int, grid: Sequence[int]
) -> Tensor:
    """Return what the tokens that the head reads get from the grid, on average, `[B, *grid]`."""
    found = torch.zeros(len(relevance), *grid, dtype=relevance.dtype)
    for row in readers:
        for n, cell in enumerate(cells_of(grid)):
            found[(slice(None), *cell)] += relevance[:, row, prefix + n] / len(readers)
    return found


def rollout(weights: Sequence[Tensor], pool: Tensor | None = None) -> Tensor:
    """Attention rollout, `[B, N, N]`; Abnar and Zuidema 2020.

    `A = 0.5 W_att + 0.5 I`, the heads averaged; eq. 1: `A~(l_i) = A(l_i) A~(l_i-1)`. Of a pool,
    whose queries have no residual from tokens, `W_att` comes last: `[B, M, N]`.
    """
    found = []
    for image in zip(*weights, strict=True):
        relevance = torch.eye(image[0].shape[-1], dtype=image[0].dtype)
        for heads in image:
            mean = sum(heads, torch.zeros_like(heads[0])) / len(heads)
            relevance = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=mean.dtype)) @ relevance
        found.append(relevance)
    if pool is not None:
        found = [sum(a) / len(a) @ r for a, r in zip(pool, found, strict=True)]
    return torch.stack(found)


def attention_x_gradient(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    pool: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
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
        if pool is not None:
            a, g = (part[b] for part in pool)
            bar = sum((a_h * g_h).clamp(min=0) for a_h, g_h in zip(a, g, strict=True)) / len(a)
            received = bar @ (received + torch.eye(len(received), dtype=received.dtype))
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


def grad_eclip(found: Found, readers: Sequence[int], prefix: int, grid: Sequence[int]) -> Tensor:
    """Grad-ECLIP, `[B, *grid]`; Zhao et al. 2024, eq. 7 and 8, without the ReLU.

    `H_i = sum_c w_c lambda_i v_ic`, with `w_c = dS/do_c`, `lambda_i = Phi(cos(q, k_i))`, and Phi
    what scales to [0, 1] over the patches.
    """

    def joined(heads: Tensor, n: int) -> Tensor:
        return torch.cat([head[n] for head in heads])

    result = torch.zeros(len(found.q), *grid, dtype=found.q.dtype)
    cells = list(cells_of(grid))
    for b in range(len(found.q)):
        for row in readers:
            q = joined(found.q[b], row)
            cosines = []
            for n in range(len(cells)):
                k = joined(found.k[b], prefix + n)
                cosines.append(float(q @ k / (q @ q).sqrt() / (k @ k).sqrt()))
            low, high = min(cosines), max(cosines)
            for n, cell in enumerate(cells):
                v = joined(found.v[b], prefix + n)
                alike = (cosines[n] - low) / (high - low)
                value = sum(w * v_c for w, v_c in zip(found.by_output[b, row], v, strict=True))
                result[(b, *cell)] += alike * value / len(readers)
    return result


def _of_head(found: Found, head: int) -> Found:
    """Return what one head found, of several with as many channels each."""
    q, k, v = (part[:, head : head + 1] for part in (found.q, found.k, found.v))
    width = q.shape[-1]
    return Found(q, k, v, found.by_output[..., head * width : (head + 1) * width])


# How the tests call these methods, and the mistakes that they have to see


OF_ATTENTION: Family[Attention] = Family(
    oracles={
        "rollout": lambda x: x.read(rollout(x.weights, x.pool and x.pool[0])),
        "attention-x-gradient": lambda x: x.read(
            attention_x_gradient(x.weights, x.gradients, x.pool)
        ),
        "legrad": lambda x: legrad(x.own, x.prefix, x.grid),
        "grad-eclip": lambda x: grad_eclip(x.last, x.network.readers, x.prefix, x.grid),
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
        "grad-eclip": {
            "the attention itself": lambda x: x.read(
                (x.weights[-1] * x.gradients[-1]).sum(1),
            ),
            "no lambda": lambda x: x.read(x.gradients[-1].sum(1)),
            "sizes": lambda x: grad_eclip(
                x.last._replace(by_output=x.last.by_output.abs()), [0], 3, (3, 4)
            ),
            "a register's query": lambda x: grad_eclip(
                x.last._replace(q=x.last.q.roll(-1, 2)), [0], 3, (3, 4)
            ),
            "keys for values": lambda x: grad_eclip(x.last._replace(v=x.last.k), [0], 3, (3, 4)),
            "heads apart": lambda x: torch.stack(
                [grad_eclip(_of_head(x.last, h), [0], 3, (3, 4)) for h in range(2)]
            ).sum(0),
        },
    },
)
