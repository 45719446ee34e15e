"""Eigen-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_of
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection


class EigenCAM(BaseCAM):
    """The activations along their first principal direction, with centred channels.

    Muhammad and Yeasin 2020, section III. It reads no class. The sign is chosen so that the map
    correlates positively with the mean activation.
    """

    method = "eigencam"

    get_cam_image = image_of(lambda activations, _grads: get_2d_projection(activations))
