"""Grad-CAM++."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import weights_by


class GradCAMPlusPlus(BaseCAM):
    """Channels weighted by a weighted sum of positive gradients.

    Chattopadhay et al. 2018, eq. 19 and 20. No epsilon is added to the denominator: with one, a
    network whose gradients are small has another map.
    """

    method = "gradcam++"

    get_cam_weights = weights_by(method)
