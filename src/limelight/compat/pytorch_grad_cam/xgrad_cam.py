"""XGrad-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import weights_by


class XGradCAM(BaseCAM):
    """`sum_k (sum_ij A_k g_k / sum_ij A_k) A_k`: Fu et al. 2020, section 3."""

    method = "xgradcam"

    get_cam_weights = weights_by(method)
