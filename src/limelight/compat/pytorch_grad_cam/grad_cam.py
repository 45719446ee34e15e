"""Grad-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import weights_by


class GradCAM(BaseCAM):
    """`sum_k mean_ij(g_k) A_k`: Selvaraju et al. 2017, eq. 1 and 2."""

    method = "gradcam"

    get_cam_weights = weights_by(method)
