"""Keypoints: the peak of a heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from limelight.errors import TargetError
from limelight.targets.classes import ClassChoice, as_class_target, score_classes
from limelight.targets.context import TargetContext
from limelight.targets.outputs import find_logits
from limelight.targets.peak_table import PeakTable
from limelight.targets.region_table import RegionTable
from limelight.targets.scores import Scores, ScoreTarget


@dataclass(frozen=True, slots=True, eq=False)
class Keypoint(ScoreTarget):
    """A keypoint of a network that returns heatmaps `[B, K, h, w]`: the peak of its heatmap.

    `h_k(p*)` with `p* = argmax_p h_k(p)`, found once: where the network runs again, the same cell
    of the same heatmap is read.

        Keypoint(0)                    the peak of the first heatmap
        Keypoint("nose")               by name, with classes=[...]
        Keypoint("nose", at=(40, 64))  this heatmap at the pixel in row 40, column 64
        Keypoint()                     the keypoint with the highest peak

    Attributes:
        target: The keypoint, by index or by name, or a `Contrast` or `Counterfactual` of keypoints;
            None for the one with the highest peak.
        at: A pixel `(row, column)` of the picture, in place of the peak.
    """

    target: ClassChoice = None
    at: Sequence[int] | None = None

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the heatmap at its peak, or at the pixel.

        Raises:
            TargetError: The output is not dense, or the pixel is not in the picture.
        """
        rule = as_class_target(self.target, self)
        heatmaps, axes = find_logits(output, context.spec.key), len(context.size)
        if heatmaps.ndim != axes + 2 or len(heatmaps) != context.batch:
            raise TargetError(
                f"A keypoint needs heatmaps [B, K, *grid] with {axes} grid axes; the model "
                f"returned {list(heatmaps.shape)}. Pick the heatmaps with output=...; if the model "
                "returns coordinates, the target is the index of one of them."
            )
        table = (
            PeakTable(output, context)
            if self.at is None
            else RegionTable(output, list(self.at), context)
        )
        scores = score_classes(table, rule, context)
        return scores._replace(probability=None, at_one_place=True)

    def of_image(self, image: int, axes: int) -> Self:
        """Return the keypoint of one image of the batch."""
        return replace(self, target=as_class_target(self.target, self).of_image(image, axes))
