"""Transformers: what the tokens attend to, through all layers."""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.evidence import Attention, Evidence


def rollout(evidence: Evidence) -> Tensor:
    """Multiply the attention of all layers, half of each token staying what it is; of no class.

    `R = prod_l (A_l / 2 + I / 2)`, heads averaged, later layers to the left: Abnar and Zuidema
    2020, eq. 1. `L` are its rows of the tokens that the score reads, shape `[B, *grid]`.
    """
    attention = evidence.attention
    relevance = _identity(attention)
    for weights in attention.weights:
        relevance = (weights.mean(1) + _identity(attention)) @ relevance / 2
    return attention.read(relevance)


def attention_x_gradient(evidence: Evidence) -> Tensor:
    """Follow the attention that speaks for the score through all layers.

    `R <- R + mean_h relu(dy_c/dA_l * A_l) R`, from `R = I`: Chefer et al. 2021, eq. 5 and 6. `L`
    are its rows of the tokens that the score reads, less the identity that R began as, shape
    `[B, *grid]`. The score's scale matters: the smaller it is, the less layers multiply.
    """
    attention = evidence.attention
    gained = torch.zeros_like(attention.weights[0][:, 0])  # R - I: a small gain would drown in I
    for weights, gradients in zip(attention.weights, attention.gradients, strict=True):
        step = (weights * gradients).relu().mean(1)
        gained = gained + step @ gained + step
    return attention.read(gained)


def legrad(evidence: Evidence) -> Tensor:
    """Ask each layer how its attention would have to change for its own output to score higher.

    With `s_l` the score of the network's head on the tokens after layer l,
    `L = mean_l mean_heads,queries relu(ds_l/dA_l)`, shape `[B, *grid]`: Bousselham et al. 2024,
    section 3. The paper pools each layer's tokens by their mean; here it is the network's own
    head, with its own pooling.
    """
    attention = evidence.layer_attention
    found = sum(gradients.relu().mean((1, 2)) for gradients in attention.gradients)
    assert isinstance(found, Tensor)
    share = found[:, attention.prefix :] / len(attention.gradients)
    return share.reshape(-1, *attention.grid)


def _identity(attention: Attention) -> Tensor:
    first = attention.weights[0]
    return torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
