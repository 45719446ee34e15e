"""Shapley-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import Array, as_array, weights_and_values
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer
from limelight.methods import METHODS


class ShapleyCAM(BaseCAM):
    """`sum_k mean_ij(g_k - (H A)_k / 2) A_k`, H the Hessian of the score: Cai 2025, section 3.

    For a transformer limelight finds the grid; nothing has to be reshaped by hand.
    """

    method = "shapleycam"

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        evidence = self.evidence_at(target_layers).evidence(METHODS["shapleycam"].needs)
        return as_array(weights_and_values("shapleycam", evidence)[0])
