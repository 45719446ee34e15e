"""KPCA-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection_kernel,
)
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class KPCA_CAM(BaseCAM):
    """The first kernel principal component of the activations.

    Karmani et al. 2024, section III. It reads no class.
    """

    method = "kpcacam"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        kernel: str = "sigmoid",
        gamma: float | None = None,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; see `BaseCAM`.

        Args:
            model, target_layers, reshape_transform, older_forms: As for `BaseCAM`.
            kernel: "linear", "poly", "rbf", "sigmoid" or "cosine".
            gamma: The factor in poly, rbf and sigmoid; None for one over the number of channels.
        """
        super().__init__(model, target_layers, reshape_transform, **older_forms)
        self.kernel, self.gamma = kernel, gamma

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
        return get_2d_projection_kernel(activations, self.kernel, self.gamma)
