"""FEM, the feature explanation method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from limelight.compat.arrays import Array, contributions_of
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM, joined_channels
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class FEM(BaseCAM):
    """`sum_k mean_ij(A_k) [A_k > mean_ij A_k + k std_ij A_k]`: Fuad et al. 2020, section 3.

    It reads no class. The mean weighs the mask, as in the paper.
    """

    method = "fem"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        k: float = 2,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; see `BaseCAM`. `k` is in standard deviations."""
        super().__init__(model, target_layers, reshape_transform, **older_forms)
        self.k = k

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
        contributions = contributions_of(f"fem:deviations={self.k}", activations, None)
        return joined_channels(contributions, eigen_smooth)
