"""RefineCAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.call_forms import Targets
from limelight.compat.pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
from limelight.compat.pytorch_grad_cam.utils.image import scale_cam_image
from limelight.compat.release import Releasable
from limelight.compat.runs import ReshapeTransform
from limelight.layers.resolved import Layer


class RefineCAM(Releasable):
    """The product of the maps of several layers: Domeniconi et al. 2026.

    A fine map of an early layer is kept where a late layer, which sees more meaning, agrees.

    Attributes:
        base_cam_per_layer: The method that makes the map of each layer.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer],
        reshape_transform: ReshapeTransform | None = None,
        base_method: type[BaseCAM] = GradCAMPlusPlus,
        **kwargs: Any,
    ) -> None:
        """Remember what to explain; `kwargs` go to the base method."""
        self.base_cam_per_layer: list[BaseCAM] = [
            base_method(model, [layer], reshape_transform, **kwargs) for layer in target_layers
        ]

    @property
    def outputs(self) -> Any:
        """What the model returned in the last call, without a graph."""
        return self.base_cam_per_layer[0].outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the maps; see `forward`."""
        return self.forward(*args, **kwargs)

    def forward(
        self, input_tensor: Tensor, targets: Targets = None, eigen_smooth: bool = False
    ) -> Array:
        """Return the maps of images `[B, C, *image]`, `[B, *image]` in [0, 1]."""
        by_layer = [
            cam(input_tensor, targets, eigen_smooth=eigen_smooth) for cam in self.base_cam_per_layer
        ]
        return scale_cam_image(np.prod(by_layer, axis=0))

    def release(self) -> None:
        """Forget what the last call kept."""
        for cam in self.base_cam_per_layer:
            cam.release()
