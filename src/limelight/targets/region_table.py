"""The class scores over a region of a segmenter's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.class_names import BACKGROUND_NAMES
from limelight.targets.context import TargetContext
from limelight.targets.mask_outputs import mask_queries, prompted_masks
from limelight.targets.outputs import LogitsKey, find_logits, returned
from limelight.targets.tables import (
    ClassScores,
    are_probabilities,
    kth,
    probabilities,
    shape_changed,
)

_POOL = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


#: A mask, a pixel, or None for the pixels where the class is predicted.
MaskOrPixel = Tensor | Sequence[int] | None


class RegionTable:
    """Dense logits `[B, C, *grid]`, read over a region."""

    def __init__(self, output: object, where: MaskOrPixel, context: TargetContext) -> None:
        """Read the output and the region.

        Raises:
            TargetError: The logits are not dense, or the region does not fit them.
        """
        self._context, self._key = context, context.spec.key
        self._dense = dense_reader(output, self._key, context.size)
        self._logits = self._dense(output, torch.arange(context.batch, device="cpu"))
        axes = len(context.size)
        if self._logits.ndim != axes + 2 or len(self._logits) != context.batch:
            raise TargetError(
                f"A region needs logits [B, C, *grid] with {axes} grid axes, as a segmenter "
                f"returns; the model returned {list(self._logits.shape)}. Leave `where` out, or "
                "pick the dense part of what it returns with output=..."
            )
        # Semantic scores are sums over masks: a softmax of them means nothing.
        sums_masks = self._key is None and mask_queries(returned(output)) is not None
        self._has_probability = self.count > 1 and not sums_masks
        self._mask, self._label = self._read_mask(where)

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return self._logits.shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of this rank, by the number of pixels on which a class is predicted.

        A class whose name says that it is the background comes last.
        """
        if self.count == 1:
            return kth(self._logits.detach().flatten(2).mean(2), rank, among)
        predicted = self._predicted.flatten(1)
        # Classes that are predicted nowhere follow in the order of their mean logits.
        dense = self._logits.detach().flatten(2).float()
        area = dense.mean(2).softmax(1) * 1e-3
        inside = torch.ones_like(predicted) if self._mask is None else self._mask.flatten(1)
        area = area.scatter_add(1, predicted, inside.to(area))
        for index, name in enumerate(self._context.spec.classes or ()):
            if name.casefold() in BACKGROUND_NAMES and index < self.count:
                area[:, index] -= predicted.shape[1] + 1
        return kth(area, rank, among)

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:  # noqa: ARG002 (protocol)
        """Return the mean logits over the region, `[B, C]`."""
        if self._mask is None:
            mask, where = self._cells_of(classes)
        else:
            mask, where = self._mask, (self._label,) * len(classes)

        def dense(output: Any, rows: Tensor) -> Tensor:
            logits = self._dense(output, rows)
            if logits.ndim != self._logits.ndim or len(logits) != len(rows):
                raise shape_changed(logits, rows, "C, *grid")
            return logits

        def read_again(output: Any, rows: Tensor) -> Tensor:
            return _mean_over(dense(output, rows), mask[rows.to(mask.device)])

        def probability(output: Any, rows: Tensor) -> Tensor:
            shares = probabilities(dense(output, rows), self._normalised)
            return _mean_over(shares, mask[rows.to(mask.device)])

        region = torch.nn.functional.interpolate(mask[:, None], size=self._context.size)[:, 0] > 0
        means = _mean_over(self._logits, mask)
        return ClassScores(
            means, read_again, where, region, probability if self._has_probability else None
        )

    def _cells_of(self, classes: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Return the cells where each image's class is predicted, `[B, *grid]`, and their labels.

        They are all cells if the class is predicted nowhere.
        """
        per_image = (-1, *[1] * len(self._context.size))
        mask = (self._predicted == classes.reshape(per_image)).float()
        anywhere = mask.flatten(1).any(1)
        mask = torch.where(anywhere.reshape(per_image), mask, torch.ones_like(mask))
        return mask, tuple("" if found else ", predicted nowhere" for found in anywhere.tolist())

    @cached_property
    def _normalised(self) -> bool:
        return are_probabilities(self._logits)

    @cached_property
    def _predicted(self) -> Tensor:
        """The predicted class of each cell, `[B, *grid]`.

        A single class is predicted (0) where its logit is positive.
        """
        logits = self._logits.detach()
        return logits.argmax(1) if self.count > 1 else (logits[:, 0] <= 0).long()

    def _read_mask(self, where: MaskOrPixel) -> tuple[Tensor | None, str]:
        """Return the share of each cell that is inside, `[B, *grid]`, and a label of the region."""
        if where is None:
            return None, ""
        size, grid = self._context.size, tuple(self._logits.shape[2:])
        if isinstance(where, Sequence) and not hasattr(where, "__array__"):
            return self._pixel(where), f" at pixel ({', '.join(map(str, where))})"
        mask = as_tensor(where)
        mask = mask if mask.ndim > len(size) else mask[None]
        if tuple(mask.shape[1:]) not in (size, grid) or mask.shape[0] not in (
            1,
            self._context.batch,
        ):
            raise TargetError(
                f"The mask has shape {list(as_tensor(where).shape)}; {list(size)} was "
                f"expected, as the image, or {[self._context.batch, *size]} for one per image."
            )
        inside = (mask != 0).float().to(self._logits.device)
        if not bool(inside.flatten(1).any(1).all()):
            raise TargetError("The mask is empty: no pixel is inside. Pass where=None, or another.")
        if tuple(inside.shape[1:]) != grid:
            # Each cell counts by the share of it that is inside, so that small regions are not
            # lost.
            inside = _POOL[len(size)](inside[:, None], list(grid))[:, 0]  # type: ignore[arg-type]
        return inside.expand(self._context.batch, *grid), " in the mask"

    def _pixel(self, where: Sequence[int]) -> Tensor:
        size, grid = self._context.size, self._logits.shape[2:]
        fits = len(where) == len(size) and all(
            isinstance(at, int) and 0 <= at < s for at, s in zip(where, size, strict=True)
        )
        if not fits:
            raise TargetError(
                f"The pixel is {tuple(where)}; an index along each axis of {list(size)} was "
                "expected, from the top left: (row, column)."
            )
        cell = [math.floor(at * g / s) for at, g, s in zip(where, grid, size, strict=True)]
        shape = self._context.batch, *grid
        mask = torch.zeros(shape, dtype=torch.float32, device=self._logits.device)
        mask[(slice(None), *cell)] = 1  # type: ignore[index]
        return mask


def dense_reader(
    output: object, key: LogitsKey | None, size: Sequence[int]
) -> Callable[[Any, Tensor], Tensor]:
    """Return what reads the dense logits of outputs, given the image of each row.

    A map `[B, *grid]` without channels, over images of this size, has one, as of a depth.
    The best mask of a prompted segmenter stays the one that is best in this output.
    """
    prompted = prompted_masks(returned(output)) if key is None else None
    if prompted is None:

        def read_dense(output: Any, _rows: Tensor) -> Tensor:
            logits = find_logits(output, key)
            return logits[:, None] if is_map(logits, size) else logits

        return read_dense
    best = prompted.quality.argmax(1)

    def read(output: Any, rows: Tensor) -> Tensor:
        masks = prompted_masks(returned(output))
        assert masks is not None
        return masks.of_each_image(best[rows.to(best.device)])

    return read


def is_map(logits: Tensor, size: Sequence[int]) -> bool:
    """Return whether logits `[B, *grid]` are one number per place, in the picture's proportions."""
    grid = logits.shape[1:]
    if len(size) < 2 or len(grid) != len(size) or min(grid) < 2:
        return False
    shares = [g / s for g, s in zip(grid, size, strict=True)]
    return max(abs(share - shares[0]) * s for share, s in zip(shares, size, strict=True)) < 1


def _mean_over(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of dense logits `[M, C, *grid]` over masks `[M, *grid]`, `[M, C]`."""
    inside = mask.flatten(1).to(logits)
    share = inside / inside.sum(1, keepdim=True)
    return (logits.flatten(2) * share[:, None]).sum(2)
