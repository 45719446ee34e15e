"""Segmentation: the score of a class over a region, a mask or a pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from limelight.targets.classes import ClassChoice, as_class_target, score_classes
from limelight.targets.context import TargetContext
from limelight.targets.region_table import MaskOrPixel, RegionTable
from limelight.targets.scores import Scores, ScoreTarget, rows_of_image


@dataclass(frozen=True, slots=True, eq=False)
class Region(ScoreTarget):
    """A class of a segmenter over a region M: `sum_{p in M} y_c(p) / |M|`.

    Seg-Grad-CAM (Vinogradova et al. 2020, section 2) takes the sum instead: the map differs only in
    scale, and a mean stays on the scale of a logit, however large the region is.

        Region(15)                        where the network predicts class 15
        Region("cat", where=mask)         inside a mask [H, W], or one per image [B, H, W]
        Region(where=(120, 64))           the class predicted at the pixel in row 120, column 64

    Attributes:
        target: The class, or a `Contrast` or `Counterfactual` of classes; None for the class that
            is predicted on most of the region.
        where: A mask `[*image]` or `[B, *image]` (nonzero inside), or one at the resolution of the
            logits; a pixel `(row, column)`; None for the pixels at which the class is predicted, or
            the whole picture if it is predicted nowhere.
    """

    reads_logits = True

    target: ClassChoice = None
    where: MaskOrPixel = None

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the mean logit of the class over the region.

        Raises:
            TargetError: The logits are not dense, or the region does not fit them.
        """
        rule = as_class_target(self.target, self)
        return score_classes(RegionTable(output, self.where, context), rule, context)

    def of_image(self, image: int, axes: int) -> Self:
        """Return the region of one image of the batch."""
        where = self.where
        if hasattr(where, "__array__"):
            where = rows_of_image(where, image, axes)
        target = as_class_target(self.target, self).of_image(image, axes)
        return replace(self, target=target, where=where)
