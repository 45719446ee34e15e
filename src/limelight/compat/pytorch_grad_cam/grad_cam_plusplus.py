"""Grad-CAM++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, weights_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class GradCAMPlusPlus(BaseCAM):
    """Channels weighted by a weighted sum of positive gradients.

    Chattopadhay et al. 2018, eq. 19 and 20. No epsilon is added to the denominator: with one, a
    network whose gradients are small has another map.
    """

    method = "gradcam++"

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        return weights_of("gradcam++", activations, grads)
