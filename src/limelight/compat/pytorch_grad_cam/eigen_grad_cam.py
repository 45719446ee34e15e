"""Eigen-Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection,
)
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class EigenGradCAM(BaseCAM):
    """Eigen-CAM of gradient times activations: named by the grad-cam library (Gildenblat 2021)."""

    method = "eigengradcam"

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
        return get_2d_projection(grads * activations)
