"""What to explain, as callables on one image's output: `pytorch_grad_cam.utils.model_targets`.

Each is called with what the model returned for one image, without the batch axis. Most also read
a batch `[B, C]`. If the output is no tensor (a dict, a tuple, an output object), its logits are
found as `limelight.explain` finds them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.box_overlaps import overlaps_of
from limelight.targets.outputs import find_logits


class ClassifierOutputTarget:
    """The logit of one class: `[C]` gives a number, `[B, C]` gives `[B]`."""

    def __init__(self, category: SupportsIndex) -> None:
        """Keep the index of the class."""
        self.category = category

    def __call__(self, model_output: Any) -> Tensor:
        """Return the logit.

        Raises:
            TargetError: The output holds no class logits, or no class of that index.
        """
        return _class_of(_class_logits(model_output, self), self.category)


class ClassifierOutputSoftmaxTarget:
    """The probability of one class: `[C]` gives a number, `[B, C]` gives `[B]`."""

    def __init__(self, category: SupportsIndex) -> None:
        """Keep the index of the class."""
        self.category = category

    def __call__(self, model_output: Any) -> Tensor:
        """Return the softmax at the class.

        Raises:
            TargetError: The output holds no class logits, or no class of that index.
        """
        return _class_of(_class_logits(model_output, self).softmax(-1), self.category)


class ClassifierOutputReST:
    """The logit of one class plus the logarithm of its probability: `y_c + log p_c`.

    Cai 2025, CAMs as Shapley Value-based Explainers: the residual softmax target.
    """

    def __init__(self, category: SupportsIndex) -> None:
        """Keep the index of the class."""
        self.category = category

    def __call__(self, model_output: Any) -> Tensor:
        """Return the sum: `[C]` gives a number, `[B, C]` gives `[B]`.

        Raises:
            TargetError: The output holds no class logits, or no class of that index.
        """
        logits = _class_logits(model_output, self)
        return _class_of(logits + logits.log_softmax(-1), self.category)


class BinaryClassifierOutputTarget:
    """The only output of a binary classifier for category 1; minus it for any other category."""

    def __init__(self, category: int) -> None:
        """Keep which of the two classes it is."""
        self.category = category

    def __call__(self, model_output: Any) -> Tensor:
        """Return the output, or minus it, in its own shape."""
        return find_logits(model_output) * (1 if self.category == 1 else -1)


class SoftmaxOutputTarget:
    """The probabilities of all classes."""

    def __call__(self, model_output: Any) -> Tensor:
        """Return the softmax over the last axis."""
        return find_logits(model_output).softmax(-1)


class RawScoresOutputTarget:
    """The output as it is."""

    def __call__(self, model_output: Any) -> Tensor:
        """Return the logits."""
        return find_logits(model_output)


class SemanticSegmentationTarget:
    """The sum of the scores of one class over the pixels of a mask: `sum_ij M_ij y_cij`."""

    def __init__(self, category: SupportsIndex, mask: Any) -> None:
        """Keep the index of the class and the mask `[H, W]`, an array or a tensor."""
        self.category = category
        self.mask = as_tensor(mask)

    def __call__(self, model_output: Any) -> Tensor:
        """Return the sum: scores `[C, H, W]` give a number, `[B, C, H, W]` give `[B]`.

        Raises:
            TargetError: The output holds no such scores, no class of that index, or pixels that
                are not those of the mask.
        """
        scores = find_logits(model_output)
        size = tuple(scores.shape[-2:])
        if scores.ndim not in (3, 4):
            raise TargetError(
                f"SemanticSegmentationTarget reads class scores [C, H, W] of one image; the output "
                f"is {list(scores.shape)}. For a classifier take ClassifierOutputTarget."
            )
        if tuple(self.mask.shape[-2:]) != size or self.mask.numel() != size[0] * size[1]:
            raise TargetError(
                f"The mask is {list(self.mask.shape)} and the class scores are {list(size)}; a "
                "mask [H, W] of that size was expected."
            )
        of_class = _class_of(scores.movedim(-3, -1), self.category)
        return (of_class * self.mask.to(scores.device).reshape(size)).sum((-2, -1))


class FasterRCNNBoxScoreTarget:
    """How well a detector finds given boxes again: the sum of overlap and score over the boxes.

    For each given box, the detected box with the largest IoU is looked up. It counts `IoU + score`
    if its IoU is above the threshold and its label is that of the given box, else 0. limelight's
    own target for boxes, `limelight.Box`, reads the logit of the proposal instead, also of boxes
    that the detector has dropped.
    """

    def __init__(
        self, labels: Sequence[Any], bounding_boxes: Sequence[Any], iou_threshold: float = 0.5
    ) -> None:
        """Keep the boxes (x1, y1, x2, y2) and the label of each.

        Raises:
            TargetError: There is not one label per box.
        """
        if len(labels) != len(bounding_boxes):
            raise TargetError(
                f"There are {len(labels)} labels for {len(bounding_boxes)} boxes; one per box was "
                "expected."
            )
        self.labels = labels
        self.bounding_boxes = bounding_boxes
        self.iou_threshold = iou_threshold

    def __call__(self, model_outputs: Mapping[str, Tensor]) -> Tensor:
        """Return the sum, `[1]`, for the detections of one image.

        Raises:
            TargetError: The output is not a dict with boxes, labels and scores.
        """
        if not isinstance(model_outputs, Mapping) or not model_outputs.keys() >= _DETECTION:
            raise TargetError(
                "FasterRCNNBoxScoreTarget reads the detections of one image, a dict with 'boxes', "
                f"'labels' and 'scores'; the output is a {type(model_outputs).__name__}."
            )
        boxes = model_outputs["boxes"]
        total = boxes.new_zeros(1)
        if len(boxes) == 0:
            return total
        for box, label in zip(self.bounding_boxes, self.labels, strict=True):
            overlaps = overlaps_of(as_tensor(box).to(boxes).reshape(1, 4), boxes)[0]
            best = overlaps.argmax()
            if overlaps[best] > self.iou_threshold and model_outputs["labels"][best] == label:
                total = total + overlaps[best] + model_outputs["scores"][best]
        return total


class FinerWeightedTarget:
    """The lead of one class over others, weighted by their probabilities.

    `sum_d p_d (y_c - alpha y_d) / sum_d p_d` over the other classes d: Zhang et al. 2025,
    Finer-CAM.
    """

    def __init__(
        self,
        main_category: SupportsIndex,
        comparison_categories: Sequence[SupportsIndex],
        alpha: float,
    ) -> None:
        """Keep c, the other classes and alpha."""
        self.main_category = main_category
        self.comparison_categories = comparison_categories
        self.alpha = alpha

    def __call__(self, model_output: Any) -> Tensor:
        """Return the lead: `[C]` gives a number, `[B, C]` gives `[B]`.

        Raises:
            TargetError: The output holds no class logits, or no class of these indices.
        """
        logits = _class_logits(model_output, self)
        others = [_class_of(logits, category) for category in self.comparison_categories]
        if not others:
            raise TargetError("There are no classes to compare with; name at least one.")
        # Divided by their sum, probabilities are the softmax over these classes alone, which does
        # not underflow where all of them are unlikely.
        weights = torch.stack(others).softmax(0)
        leads = _class_of(logits, self.main_category) - self.alpha * torch.stack(others)
        return (weights * leads).sum(0)


#: What torchvision's detectors return for each image.
_DETECTION = {"boxes", "labels", "scores"}


def _class_logits(output: Any, target: object) -> Tensor:
    """Return the logits `[C]` or `[B, C]`; a single number is one class.

    Raises:
        TargetError: They have more axes.
    """
    logits = find_logits(output)
    if logits.ndim > 2:
        raise TargetError(
            f"{type(target).__name__} reads class logits [C] of one image; the output is "
            f"{list(logits.shape)}. For a segmentation take SemanticSegmentationTarget, for "
            "anything else a function from the output to one number."
        )
    return logits.reshape(1) if logits.ndim == 0 else logits


def _class_of(scores: Tensor, category: SupportsIndex) -> Tensor:
    """Return the scores of one class from `[..., C]`.

    Raises:
        TargetError: There is no class of that index.
    """
    count = scores.shape[-1]
    try:
        index = operator.index(category)
    except TypeError:
        raise TargetError(
            f"The category is {category!r}; the index of one class was expected."
        ) from None
    if not -count <= index < count:
        raise TargetError(
            f"The category is {index}, but the output has {count} classes: 0 to {count - 1}."
        )
    return scores[..., index]
