"""XGrad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, weights_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class XGradCAM(BaseCAM):
    """`sum_k (sum_ij A_k g_k / sum_ij A_k) A_k`: Fu et al. 2020, section 3."""

    method = "xgradcam"

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        return weights_of("xgradcam", activations, grads)
