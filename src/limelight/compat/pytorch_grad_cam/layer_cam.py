"""Layer-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, contributions_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM, joined_channels
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class LayerCAM(BaseCAM):
    """`sum_k relu(g_k) A_k`: Jiang et al. 2021, section 3."""

    method = "layercam"

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
        return joined_channels(contributions_of("layercam", activations, grads), eigen_smooth)
