"""Grad-CAM by elements."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_by


class GradCAMElementWise(BaseCAM):
    """`sum_k relu(g_k A_k)`: named by the grad-cam library (Gildenblat 2021)."""

    method = "gradcam-elementwise"

    get_cam_image = image_by(method)
