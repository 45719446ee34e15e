"""The peaks of heatmaps: a class table whose classes are keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from limelight.targets.context import TargetContext
from limelight.targets.region_table import RegionTable
from limelight.targets.tables import ClassScores, kth


class PeakTable(RegionTable):
    """Heatmaps `[B, K, *grid]`, read at the cell where the heatmap of a keypoint is largest."""

    def __init__(self, output: object, context: TargetContext) -> None:
        """Read the heatmaps.

        Raises:
            TargetError: The output is not dense.
        """
        super().__init__(output, None, context)

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the keypoint whose peak has this rank."""
        return kth(self._logits.detach().flatten(2).amax(2), rank, among)

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return all heatmaps at the peak of one keypoint of each image, `[B, K]`."""
        return replace(super().read(classes, rank), probability=None, at_one_place=True)

    def _cells_of(self, classes: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Return the cell of each image's peak, `[B, *grid]`, and its place in the picture."""
        heatmaps = self._logits.detach()
        rows = torch.arange(len(heatmaps), device=heatmaps.device)
        heatmap = heatmaps[rows, classes.to(heatmaps.device)]
        peaks = heatmap.flatten(1).argmax(1)
        mask = torch.zeros_like(heatmap, dtype=torch.float32).flatten(1)
        mask[rows, peaks] = 1
        cells = torch.stack(torch.unravel_index(peaks, heatmap.shape[1:]), 1).tolist()
        where = tuple(f" at {self._pixel_of(cell)}" for cell in cells)
        return mask.reshape(heatmap.shape), where

    def _pixel_of(self, cell: Sequence[int]) -> tuple[int, ...]:
        """Return the pixel of the picture in the middle of a cell."""
        sizes = zip(cell, self._context.size, self._logits.shape[2:], strict=True)
        return tuple(int((place + 0.5) * size / cells) for place, size, cells in sizes)
