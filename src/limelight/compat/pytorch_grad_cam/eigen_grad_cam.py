"""Eigen-Grad-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_of
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection


class EigenGradCAM(BaseCAM):
    """Eigen-CAM of gradient times activations: named by the grad-cam library (Gildenblat 2021)."""

    method = "eigengradcam"

    get_cam_image = image_of(lambda activations, grads: get_2d_projection(grads * activations))
