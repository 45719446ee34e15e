"""One weight per cell: `L = sum_k w_k A_k`, `w` of the same shape as `A`."""

from __future__ import annotations

from torch import Tensor

from limelight.evidence import Evidence


def hirescam(evidence: Evidence) -> Tensor:
    """Weight each cell by its gradient.

    `L = sum_k dy_c/dA_k A_k`, shape `[B, *grid]`: Draelos and Carin 2020, section 3. If the head is
    a pool and a linear layer, this is CAM; if it is a linear layer alone, the map sums to the score
    minus its bias.
    """
    return evidence.combine(evidence.gradients, evidence.activations)


def layercam(evidence: Evidence) -> Tensor:
    """Weight each cell by its positive gradient.

    `L = sum_k relu(dy_c/dA_k) A_k`, shape `[B, *grid]`: Jiang et al. 2021, section 3.
    """
    return evidence.combine(evidence.gradients.relu(), evidence.activations)


def gradcam_elementwise(evidence: Evidence) -> Tensor:
    """Keep only the products that are positive.

    `L = sum_k relu(dy_c/dA_k A_k)`, shape `[B, *grid]`: named by the grad-cam library (Gildenblat
    2021), without a paper. Where no activation is negative, it equals LayerCAM.
    """
    gradients, activations = evidence.gradients, evidence.activations
    negative = gradients * activations < 0
    return evidence.combine(gradients.masked_fill(negative, 0), activations)
