"""Methods for transformers: what the tokens attend to, through all layers."""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.evidence import Attention, Evidence


def rollout(evidence: Evidence) -> Tensor:
    """Multiply the attention of all layers; half of each token stays as it is. Reads no class.

    `R = prod_l (A_l / 2 + I / 2)`, averaged over heads, later layers to the left: Abnar and Zuidema
    2020, eq. 1. `L` holds the rows of R for the tokens that the score reads, shape `[B, *grid]`.
    """
    attention = evidence.attention
    relevance = _identity(attention)
    for weights in attention.weights:
        relevance = (weights.mean(1) + _identity(attention)) @ relevance / 2
    return attention.read(relevance)


def attention_x_gradient(evidence: Evidence) -> Tensor:
    """Follow the attention that raises the score through all layers.

    `R <- R + mean_h relu(dy_c/dA_l * A_l) R`, from `R = I`: Chefer et al. 2021, eq. 5 and 6. `L`
    holds the rows of R for the tokens that the score reads, less the identity that R starts from,
    shape `[B, *grid]`. The scale of the score matters: the smaller it is, the less the layers
    multiply each other.
    """
    attention = evidence.attention
    # R - I, as rounding would lose a small gain beside I.
    gained = torch.zeros_like(attention.weights[0][:, 0])
    for weights, gradients in zip(attention.weights, attention.gradients, strict=True):
        step = (weights * gradients).relu().mean(1)
        gained = gained + step @ gained + step
    return attention.read(gained)


def legrad(evidence: Evidence) -> Tensor:
    """Average the positive gradient of each layer's own score with respect to its attention.

    With `s_l` the score that the network's head gives for the tokens after layer l,
    `L = mean_l mean_heads,queries relu(ds_l/dA_l)`, shape `[B, *grid]`: Bousselham et al. 2024,
    section 3. The paper pools each layer's tokens by their mean; here the network's own head does,
    with its own pooling.
    """
    attention = evidence.layer_attention
    summed = sum(gradients.relu().mean((1, 2)) for gradients in attention.gradients)
    assert isinstance(summed, Tensor)
    return attention.layout.positions_to_grid(summed / len(attention.gradients))


def _identity(attention: Attention) -> Tensor:
    first = attention.weights[0]
    return torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
