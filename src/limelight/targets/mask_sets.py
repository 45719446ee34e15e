"""The masks that a model proposes, however it returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.mask_outputs import mask_queries, part_named, prompted_masks
from limelight.targets.outputs import Detected, parts, returned


@dataclass(frozen=True, slots=True, eq=False)
class MaskSet:
    """The masks that a model proposes for each image.

    Attributes:
        masks: For each image, mask logits `[N, h, w]`.
        likely: For each image, the probability that mask n is of class c, `[N, C]`; for a model
            without classes, how good it takes the mask for, `[N, 1]`.
        logits: For each image, the class logits `[N, C]`; None if the masks themselves are scored.
        keeps_numbers: Whether a mask has the same number in every run.
    """

    masks: tuple[Tensor, ...]
    likely: tuple[Tensor, ...]
    logits: tuple[Tensor, ...] | None
    keeps_numbers: bool = True


def read_masks(output: object) -> MaskSet:
    """Return the masks in what a model returned.

    They are those of mask classification, of a prompted segmenter (SAM), of DETR for panoptic
    segmentation (`pred_masks` beside the boxes), or of torchvision's Mask R-CNN, which are read as
    `log(m / (1 - m))` of what it returns.

    Raises:
        TargetError: There are none.
    """
    own = returned(output)
    if queries := mask_queries(own):
        likely = queries.classes.detach().softmax(-1)[..., :-1]
        return MaskSet(tuple(queries.masks), tuple(likely), tuple(queries.classes[..., :-1]))
    if prompted := prompted_masks(own):
        quality = prompted.quality.detach()[..., None]
        return MaskSet(tuple(prompted.masks), tuple(quality), None)
    if isinstance(output, Detected):
        if (masks := _masks_of_boxes(own)) is not None:
            return MaskSet(tuple(masks), output.probabilities, output.logits)
        if _has_masks(own):
            return _of_detections(output, own)
    raise TargetError(
        "A mask needs a model that proposes masks: mask classification, which returns "
        "`class_queries_logits` and `masks_queries_logits`, SAM, or Mask R-CNN. This model "
        f"returned {type(own).__name__}. For a segmenter with logits [B, C, h, w] the target is a "
        "Region, for a detector a Box; for another model pass a callable from its output to scores "
        "[B]."
    )


def mirrored_masks(output: Any, axes: Sequence[int]) -> Any:
    """Return what a detector returned for flipped images, with its masks flipped back.

    Args:
        output: What it returned; without masks it is returned as it is.
        axes: The image axes along which the images were flipped, counted from the end.
    """
    if (masks := _masks_of_boxes(output)) is not None:
        return parts(output) | {"pred_masks": masks.flip(tuple(axes))}
    if _has_masks(output):
        return [{**of_image, "masks": of_image["masks"].flip(tuple(axes))} for of_image in output]
    return output


def _masks_of_boxes(output: Any) -> Tensor | None:
    """Return the mask logits `[B, N, h, w]` that stand beside boxes; None if there are none."""
    masks = part_named(output, "pred_masks")
    return masks if isinstance(masks, Tensor) and masks.ndim == 4 else None


def _has_masks(output: Any) -> bool:
    """Return whether each image has a mapping that holds `masks`, as Mask R-CNN returns them."""
    return isinstance(output, list) and all(
        isinstance(of_image, Mapping) and "masks" in of_image for of_image in output
    )


def _of_detections(detected: Detected, output: list[Mapping[str, Tensor]]) -> MaskSet:
    """Read the masks `[N, 1, H, W]` that Mask R-CNN returns, with labels and scores."""
    masks, likely = list[Tensor](), list[Tensor]()
    count = detected.logits[0].shape[1]
    for detections in output:
        shares = detections["masks"][:, 0]
        masks.append(shares.logit(torch.finfo(shares.dtype).eps))
        of_classes = torch.nn.functional.one_hot(detections["labels"], count)
        likely.append(of_classes * detections["scores"].detach()[:, None])
    return MaskSet(tuple(masks), tuple(likely), None, keeps_numbers=False)
