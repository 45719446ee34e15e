"""Detection: where an edge of a box lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from limelight.errors import TargetError, unknown
from limelight.targets.box_table import BoxCorners, BoxTable, check_iou
from limelight.targets.boxes import Box
from limelight.targets.class_names import label_of
from limelight.targets.classes import ClassChoice, as_class_target, check_names
from limelight.targets.context import TargetContext
from limelight.targets.scores import Scores, ScoreTarget

#: The edges of a box, in the order of x1, y1, x2, y2.
Side = Literal["left", "top", "right", "bottom"]


@dataclass(frozen=True, slots=True, eq=False)
class Edge(ScoreTarget):
    """Why an edge of a box is where it is: its coordinate, in pixels of the image.

    The score is x1 (left), y1 (top), x2 (right) or y2 (bottom) of the proposal that `Box` with the
    same arguments would score. Evidence for `left` or `right` moves the edge to the right, and for
    `top` or `bottom` down; what is against it has the other sign in `raw`. An edge that was clipped
    to the image has no gradient.

        Edge("left")                               of the most probable object
        Edge("left", [30, 40, 200, 220])           of the most probable class in this box
        Edge("left", [30, 40, 200, 220], "dog")    of this class in this box

    Attributes:
        side: `left`, `top`, `right` or `bottom`.
        box: As in `Box`.
        target: The class; None for the most probable one.
        iou: As in `Box`.
    """

    side: Side
    box: BoxCorners | None = None
    target: ClassChoice = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        """Refuse an unknown side, and an overlap outside (0, 1]."""
        if self.side not in get_args(Side):
            sides = get_args(Side)
            raise unknown("side", str(self.side), sides, f"The sides are {', '.join(sides)}.")
        check_iou(self.iou)

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the coordinate of the edge.

        Raises:
            TargetError: The model is not a detector, it proposed no such box, or the target is a
                difference of classes.
        """
        rule = as_class_target(self.target, self)
        if not rule.is_one_class:
            raise TargetError(
                f"target is a {type(rule).__name__}; an edge belongs to one class, so a class was "
                "expected, as in target=18."
            )
        table = BoxTable(output, context, self.box, self.iou)
        chosen = rule.choose(table, context)
        check_names(table.count, context)
        corners = table.read_corners(chosen.indices, chosen.rank)
        column = get_args(Side).index(self.side)

        def read_again(output: Any, rows: Tensor) -> Tensor:
            return corners.read_again(output, rows)[:, column]

        labels = tuple(
            f"{self.side} edge of {label_of(index, chosen.names)}{where}"
            for index, where in zip(chosen.indices.tolist(), corners.where, strict=True)
        )
        indices = torch.as_tensor(chosen.indices, device=corners.values.device)
        return Scores(
            corners.values[:, column],
            indices,
            labels,
            read_again,
            corners.region,
            at_one_place=corners.at_one_place,
        )

    def of_image(self, image: int, axes: int) -> Self:
        """Return the edge in one image of the batch."""
        around = Box(self.box, self.target, self.iou).of_image(image, axes)
        return replace(self, target=around.target, box=around.box)
