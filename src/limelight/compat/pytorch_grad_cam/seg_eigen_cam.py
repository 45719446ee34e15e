"""Seg-Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection_with_sign_correction,
)
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class SegEigenCAM(BaseCAM):
    """Absolute gradient times activations, along their first principal direction.

    Chung and Ying 2025, eq. 10 to 13; the largest absolute value is positive.
    """

    method = "segeigencam"

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Array:
        """Return the raw map `[B, *grid]`; it is smooth already, with or without `eigen_smooth`."""
        return get_2d_projection_with_sign_correction(np.abs(grads) * activations)
