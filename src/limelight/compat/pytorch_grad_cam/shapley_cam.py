"""Shapley-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import weights_in_a_call_by


class ShapleyCAM(BaseCAM):
    """`sum_k mean_ij(g_k - (H A)_k / 2) A_k`, H the Hessian of the score: Cai 2025, section 3.

    For a transformer limelight finds the grid; nothing has to be reshaped by hand.
    """

    method = "shapleycam"

    get_cam_weights = weights_in_a_call_by(method)
