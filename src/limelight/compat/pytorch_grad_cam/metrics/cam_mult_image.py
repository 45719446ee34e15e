"""The image times the map: `pytorch_grad_cam.metrics.cam_mult_image`."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from limelight.compat.pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
)


def multiply_tensor_with_cam(input_tensor: Tensor, cam: Tensor) -> Tensor:
    """Return a normalised image `[C, *image]` times its map `[*image]`."""
    return input_tensor * cam


class CamMultImageConfidenceChange(PerturbationConfidenceMetric):
    """The change of each image's score when the image is multiplied by its map."""

    def __init__(self) -> None:
        """Take the product as the change of an image."""
        super().__init__(multiply_tensor_with_cam)


class DropInConfidence(CamMultImageConfidenceChange):
    """How far each image's score drops when the image is multiplied by its map.

    `max(0, y(x) - y(x M))`. "Average drop" in papers (Chattopadhay et al. 2018) is this divided by
    `y(x)`, of a probability; that is limelight's metric `average-drop`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the drops, `[B]`, float32; arguments as of `PerturbationConfidenceMetric`."""
        return _of_scores(super().__call__(*args, **kwargs), lambda scores: np.maximum(-scores, 0))


class IncreaseInConfidence(CamMultImageConfidenceChange):
    """Whether each image's score rises when the image is multiplied by its map: 1 or 0."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return 1 or 0, `[B]`, float32; arguments as of `PerturbationConfidenceMetric`."""
        return _of_scores(super().__call__(*args, **kwargs), lambda scores: np.float32(scores > 0))


def _of_scores(result: Any, change: Any) -> Any:
    """Change the scores in what a metric returned, with the changed images or without."""
    return (change(result[0]), result[1]) if isinstance(result, tuple) else change(result)
