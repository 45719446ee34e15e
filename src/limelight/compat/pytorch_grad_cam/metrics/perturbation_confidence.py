"""How a score changes with the image: `pytorch_grad_cam.metrics.perturbation_confidence`.

The network is run in evaluation mode and is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from limelight.compat.runs import output_without_graph
from limelight.compat.scores import output_of_image
from limelight.errors import InputError, OptionError, TargetError
from limelight.inputs import as_tensor
from limelight.metrics.faithfulness import pixel_ranks

Array = npt.NDArray[Any]


#: From an image `[C, *image]` and its map `[*image]`, both on the CPU, to a changed image.
Perturbation = Callable[[Tensor, Tensor], Tensor]


#: From an image `[C, *image]` and a mask `[*image]`, 1 where a pixel stays and 0 where it is
#: removed, to the image with removed pixels replaced.
Imputer = Callable[[Tensor, Tensor], Tensor]


class _Metric(Protocol):
    """A metric of one share of pixels."""

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
    ) -> Any:
        """Return a number per image."""


class PerturbationConfidenceMetric:
    """The change of each image's score when the image is changed by its map: `y(x') - y(x)`."""

    def __init__(self, perturbation: Perturbation) -> None:
        """Keep the function that changes an image."""
        self.perturbation = perturbation

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
        return_visualization: bool = False,
        return_diff: bool = True,
    ) -> Any:
        """Return the change of the score of each image, `[B]`, float32.

        Args:
            input_tensor: The images, `[B, C, *image]`.
            cams: Their maps in [0, 1], `[B, *image]`.
            targets: One callable per image, from the output for its image to a score.
            model: The network.
            return_visualization: Return the changed images `[B, C, *image]`, too.
            return_diff: Return the change; else the score of the changed images.

        Raises:
            InputError: There is not one map per image, of its size.
            TargetError: There is not one target per image.
        """
        _check(input_tensor, cams, targets)
        images = input_tensor.detach().cpu().clone()
        changed = torch.stack(
            [
                self.perturbation(image, as_tensor(cam))
                for image, cam in zip(images, cams, strict=True)
            ]
        )
        changed = changed.to(input_tensor.device)
        result = _scores(model, changed, targets)
        if return_diff:
            result = result - _scores(model, input_tensor, targets)
        return (result, changed) if return_visualization else result


class RemoveMostRelevantFirst:
    """A perturbation that removes the pixels with the highest values of the map.

    Exactly `100 - percentile` percent of the pixels are removed, rounded to whole pixels: as many
    as lie at or above that percentile if no two values are equal. Among equal values the first
    pixel goes first. At least one pixel stays. With "auto", the pixels above Otsu's threshold of
    the map are removed.
    """

    def __init__(self, percentile: float | Literal["auto"], imputer: Imputer) -> None:
        """Keep the percentile, 0 to 100 or "auto", and what replaces removed pixels.

        Raises:
            OptionError: The percentile is something else.
        """
        if percentile != "auto" and not 0 <= percentile <= 100:
            raise OptionError(
                f"percentile is {percentile!r}; a number from 0 to 100 was expected, or 'auto'."
            )
        self.percentile = percentile
        self.imputer = imputer

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """Return an image `[C, *image]` without the most relevant pixels of its map `[*image]`."""
        relevance = mask.detach().double().nan_to_num(0)
        if self.percentile == "auto":
            kept = ~_is_above_otsu(relevance)
        else:
            count = mask.numel()
            lower = math.ceil(round(self.percentile / 100 * (count - 1), 6))
            removed = min(count - lower, count - 1)
            kept = (pixel_ranks(relevance[None])[0] >= removed).reshape(mask.shape)
        return self.imputer(input_tensor, kept.float())


class RemoveLeastRelevantFirst(RemoveMostRelevantFirst):
    """A perturbation that removes the pixels with the lowest values of the map.

    As `RemoveMostRelevantFirst` of `1 - map`.
    """

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """Return an image `[C, *image]` without the least relevant pixels of its map `[*image]`."""
        return super().__call__(input_tensor, 1 - mask.double())


class AveragerAcrossThresholds:
    """The mean of a metric over percentiles."""

    def __init__(
        self,
        imputer: Callable[[Any], _Metric],
        percentiles: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    ) -> None:
        """Keep what makes the metric of a percentile, and the percentiles."""
        self.imputer = imputer
        self.percentiles = percentiles

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Array,
        targets: Sequence[Callable[[Any], Any]],
        model: nn.Module,
    ) -> Array:
        """Return the mean for each image, `[B]`, float32; the arguments are the metric's."""
        metrics = map(self.imputer, self.percentiles)
        values = [metric(input_tensor, cams, targets, model) for metric in metrics]
        mean: Array = np.mean(np.array(values, dtype=np.float32), axis=0)
        return mean


def _check(images: Tensor, cams: Array, targets: Sequence[Any]) -> None:
    """Check that there is one map and one target per image.

    Raises:
        InputError: There is not one map per image, of its size.
        TargetError: There is not one target per image.
    """
    shape = list(np.shape(cams))
    if shape != [len(images), *images.shape[2:]]:
        raise InputError(
            f"The maps are {shape} and the images {list(images.shape)}; one map "
            f"{list(images.shape[2:])} per image was expected."
        )
    if len(targets) != len(images):
        raise TargetError(
            f"There are {len(targets)} targets for {len(images)} images; one per image was "
            "expected, in a list."
        )


def _scores(model: nn.Module, images: Tensor, targets: Sequence[Callable[[Any], Any]]) -> Any:
    """Return the score of each image, float32."""
    output = output_without_graph(model, images)
    with torch.no_grad():
        scores = [
            target(output_of_image(output, number, len(images)))
            for number, target in enumerate(targets)
        ]
    return np.array([as_tensor(score).cpu().numpy() for score in scores], dtype=np.float32)


def _is_above_otsu(relevance: Tensor) -> Tensor:
    """Return where a map in [0, 1] is above Otsu's threshold, among 256 levels."""
    from skimage.filters import threshold_otsu

    levels = (255 * relevance.clamp(0, 1)).byte()
    threshold: int = threshold_otsu(levels.cpu().numpy())  # type: ignore[no-untyped-call]
    return levels > int(threshold)
