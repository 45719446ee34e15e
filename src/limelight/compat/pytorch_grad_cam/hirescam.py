"""HiRes-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_by


class HiResCAM(BaseCAM):
    """`sum_k g_k A_k`: Draelos and Carin 2020, section 3."""

    method = "hirescam"

    get_cam_image = image_by(method)
