"""Finer-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.call_forms import Targets
from limelight.compat.pytorch_grad_cam.grad_cam import GradCAM
from limelight.compat.pytorch_grad_cam.utils.model_targets import FinerWeightedTarget
from limelight.compat.release import Releasable
from limelight.compat.runs import ReshapeTransform
from limelight.layers.resolved import Layer
from limelight.targets.outputs import class_logits


class FinerCAM(Releasable):
    """A method whose score is the difference of a class from the classes most like it.

    Zhang et al. 2025, Finer-CAM, with `FinerWeightedTarget` as the score.

    Attributes:
        base_cam: The method that makes the maps.
        compute_input_gradient, uses_gradients: As those of `base_cam`.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        base_method: type[BaseCAM] = GradCAM,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; see `BaseCAM`."""
        self.base_cam: BaseCAM = base_method(model, target_layers, reshape_transform, **older_forms)
        self.compute_input_gradient: bool = self.base_cam.compute_input_gradient
        self.uses_gradients: bool = self.base_cam.uses_gradients

    @property
    def outputs(self) -> Any:
        """What the model returned in the last call, without a graph."""
        return self.base_cam.outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the maps; see `forward`."""
        return self.forward(*args, **kwargs)

    def forward(
        self,
        input_tensor: Tensor,
        targets: Targets = None,
        eigen_smooth: bool = False,
        alpha: float = 1,
        comparison_categories: Sequence[int] | None = None,
        target_idx: int | None = None,
    ) -> Array:
        """Return the maps of images `[B, C, *image]`, `[B, *image]` in [0, 1].

        Args:
            input_tensor: The images.
            targets: As for `BaseCAM`; None for the difference described here.
            eigen_smooth: As for `BaseCAM`.
            alpha: How much of the other classes is subtracted.
            comparison_categories: Which classes to compare with, by their place among all classes
                sorted by how near their logit is to that of the explained class, which is at
                place 0. None for the nearest three, or as many as there are.
            target_idx: The class to explain; None for the predicted one.
        """
        run = self.base_cam.run(input_tensor)
        if targets is None:
            logits = as_array(class_logits(self.base_cam.outputs))
            last = logits.shape[-1] - 1
            nearest = (1, 2, 3) if comparison_categories is None else comparison_categories
            places = [p for p in nearest if p <= last]
            targets = []
            for row in logits:
                main = int(row.argmax()) if target_idx is None else target_idx
                distance = np.abs(row - row[main])
                distance[main] = -1  # so that the class itself comes first, also among equals
                order = np.argsort(distance, kind="stable")
                others = [int(order[place]) for place in places]
                targets.append(FinerWeightedTarget(main, others, alpha))
        return self.base_cam.maps_of(run, targets, eigen_smooth)

    def release(self) -> None:
        """Forget what the last call kept."""
        self.base_cam.release()
