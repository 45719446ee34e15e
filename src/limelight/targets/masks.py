"""Masks: the score of one mask that a model proposes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from limelight.errors import TargetError
from limelight.targets.classes import ClassChoice, as_class_target, score_classes
from limelight.targets.context import TargetContext
from limelight.targets.mask_table import MaskPlace, MaskTable
from limelight.targets.scores import Scores, ScoreTarget, rows_of_image


@dataclass(frozen=True, slots=True, eq=False)
class Mask(ScoreTarget):
    """One of the masks that a model proposes.

    For mask classification (MaskFormer, Mask2Former, OneFormer, EoMT) the score is the class logit
    of the query q that the mask belongs to, `classes[q, c]`. For models whose masks have no class
    logits (SAM, Mask R-CNN) it is the mean logit of the mask over its own pixels M, where it is
    positive: `sum_{p in M} m(p) / |M|`. Only what Mask R-CNN returns has masks; of what it dropped
    there are none.

        Mask()                         the most probable mask
        Mask(7)                        mask number 7, with the class that is most probable for it
        Mask((120, 64), "cat")         the mask at the pixel in row 120, column 64, and this class
        Mask([30, 40, 200, 220])       the most probable mask that fills this box
        Mask(target="cat")             the most probable mask of this class

    A class without `Mask` (a name, `Region`) explains the sum over all masks.

    Attributes:
        where: The number of a mask; a pixel `(row, column)`, where the mask with the largest
            product of its share there and the probability of the class is taken; a box x1, y1, x2,
            y2 in pixels of the image, `[4]` or one per image `[B, 4]`; None for the most probable
            mask.
        target: The class, or a `Contrast` or `Counterfactual` of classes; None for the most
            probable one. SAM's masks have none.
    """

    where: MaskPlace = None
    target: ClassChoice = None

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the class logit of the mask, or its mean logit over its own pixels.

        Raises:
            TargetError: The model proposes no masks, or no such mask.
        """
        rule = as_class_target(self.target, self)
        table = MaskTable(output, self.where, context)
        if table.scores_masks and not rule.is_one_class:
            raise TargetError(
                f"target is a {type(rule).__name__}; the masks of this model have no class logits, "
                "so a class was expected, or None."
            )
        scores = score_classes(table, rule, context)
        # A mask without a class is called by its number alone.
        labels = tuple(label.removeprefix("the output in ") for label in scores.labels)
        return scores._replace(labels=labels)

    def of_image(self, image: int, axes: int) -> Self:
        """Return the mask of one image of the batch."""
        where = self.where
        if hasattr(where, "__array__"):
            where = rows_of_image(where, image, 1)
        return replace(
            self, where=where, target=as_class_target(self.target, self).of_image(image, axes)
        )
