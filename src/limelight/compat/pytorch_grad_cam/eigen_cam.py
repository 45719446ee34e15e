"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection,
)
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class EigenCAM(BaseCAM):
    """The activations along their first principal direction, with centred channels.

    Muhammad and Yeasin 2020, section III. It reads no class. The sign is chosen so that the map
    correlates positively with the mean activation.
    """

    method = "eigencam"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; see `BaseCAM`."""
        super().__init__(
            model, target_layers, reshape_transform, uses_gradients=False, **older_forms
        )

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
        return get_2d_projection(activations)
