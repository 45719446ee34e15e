"""One weight per channel: `L = sum_k alpha_k A_k`. The methods differ in alpha."""

from __future__ import annotations

from torch import Tensor

from limelight.evidence import Evidence


def gradcam(evidence: Evidence) -> Tensor:
    """Weigh each channel by its mean gradient.

    `alpha_k = mean_ij dy_c/dA_k`, `L = sum_k alpha_k A_k`, shape `[B, *grid]`: Selvaraju et al.
    2017, eq. 1 and 2, without the ReLU of eq. 2, which `limelight.finish` applies.
    """
    alpha = evidence.gradients.mean(evidence.axes)
    return weigh(alpha, evidence.activations)


def cam(evidence: Evidence) -> Tensor:
    """Weigh each channel by the linear layer's weight for the class.

    `L = sum_k w_k^c A_k`, shape `[B, *grid]`: Zhou et al. 2016, eq. 2.
    """
    return weigh(evidence.class_weights, evidence.activations)


def weigh(alpha: Tensor, activations: Tensor) -> Tensor:
    """Return `sum_k alpha_k A_k` `[B, *grid]` from weights `[B, K]` and A `[B, K, *grid]`."""
    axes = (1,) * (activations.ndim - 2)
    return (alpha.reshape(*alpha.shape, *axes) * activations).sum(1)
