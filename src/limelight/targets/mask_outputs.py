"""Masks in what a model returned: of mask classification, and of segmenters that are prompted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


def part_named(output: Any, name: str) -> Any:
    """Return the part of an output under this key or attribute; None if there is none."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


class MaskQueries(NamedTuple):
    """The output of mask classification (MaskFormer, Mask2Former, OneFormer, EoMT).

    Attributes:
        classes: The class logits of each query, `[B, Q, C + 1]`; the last one is "no object".
        masks: The mask logits of each query, `[B, Q, *grid]`.
    """

    classes: Tensor
    masks: Tensor

    def semantic_scores(self) -> Tensor:
        """Return `sum_q softmax(classes)_qc sigmoid(masks)_q`, `[B, C, *grid]`.

        Cheng et al. 2021, "Per-pixel classification is not all you need", section 3.4.
        """
        shares = self.classes.softmax(-1)[..., :-1]
        return torch.einsum("bqc,bq...->bc...", shares, self.masks.sigmoid())


class PromptedMasks(NamedTuple):
    """The output of a segmenter that is prompted (SAM): several masks of each prompt.

    Attributes:
        masks: The mask logits of all prompts, `[B, N, h, w]`.
        quality: The overlap (IoU) with the true mask that the model predicts, `[B, N]`.
    """

    masks: Tensor
    quality: Tensor

    def of_each_image(self, numbers: Tensor) -> Tensor:
        """Return one mask of each image, `[B, 1, h, w]`, given their numbers `[B]`."""
        rows = torch.arange(len(self.masks), device=self.masks.device)
        return self.masks[rows, numbers.to(rows.device)][:, None]


def mask_queries(output: Any) -> MaskQueries | None:
    """Return the class and mask logits of mask classification; None if the output has none."""
    classes = part_named(output, "class_queries_logits")
    masks = part_named(output, "masks_queries_logits")
    if not isinstance(classes, Tensor) or not isinstance(masks, Tensor):
        return None
    return MaskQueries(classes, masks)


def prompted_masks(output: Any) -> PromptedMasks | None:
    """Return the masks of a prompted segmenter; None if the output has none."""
    masks, quality = part_named(output, "pred_masks"), part_named(output, "iou_scores")
    if not isinstance(masks, Tensor) or not isinstance(quality, Tensor) or masks.ndim != 5:
        return None
    return PromptedMasks(masks.flatten(1, 2), quality.flatten(1, 2))


def dense_scores(output: Any) -> Tensor | None:
    """Return the scores that an output with masks gives to places, `[B, C, *grid]`.

    These are the semantic scores of mask classification, or the mask logits of a prompted
    segmenter's best mask, with one class. None if the output has no such masks.
    """
    if queries := mask_queries(output):
        return queries.semantic_scores()
    if prompted := prompted_masks(output):
        return prompted.of_each_image(prompted.quality.argmax(1))
    return None
