"""Seg-Eigen-CAM."""

from __future__ import annotations

import numpy as np

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import image_of
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection_with_sign_correction,
)


class SegEigenCAM(BaseCAM):
    """Absolute gradient times activations, along their first principal direction.

    Chung and Ying 2025, eq. 10 to 13; the largest absolute value is positive.
    """

    method = "segeigencam"

    get_cam_image = image_of(
        lambda activations, grads: get_2d_projection_with_sign_correction(
            np.abs(grads) * activations
        )
    )
