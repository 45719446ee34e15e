"""Methods for transformers: what the tokens attend to, through all layers.

`R = M_L ... M_1` multiplies matrices of attention, and the map is its rows at the queries that the
score reads. So these rows are followed back, from the last layer to the first: N numbers times one
matrix after another, of which no product is ever formed.

With attention **within windows** (Swin), a layer's matrix is that of all its tokens, zero between
windows. Where tokens are merged, the matrix between two layers is `m_ij`, the part of the cell of
token i that token j covers: rollout takes a layer for a mean of what comes in, and its rows sum to
one; so do these. The map lies on the grid of the first layer.

With a **pool by attention** (the head of SigLIP), queries that are no tokens read the last layer.
Their matrix `P` comes last, without the identity, as nothing of a token goes round the pool.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Attention, AttentionLayer, Evidence


def rollout(evidence: Evidence, *, tower: str = "") -> Tensor:
    """Multiply the attention of all layers; half of each token stays as it is. Reads no class.

    `R = prod_l (A_l / 2 + I / 2)`, averaged over heads, later layers to the left: Abnar and Zuidema
    2020, eq. 1. `L` holds the rows of R for the queries that the score reads, shape `[B, *grid]`.

    Args:
        evidence: The evidence.
        tower: The dotted path of the module that holds the layers; "" for the picture's tower.
    """
    attention = evidence.attention_of(tower)
    shares = attention.last.queries_read
    if attention.pool is not None:
        shares = attention.pool.attended(shares, attention.pool.weights.mean(1))
    for number in reversed(range(len(attention.layers))):
        layer, shares = attention.layers[number], attention.onto_layer(number, shares)
        shares = (shares + layer.attended(shares, layer.weights.mean(1))) / 2
    return attention.layout.positions_to_grid(shares)


def attention_x_gradient(evidence: Evidence, *, tower: str = "") -> Tensor:
    """Follow the attention that raises the score through all layers.

    `R <- R + mean_h relu(dy_c/dA_l * A_l) R`, from `R = I`: Chefer et al. 2021, eq. 5 and 6. `L`
    holds the rows of R for the queries that the score reads, less the identity that R starts from,
    shape `[B, *grid]`. The scale of the score matters: the smaller it is, the less the layers
    multiply each other.

    Args:
        evidence: The evidence.
        tower: The dotted path of the module that holds the layers; "" for the picture's tower.
    """
    attention = evidence.attention_of(tower)
    # The rows of the identity and those of R - I, as rounding would lose a small gain beside I.
    same = attention.last.queries_read
    gained = torch.zeros_like(same)
    if attention.pool is not None:
        gained = attention.pool.attended(same, _raising(attention.pool))
        same = torch.zeros_like(gained)
    for number in reversed(range(len(attention.layers))):
        layer = attention.layers[number]
        same, gained = (attention.onto_layer(number, shares) for shares in (same, gained))
        gained = gained + layer.attended(same + gained, _raising(layer))
    return attention.layout.positions_to_grid(gained)


def _raising(layer: AttentionLayer) -> Tensor:
    """Return `mean_h relu(dy_c/dA * A)`."""
    return (layer.weights * layer.gradients).relu().mean(1)


def legrad(evidence: Evidence, *, tower: str = "") -> Tensor:
    """Average the positive gradient of each layer's own score with respect to its attention.

    With `s_l` the score that the network's head gives for the tokens after layer l,
    `L = mean_l mean_heads,queries relu(ds_l/dA_l)`, shape `[B, *grid]`: Bousselham et al. 2024,
    section 3. The paper pools each layer's tokens by their mean; here the network's own head does,
    with its own pooling. If that is a pool by attention, A_l is the pool's matrix when it reads the
    tokens after layer l, as in the paper.

    Args:
        evidence: The evidence.
        tower: The dotted path of the module that holds the layers; "" for the picture's tower.
    """
    attention = evidence.layer_attention_of(tower)
    maps = [
        layer.layout.positions_to_grid(
            layer.attended(layer.all_queries, layer.gradients.relu().mean(1))
        )
        for layer in attention.layers
    ]
    return torch.stack(maps).mean(0)


def grad_eclip(evidence: Evidence, *, tower: str = "") -> Tensor:
    """Weigh the values of the last attention by gradient, and by how alike query and keys are.

    With o the heads' output at the query q that the score reads (the class token), before its
    projection, v_i the values and k_i the keys, `L_i = lambda_i sum_c (dS/do_c) v_ic`, with
    `lambda_i = cos(q, k_i)` scaled to [0, 1] over the picture, shape `[B, *grid]`: Zhao et al.
    2024, eq. 7 and 8, before the ReLU. As `o = sum_i A_i v_i`, the sum over channels is
    `sum_heads dS/dA_i`, which is how it is computed. lambda takes the place of the softmax A_i,
    which is sparse; so L is not what the network added up, and does not sum to the score. If the
    score reads several queries, their maps are averaged.

    Args:
        evidence: The evidence.
        tower: The dotted path of the module that holds the layers; "" for the picture's tower.

    Raises:
        MethodError: The last attention is within windows, or its queries and keys were not seen.
    """
    attention = evidence.attention_of(tower)
    layer = attention.last
    if layer.queries is None or layer.keys is None:
        raise MethodError(
            "Grad-ECLIP needs the queries and keys of the last attention, of one query that reads "
            "the whole picture; here it is within windows, or computed in a way of its own. Use "
            "'attention-x-gradient'."
        )
    alike = _on_cells(attention, _alike(layer.queries, layer.keys))  # [B, M, cells]
    low, high = alike.aminmax(dim=-1, keepdim=True)
    loosened = torch.where(high > low, (alike - low) / (high - low), 0)
    values = _on_cells(attention, layer.gradients.sum(1))
    mean = (layer.queries_read[:, None] @ (loosened * values))[:, 0]
    return mean.reshape(-1, *layer.layout.grid)


def _alike(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the cosine of each query with each key, all heads together, `[B, M, N]`."""
    q, k = (
        torch.nn.functional.normalize(heads.transpose(1, 2).flatten(2), dim=-1)
        for heads in (queries, keys)
    )
    return q @ k.transpose(1, 2)


def _on_cells(attention: Attention, by_token: Tensor) -> Tensor:
    """Return the numbers of the tokens that have a cell, `[B, M, cells]`, from `[B, M, N]`."""
    rows = by_token.flatten(0, 1)
    on_grid = attention.last.layout.positions_to_grid(rows)
    return on_grid.reshape(*by_token.shape[:2], -1)
