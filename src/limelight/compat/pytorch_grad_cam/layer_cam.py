"""Layer-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_by


class LayerCAM(BaseCAM):
    """`sum_k relu(g_k) A_k`: Jiang et al. 2021, section 3."""

    method = "layercam"

    get_cam_image = image_by(method)
