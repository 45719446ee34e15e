"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, weights_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class GradCAM(BaseCAM):
    """`sum_k mean_ij(g_k) A_k`: Selvaraju et al. 2017, eq. 1 and 2."""

    method = "gradcam"

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        return weights_of("gradcam", activations, grads)
