"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array, weights_and_values
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer
from limelight.methods import METHODS


class ScoreCAM(BaseCAM):
    """Channels weighted by the score of the image seen through them, after a softmax.

    Wang et al. 2020, algorithm 1. Masks and maps are resized by the same rule, with the centres of
    cells over the centres of pixels. `batch_size` says how many masks run together.
    """

    method = "scorecam"

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

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        evidence = self.evidence_at(target_layers).evidence(METHODS["scorecam"].needs)
        return as_array(weights_and_values("scorecam:softmax=true", evidence)[0])
