"""Coherent, small and faithful in one number: `pytorch_grad_cam.metrics.arcc`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.pytorch_grad_cam.metrics.perturbation_confidence import Array
from limelight.compat.pytorch_grad_cam.metrics.road import ROADCombined
from limelight.inputs import as_tensor
from limelight.metrics.statistics import harmonic_mean, pearson


def batch_pearson_coherency(A: Array, B: Array) -> Array:
    """Return Pearson's correlation of each map in A with its map in B, `[B]`, float32.

    It is 0 where one of the two is constant.
    """
    first, second = (as_tensor(maps).flatten(1) for maps in (A, B))
    return pearson(first, second).float().numpy()


class Complexity:
    """How much of the image a map covers: its mean absolute value, `mean |M|`.

    In [0, 1] for a map in [0, 1]; lower is better. Poppi et al. 2021.
    """

    def __call__(self, grayscale_cams: Array) -> Array:
        """Return the complexity of maps `[B, *image]`, `[B]`."""
        maps = np.asarray(grayscale_cams)
        mean: Array = np.abs(maps).reshape(len(maps), -1).mean(axis=1)
        return mean


class Coherency:
    """How alike a map is to the map of the image times it: `(pearson(CAM(x M), M) + 1) / 2`.

    In [0, 1]; higher is better. Poppi et al. 2021.
    """

    def __call__(
        self,
        input_tensor: Tensor,
        grayscale_cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
        base_method: Callable[..., Any],
    ) -> Array:
        """Return the coherency of each map, `[B]`.

        Args:
            input_tensor: The images x, `[B, C, *image]`.
            grayscale_cams: Their maps M, `[B, *image]`.
            targets: What the maps explain, as the method takes it.
            model: Not read; the method has the network.
            base_method: What made the maps: called with `input_tensor` and `targets`.
        """
        maps = as_tensor(grayscale_cams)
        of_masked = base_method(
            input_tensor=input_tensor * maps[:, None].to(input_tensor), targets=targets
        )
        return (batch_pearson_coherency(of_masked, grayscale_cams) + 1) / 2


class ARCC:
    """The harmonic mean of coherency, 1 - complexity, and twice ROAD, clipped to [0, 1].

    `3 / (1 / coherency + 1 / (1 - complexity) + 1 / (2 ROAD))`; where one of the three is 0, so is
    the value. Higher is better. The grad-cam library calls it a geometric mean, but computes this.
    ROAD is in [-0.5, 0.5] only if the targets return probabilities.
    """

    def __init__(
        self,
        base_method: Callable[..., Any],
        road_percentiles: Sequence[float] = (20, 40, 60, 80),
    ) -> None:
        """Keep the method that made the maps, and the percentiles of ROAD."""
        self.complexity = Complexity()
        self.coherency = Coherency()
        self.road = ROADCombined(percentiles=road_percentiles)
        self.base_method = base_method

    def __call__(
        self,
        input_tensor: Tensor,
        grayscale_cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
    ) -> Array:
        """Return the value of each map, `[B]`, float32; arguments as of its three parts."""
        coherency = self.coherency(input_tensor, grayscale_cams, targets, model, self.base_method)
        road = self.road(input_tensor, grayscale_cams, targets, model)
        terms = (coherency, 1 - self.complexity(grayscale_cams), (2 * road).clip(0, 1))
        value = harmonic_mean(torch.stack([as_tensor(term).double() for term in terms]))
        return value.float().numpy()
