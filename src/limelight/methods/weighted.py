"""One weight per channel: `L = sum_k alpha_k A_k`. The methods differ in alpha."""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.evidence import Evidence


def gradcam(evidence: Evidence) -> Tensor:
    """Weight each channel by its mean gradient.

    `alpha_k = mean_ij dy_c/dA_k`, `L = sum_k alpha_k A_k`, shape `[B, *grid]`: Selvaraju et al.
    2017, eq. 1 and 2, without the ReLU of eq. 2, which `limelight.finish` applies.
    """
    return weigh(evidence, evidence.gradients.mean(evidence.axes))


def cam(evidence: Evidence) -> Tensor:
    """Weight each channel by the linear layer's weight for the class.

    `L = sum_k w_k^c A_k`, shape `[B, *grid]`: Zhou et al. 2016, eq. 2.
    """
    return weigh(evidence, evidence.class_weights)


def gradcam_plus_plus(evidence: Evidence) -> Tensor:
    """Weight each channel by its positive gradients, summed with one weight per cell.

    With `g = dy_c/dA_k`, shape `[B, *grid]` (Chattopadhay et al. 2018, eq. 5, 19 and 20):
    `alpha = g^2 / (2 g^2 + (sum_ij A_k) g^3)`, `w_k = sum_ij alpha relu(g)`, `L = sum_k w_k A_k`.

    Powers of g are cancelled, so that small gradients do not underflow, and the factor exp(y_c) of
    eq. 13, common to all channels, is left out. The paper takes the score to be exp(y_c): this map,
    alone in this file, changes shape when the score is multiplied by a constant.
    """
    gradients, axes = evidence.gradients, evidence.axes
    mass = evidence.activations.sum(axes, keepdim=True)
    alpha = divide_or_zero(torch.ones_like(gradients), 2 + mass * gradients)
    return weigh(evidence, (alpha * gradients.relu()).sum(axes))


def xgradcam(evidence: Evidence) -> Tensor:
    """Weight each channel by its gradients, averaged where it is active.

    `w_k = sum_ij (A_k / sum_ij A_k) dy_c/dA_k`, `L = sum_k w_k A_k`, shape `[B, *grid]`: Fu et al.
    2020, section 3. A channel that sums to zero has weight zero.
    """
    activations, axes = evidence.activations, evidence.axes
    return weigh(
        evidence,
        divide_or_zero((activations * evidence.gradients).sum(axes), activations.sum(axes)),
    )


def shapleycam(evidence: Evidence) -> Tensor:
    """Weight each channel by its share of the score, as a game of all channels and cells.

    `w_k = mean_ij (g - 1/2 H A)_k`, `L = sum_k w_k A_k`, shape `[B, *grid]`, where `H A` is the
    Hessian of the score times the activations: the second order expansion of the Shapley value in
    Cai 2025, section 3. Where the head is piecewise linear in A, it equals Grad-CAM.
    """
    return weigh(evidence, (evidence.gradients - evidence.curvature / 2).mean(evidence.axes))


def fem(evidence: Evidence, *, deviations: float = 2.0) -> Tensor:
    """Keep what is rare in each channel, and weight the channels by their means; reads no class.

    `L = sum_k mean_ij(A_k) [A_k > mean_ij A_k + n std_ij A_k]`, shape `[B, *grid]`, with n
    `deviations`: Fuad et al. 2020, section 3.
    """
    activations, axes = evidence.activations, evidence.axes
    mean = activations.mean(axes, keepdim=True)
    deviation = activations.std(axes, keepdim=True, correction=0)
    rare = activations > mean + deviations * deviation
    return evidence.combine(mean.flatten(1), rare.to(mean))


def weigh(evidence: Evidence, alpha: Tensor) -> Tensor:
    """Return `sum_k alpha_k A_k` `[B, *grid]` from weights `[B, K]`."""
    return evidence.combine(alpha, evidence.activations)


def divide_or_zero(above: Tensor, below: Tensor) -> Tensor:
    """Return `above / below`, zero where `below` is zero; an epsilon would change other values."""
    safe = torch.where(below == 0, torch.ones_like(below), below)
    return torch.where(below == 0, torch.zeros_like(above), above / safe)
