"""A control: random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer


class RandomCAM(BaseCAM):
    """`sum_k w_k A_k` with w uniform in [-1, 1]: what any map has to beat.

    `numpy.random.seed` makes it repeatable.
    """

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        return np.asarray(np.random.uniform(-1, 1, size=activations.shape[:2]))
