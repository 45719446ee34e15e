"""Test-time augmentation: changed images, and how their maps and outputs are turned back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from limelight.compat.scores import OneImageTarget
from limelight.inputs import map_tensors


class Augmentation(Protocol):
    """A change of images; what ttach calls a transformer is one too."""

    def augment_image(self, image: Tensor) -> Tensor:
        """Return the changed images `[B, C, *image]`."""

    def deaugment_mask(self, mask: Tensor) -> Tensor:
        """Return maps `[B, 1, *image]` of the changed images as maps of the images."""


@dataclass(frozen=True, slots=True)
class FlipAndFactor:
    """Images flipped left and right, or not, and multiplied by a factor."""

    flip: bool
    factor: float

    def augment_image(self, image: Tensor) -> Tensor:
        """Return the changed images `[B, C, *image]`."""
        return (image.flip(-1) if self.flip else image) * self.factor

    def deaugment_mask(self, mask: Tensor) -> Tensor:
        """Return maps of the changed images as maps of the images."""
        return mask.flip(-1) if self.flip else mask


#: The image and its mirror image, each a little darker, as it is, and a little lighter.
FLIPS_AND_FACTORS: tuple[Augmentation, ...] = tuple(
    FlipAndFactor(flip, factor) for flip in (False, True) for factor in (0.9, 1.0, 1.1)
)


def turned_back(
    targets: Sequence[OneImageTarget], transform: Augmentation, images: Tensor
) -> list[OneImageTarget]:
    """Return targets that see the output for augmented images as if it were for the images.

    Tensors with the image's axes are turned back as maps are, and a detector's boxes are mirrored;
    anything else has no place to turn.
    """

    def read(target: OneImageTarget, output: Any) -> Any:
        return target(_turned_output(output, transform, images))

    return [partial(read, target) for target in targets]


def _turned_output(output: Any, transform: Augmentation, images: Tensor) -> Any:
    is_mirrored = isinstance(transform, FlipAndFactor) and transform.flip
    if is_mirrored and isinstance(output, Mapping) and "boxes" in output:
        return {**output, "boxes": _mirrored(output["boxes"], images.shape[-1])}

    def turned(tensor: Tensor) -> Tensor:
        has_places = tensor.ndim == images.ndim - 1
        return transform.deaugment_mask(tensor[None])[0] if has_places else tensor

    return map_tensors(output, turned)


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    """Return boxes `[N, 4]`, x1 y1 x2 y2 in pixels, mirrored left and right."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([width - right, top, width - left, bottom], -1)
