"""FullGrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array, as_values
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.utils.image import (
    scale_accross_batch_and_channels,
    scale_cam_image,
)
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.evidence import Evidence
from limelight.finish import normalise, resize
from limelight.layers.resolved import INPUT, Layer
from limelight.methods import METHODS
from limelight.status import zero_unless_ok


class FullGrad(BaseCAM):
    """`psi(X g) + sum_l sum_k psi(b_l dy_c/dz_l)_k`: Srinivas and Fleuret 2019, section 4.

    All layers with a bias and a grid take part, each with its own gradient, whatever the order in
    which they were defined. psi scales a layer to [0, 1], not each of its channels.
    """

    method = "fullgrad"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] = (),
        reshape_transform: ReshapeTransform | None = None,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; `target_layers` and `reshape_transform` are not used."""
        super().__init__(model, [INPUT], None, **older_forms)

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: Sequence[OneImageTarget], eigen_smooth: bool
    ) -> list[Array]:
        """Return the one map of all layers, `[B, 1, *image]`."""
        at_input = self.evidence_at(INPUT)
        evidence = at_input.evidence(METHODS[self.method].needs)
        raw = METHODS[self.method].raw(evidence)
        status = at_input.status(raw, self._name, reads=True, sums_over=None, keeps_positive=False)
        self.statuses = [status]
        self._warn_of(status)
        if eigen_smooth:
            raw = _first_component_of_layers(evidence)
        size = self.get_target_width_height(input_tensor)[::-1]
        return [as_array(resize(zero_unless_ok(raw, status), size))[:, None]]

    def aggregate_multi_layers(self, cam_per_target_layer: Sequence[Array]) -> Array:
        """Return the map scaled to [0, 1], `[B, *image]`."""
        return scale_cam_image(cam_per_target_layer[0][:, 0])


def _first_component_of_layers(evidence: Evidence) -> Tensor:
    """Return the first component over layers of psi, `[B, *image]`, found at an eighth of the size.

    Each layer's psi is summed over channels, and scaled to [0, 1]: one sample per layer.
    """
    size = evidence.image.shape[2:]
    at_input = (evidence.activations * evidence.gradients).sum(1, keepdim=True)
    parts = [(at_input, ()), *evidence.bias_gradients]
    by_layer = torch.stack([resize(normalise(v.abs()).sum(1), size, span) for v, span in parts], 1)
    small = [max(1, side // 8) for side in size[::-1]]
    component = get_2d_projection(scale_accross_batch_and_channels(as_array(by_layer), small))
    return resize(as_values(component), size)
