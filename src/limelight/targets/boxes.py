"""Detection: the score of a class in one box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from limelight.targets.box_table import BoxCorners, BoxTable, check_iou
from limelight.targets.classes import ClassChoice, as_class_target, score_classes
from limelight.targets.context import TargetContext
from limelight.targets.scores import Scores, ScoreTarget, rows_of_image


@dataclass(frozen=True, slots=True, eq=False)
class Box(ScoreTarget):
    """A class of a detector in one box, by its logit.

    The detector proposes many boxes, and drops most of them. The score is that of the most probable
    proposal that overlaps the given box by at least `iou`. So an object that the detector missed
    can be explained too, if one of the boxes that were dropped is near it.

        Box([30, 40, 200, 220])            the class that is most probable there
        Box([30, 40, 200, 220], "dog")     this class there
        Box(target="dog")                  the most probable dog

    `limelight.top(5)` explains the five most probable objects of each image. The default method for
    boxes is `hirescam`; `layercam` suits them too. The weights of `gradcam` are means over the
    whole picture.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the image that was passed in, `[4]` or one per image
            `[B, 4]`; None for the most probable one.
        target: The class, or a `Contrast` or `Counterfactual` of classes; None for the most
            probable one.
        iou: How much a proposal has to overlap the box, as intersection over union.
    """

    reads_logits = True

    box: BoxCorners | None = None
    target: ClassChoice = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        """Refuse an overlap outside (0, 1]."""
        check_iou(self.iou)

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the logit of the class in the box.

        Raises:
            TargetError: The model is not a detector, or it proposed no such box.
        """
        rule = as_class_target(self.target, self)
        return score_classes(BoxTable(output, context, self.box, self.iou), rule, context)

    def of_image(self, image: int, axes: int) -> Self:
        """Return the box of one image of the batch."""
        box = None if self.box is None else rows_of_image(self.box, image, 1)
        return replace(
            self, target=as_class_target(self.target, self).of_image(image, axes), box=box
        )
