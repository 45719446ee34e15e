"""Differences between class scores: a class against others, and what speaks against a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.class_names import label_of
from limelight.targets.classes import Chosen, ClassChoice, ClassTarget, Terms, as_class_target
from limelight.targets.context import TargetContext
from limelight.targets.tables import ClassRanking, kth


@dataclass(frozen=True, slots=True, eq=False)
class Contrast(ClassTarget):
    """Why class c rather than classes d: `y_c - weight * mean_d y_d`.

    Finer-CAM (Zhang et al. 2025).

    Attributes:
        target: The class c; None for the predicted one.
        against: The class d; None for the `similar` classes whose logits are nearest to that of c,
            found for each image by itself.
        similar: How many classes to take when `against` is None.
        weight: How much the classes d count, in [0, 1]; at 1, all that they share with c cancels.
    """

    target: ClassChoice = None
    against: ClassChoice = None
    similar: int = 3
    weight: float = 0.6

    is_one_class = False

    def __post_init__(self) -> None:
        """Refuse a weight outside [0, 1], and fewer than one similar class."""
        if not 0 <= self.weight <= 1:
            raise TargetError(f"weight is {self.weight}; a share from 0 to 1 was expected.")
        if self.similar < 1:
            raise TargetError(f"similar is {self.similar}; ask for at least one class.")

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class c of each image."""
        return inner_class(self.target, self).choose(ranking, context)

    def terms(
        self, values: Tensor, chosen: Chosen, labels: list[str], context: TargetContext
    ) -> Terms:
        """Return the class c with weight 1, and the classes d with `-weight / D` each."""
        index = chosen.indices.to(values.device)[:, None]
        others = self._others(values.detach(), index, context)
        ones = torch.ones_like(values[:, :1], requires_grad=False)
        shared = ones.expand(-1, others.shape[1]) * self.weight / others.shape[1]
        rows = [", ".join(label_of(i, chosen.names) for i in row) for row in others.tolist()]
        return Terms(
            torch.cat([index, others], 1),
            torch.cat([ones, -shared], 1),
            [f"{label} rather than {row}" for label, row in zip(labels, rows, strict=True)],
        )

    def of_image(self, image: int, axes: int) -> Self:
        """Return the contrast of one image of the batch."""
        against = self.against
        if against is not None:
            against = as_class_target(against, self).of_image(image, axes)
        return replace(
            self, target=inner_class(self.target, self).of_image(image, axes), against=against
        )

    def _others(self, values: Tensor, index: Tensor, context: TargetContext) -> Tensor:
        """Return the classes d of each image, `[B, D]`.

        Args:
            values: All class scores, `[B, C]`.
            index: The class c of each image, `[B, 1]`.
            context: What a target needs to know besides the output.
        """
        if self.against is not None:
            against = as_class_target(self.against, self)
            if not against.is_one_class:
                kind = type(against).__name__
                raise TargetError(f"against is a {kind}; a class was expected, as in against=282.")
            return against.choose(_ValueRanking(values), context).indices[:, None].to(values.device)
        count = values.shape[1]
        if count < 2:
            raise TargetError("A contrast needs at least two classes; the model has one output.")
        distance = (values - values.gather(1, index)).abs()
        distance.scatter_(1, index, torch.inf)
        return distance.topk(min(self.similar, count - 1), dim=1, largest=False).indices


@dataclass(frozen=True, slots=True, eq=False)
class Counterfactual(ClassTarget):
    """What speaks against a class: the score is `-y_c` (Selvaraju et al. 2017, section 3.3).

    This also negates the gradient, so the map shows those places that make the class less likely.

    Attributes:
        target: The class, by index, name or rank; None for the predicted class.
    """

    target: ClassChoice = None

    is_one_class = False

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""
        return inner_class(self.target, self).choose(ranking, context)

    def terms(
        self, values: Tensor, chosen: Chosen, labels: list[str], context: TargetContext
    ) -> Terms:
        """Return the class with weight -1."""
        terms = super(Counterfactual, self).terms(values, chosen, labels, context)
        return Terms(terms.classes, -terms.weights, [f"against {label}" for label in labels])

    def of_image(self, image: int, axes: int) -> Self:
        """Return the counterfactual of one image of the batch."""
        return replace(self, target=inner_class(self.target, self).of_image(image, axes))


def inner_class(choice: ClassChoice, around: ClassTarget) -> ClassTarget:
    """Return the class that a difference is about.

    Args:
        choice: What the difference holds as its class.
        around: The difference, for the error.

    Raises:
        TargetError: The choice is a difference again, or something that is no class.
    """
    inner = as_class_target(choice, around)
    if not inner.is_one_class:
        kind, name = type(around).__name__, type(inner).__name__
        raise TargetError(
            f"{kind} takes a class, not a {name}. Turn it round: {name}(target={kind}(...))."
        )
    return inner


class _ValueRanking:
    """The ranking of class scores `[B, C]`."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.count = values, values.shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        return kth(self.values, rank, among)
