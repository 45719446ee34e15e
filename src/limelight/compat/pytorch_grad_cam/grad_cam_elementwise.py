"""Grad-CAM by elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, contributions_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM, joined_channels
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class GradCAMElementWise(BaseCAM):
    """`sum_k relu(g_k A_k)`: named by the grad-cam library (Gildenblat 2021)."""

    method = "gradcam-elementwise"

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Array:
        """Return the raw map `[B, *grid]`."""
        return joined_channels(
            contributions_of("gradcam-elementwise", activations, grads), eigen_smooth
        )
