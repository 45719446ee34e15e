"""Remove and debias: `pytorch_grad_cam.metrics.road`.

Removed pixels become weighted means of their neighbours, so that no hole shows (Rong et al. 2022).
limelight's own metric is `road`: it runs the network once per image and share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limelight.compat.pytorch_grad_cam.metrics.perturbation_confidence import (
    Array,
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from limelight.errors import MetricError, OptionError
from limelight.metrics.imputation import impute

#: The weight of each neighbour of a pixel, by its place: 1/6 beside it, 1/12 at its corners.
neighbors_weights = [
    ((down, across), 1 / 12 if down and across else 1 / 6)
    for down in (-1, 0, 1)
    for across in (-1, 0, 1)
    if down or across
]


class NoisyLinearImputer:
    """Replaces removed pixels by the weighted means of their neighbours, plus normal noise.

    The noise is the same at every call.
    """

    def __init__(
        self,
        noise: float = 0.01,
        weighting: Sequence[tuple[tuple[int, int], float]] = neighbors_weights,
    ) -> None:
        """Keep the standard deviation of the noise.

        Raises:
            OptionError: The weights are others than `neighbors_weights`.
        """
        if sorted(weighting) != sorted(neighbors_weights):
            raise OptionError(
                "weighting differs from neighbors_weights (1/6 beside a pixel, 1/12 at its "
                "corners), the only weights that are offered. Leave it out."
            )
        self.noise = noise
        self.weighting = weighting

    def __call__(self, img: Tensor, mask: Tensor) -> Tensor:
        """Return an image with its removed pixels replaced.

        Args:
            img: `[C, *image]`.
            mask: `[*image]`, 1 where a pixel stays and 0 where it is removed.

        Raises:
            MetricError: No pixel stays.
        """
        removed = mask < 0.5
        if removed.all():
            raise MetricError(
                "The mask is 0 everywhere; at least one pixel has to stay, from which the others "
                "are imputed."
            )
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(img.shape, generator=generator, dtype=torch.float64, device="cpu")
        noise = torch.where(removed, self.noise * drawn.to(img), 0)
        return impute(img[None], removed[None])[0] + noise


class ROADMostRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the `100 - percentile` percent most relevant pixels."""

    def __init__(self, percentile: float | Literal["auto"] = 80) -> None:
        """Take the percentile above which pixels are removed."""
        super().__init__(RemoveMostRelevantFirst(percentile, NoisyLinearImputer()))


class ROADLeastRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the `100 - percentile` percent least relevant pixels."""

    def __init__(self, percentile: float | Literal["auto"] = 20) -> None:
        """Take the percentile, counted from the most relevant pixel."""
        super().__init__(RemoveLeastRelevantFirst(percentile, NoisyLinearImputer()))


class ROADMostRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of `ROADMostRelevantFirst` over percentiles. Lower is better."""

    def __init__(self, percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90)) -> None:
        """Keep the percentiles."""
        super().__init__(ROADMostRelevantFirst, percentiles)


class ROADLeastRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of `ROADLeastRelevantFirst` over percentiles. Higher is better."""

    def __init__(self, percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90)) -> None:
        """Keep the percentiles."""
        super().__init__(ROADLeastRelevantFirst, percentiles)


class ROADCombined:
    """Both averages in one number: `(least relevant first - most relevant first) / 2`.

    Higher is better; a map that is the same everywhere has 0 up to the order of its pixels.
    """

    def __init__(self, percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90)) -> None:
        """Keep the percentiles."""
        self.percentiles = percentiles
        self.morf_averager = ROADMostRelevantFirstAverage(percentiles)
        self.lerf_averager = ROADLeastRelevantFirstAverage(percentiles)

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
    ) -> Array:
        """Return the number of each image, `[B]`, float32."""
        lerf = self.lerf_averager(input_tensor, cams, targets, model)
        morf = self.morf_averager(input_tensor, cams, targets, model)
        difference: Array = (lerf - morf) / 2
        return difference
