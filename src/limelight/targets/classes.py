"""Classes by index, by name or by rank, and differences between classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.box_table import BoxTable
from limelight.targets.class_names import ClassName, class_index, label_of, names_for
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected, class_logits
from limelight.targets.region_table import RegionTable
from limelight.targets.scores import Scores, ScoreTarget, rows_of_image
from limelight.targets.tables import ClassRanking, ClassTable, LastWord, Logits, kth


class Chosen(NamedTuple):
    """The explained class of each image.

    Attributes:
        indices: `[B]`.
        rank: Their rank, if they were chosen by rank; else None.
        names: The names of all classes; None if they are not known.
    """

    indices: Tensor
    rank: int | None
    names: Sequence[str] | None


class Terms(NamedTuple):
    """A score as a weighted sum of class scores, `sum_n weights_n y_n`.

    Attributes:
        classes: `[B, n]`.
        weights: `[B, n]`.
        labels: For each image, the sum in words.
    """

    classes: Tensor
    weights: Tensor
    labels: list[str]


class ClassTarget(ScoreTarget):
    """A target that picks a class of each image, and reads its score from a table."""

    __slots__ = ()

    #: Whether the score is that of one class, so that it has a probability.
    is_one_class = True

    @abstractmethod
    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""

    def terms(
        self,
        values: Tensor,
        chosen: Chosen,
        labels: list[str],
        context: TargetContext,  # noqa: ARG002 (a contrast reads it)
    ) -> Terms:
        """Return which of the class scores `[B, C]` to add up: here, the chosen class alone."""
        index = chosen.indices.to(values.device)[:, None]
        return Terms(index, torch.ones_like(values[:, :1], requires_grad=False), labels)

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the scores of the chosen classes in the output."""
        return score_classes(find_table(output, context), self, context)


@dataclass(frozen=True, slots=True)
class Rank(ClassTarget):
    """The class with the k-th highest logit of each image; `Rank(1)` is the predicted class."""

    k: int

    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of this rank."""
        return Chosen(scores.best(self.k), self.k, context.spec.classes)


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf(ClassTarget):
    """The class with the highest logit among these, for each image by itself.

    For a network that tells apart more kinds than matter: `AnyOf(["tabby", "tiger cat"])`.
    """

    classes: Sequence[ClassName]

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if isinstance(self.classes, str) or not len(self.classes):
            raise TargetError(
                f"AnyOf is given {self.classes!r}; a list of at least one class was expected."
            )

    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class with the highest logit among these."""
        names = _names_to_read(self.classes, scores.count, context)
        indices = [class_index(name, scores.count, names) for name in self.classes]
        return Chosen(scores.best(1, indices), None, names)


@dataclass(frozen=True, slots=True, eq=False)
class GivenClasses(ClassTarget):
    """Classes by index or by name: one for all images, or one per image."""

    value: ClassName | Sequence[ClassName] | Tensor

    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""
        names = _names_to_read(self.value, scores.count, context)
        indices = (
            class_index(value, scores.count, names) for value in self._per_image(context.batch)
        )
        return Chosen(torch.tensor(list(indices), device="cpu"), None, names)

    def of_image(self, image: int, axes: int) -> Self:  # noqa: ARG002 (as ScoreTarget)
        """Return the class of one image of the batch."""
        if isinstance(self.value, list | tuple):
            return replace(self, value=self.value[image])
        if hasattr(self.value, "__array__"):
            return replace(self, value=int(rows_of_image(self.value, image, 0)))
        return self

    def _per_image(self, batch: int) -> list[ClassName]:
        """Return one class per image."""
        value = self.value
        if hasattr(value, "__array__") and not isinstance(value, Tensor):
            value = as_tensor(value)  # numpy's arrays and numbers
        if isinstance(value, Tensor):
            if value.is_floating_point() or value.ndim > 1:
                raise TargetError(
                    f"The target is a tensor of {value.dtype} {list(value.shape)}; class indices "
                    f"were expected, integers [{batch}]."
                )
            value = cast(
                "list[ClassName]", value.reshape(-1).tolist() if value.ndim else value.item()
            )
        if isinstance(value, str) or not isinstance(value, Sequence):
            return [value] * batch
        if len(value) != batch:
            raise TargetError(
                f"There are {len(value)} targets for {batch} images. Pass one for all (target=281) "
                "or one per image; to explain several classes of each image, call explain_each."
            )
        return list(value)


#: Picks one class of each image; None for the predicted class.
ClassChoice = ClassTarget | ClassName | Sequence[ClassName] | Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Contrast(ClassTarget):
    """Why this class and not that: `y_c - weight * mean_d y_d` (Finer-CAM, Zhang et al. 2025).

    Attributes:
        target: The class c; None for the predicted one.
        against: The class d; None for the `similar` classes whose logits are nearest to that of c,
            found for each image by itself.
        similar: How many classes to take when `against` is None.
        weight: How much of what both classes have in common is subtracted, in [0, 1].
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

    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class c of each image."""
        return _inner(self).choose(scores, context)

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
        return replace(self, target=_inner(self).of_image(image, axes), against=against)

    def _others(self, values: Tensor, index: Tensor, context: TargetContext) -> Tensor:
        """Return the classes d of each image, `[B, D]`, given all class scores `[B, C]`."""
        if self.against is not None:
            against = as_class_target(self.against, self)
            if isinstance(against, Contrast | Counterfactual):
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

    The gradient is negated too: the map shows what would make the class more likely if it were
    removed.
    """

    target: ClassChoice = None

    is_one_class = False

    def choose(self, scores: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""
        return _inner(self).choose(scores, context)

    def terms(
        self, values: Tensor, chosen: Chosen, labels: list[str], context: TargetContext
    ) -> Terms:
        """Return the class with weight -1."""
        terms = super(Counterfactual, self).terms(values, chosen, labels, context)
        return Terms(terms.classes, -terms.weights, [f"against {label}" for label in labels])

    def of_image(self, image: int, axes: int) -> Self:
        """Return the counterfactual of one image of the batch."""
        return replace(self, target=_inner(self).of_image(image, axes))


def top(k: int) -> list[Rank]:
    """Return targets for the k classes with the highest scores, found for each image by itself.

    Raises:
        TargetError: k is not positive.
    """
    if k < 1:
        raise TargetError(f"Asked for the top {k} classes; ask for at least one.")
    return [Rank(rank) for rank in range(1, k + 1)]


def as_class_target(choice: Any, around: ScoreTarget | None = None) -> ClassTarget:
    """Return a target that picks a class of each image.

    Args:
        choice: A class target, or classes by index or by name; None for the predicted class.
        around: The target that contains it, for the error.

    Raises:
        TargetError: It is another kind of target.
    """
    if choice is None:
        return Rank(1)
    if isinstance(choice, ClassTarget):
        return choice
    kind = type(around).__name__
    if isinstance(choice, ScoreTarget):
        name = type(choice).__name__
        can_be_inside = isinstance(around, ClassTarget) and hasattr(choice, "target")
        advice = f" Turn it round: {name}(target={kind}(...))." if can_be_inside else ""
        raise TargetError(f"{kind} takes a class, not a {name}.{advice}")
    if callable(choice) and not isinstance(choice, Tensor):
        raise TargetError(
            f"{kind} takes a class, not a callable. Write the difference into the callable, as in "
            "target=lambda output: output[:, 281] - output[:, 282]."
        )
    return GivenClasses(choice)


def _inner(outer: Contrast | Counterfactual) -> ClassTarget:
    """Return the class that a contrast or a counterfactual is about.

    Raises:
        TargetError: It is itself a contrast or a counterfactual, or no class.
    """
    inner = as_class_target(outer.target, outer)
    if isinstance(inner, Contrast | Counterfactual):
        kind, name = type(outer).__name__, type(inner).__name__
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


def _names_to_read(value: object, count: int, context: TargetContext) -> Sequence[str] | None:
    """Return the class names to read a target by: for 1000, ImageNet's if it has a name."""
    names_in_list = isinstance(value, list | tuple) and any(isinstance(name, str) for name in value)
    has_names = names_in_list or isinstance(value, str)
    return names_for(count, context.spec.classes) if has_names else context.spec.classes


def find_table(output: object, context: TargetContext) -> ClassTable:
    """Return the class scores that an output holds.

    Raises:
        TargetError: The output holds none.
    """
    if isinstance(output, Detected) and context.spec.key is None:
        return BoxTable(output, context)
    logits = class_logits(output, context.spec.key)
    batched = logits.shape[:1] == (context.batch,)
    if batched and logits.ndim == 2:
        return Logits(logits, context.spec.key)
    if batched and logits.ndim == len(context.size) + 2:
        return RegionTable(output, None, context)
    if batched and logits.ndim == 3 and context.words:
        return LastWord(logits, context.spec.key)
    raise TargetError(
        f"A class target needs logits [B, C] = [{context.batch}, C]; the model returned "
        f"{list(logits.shape)}. Say with output=... which part of what it returns they are, or "
        f"pass a callable from output to scores [{context.batch}], as in "
        "target=lambda output: output[:, 15].mean((1, 2))."
    )


def score_classes(table: ClassTable, target: ClassTarget, context: TargetContext) -> Scores:
    """Score each image by a weighted sum of the class scores in a table.

    1. Let the target choose a class of each image, and read the table for these classes.
    2. Let the target say which class scores to add up, with what weights.
    3. Read the same sum from other outputs by the same classes and weights.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: An index is out of range, or there is not one class per image.
    """
    count, classes = table.count, context.spec.classes
    if classes is not None and len(classes) != count:
        raise TargetError(
            f"There are {len(classes)} class names for a model with {count} classes. Pass the "
            "names that belong to this model, one per class."
        )
    # 1. The classes.
    chosen = target.choose(table, context)
    read = table.read(chosen.indices, chosen.rank)
    single_output = count == 1 and chosen.names is None
    labels = [
        f"{'the output' if single_output else label_of(index, chosen.names)}{where}"
        for index, where in zip(chosen.indices.tolist(), read.where, strict=True)
    ]
    # 2. The terms of the sum.
    terms, weights, labels = target.terms(read.values, chosen, labels, context)

    # 3. The same sum of other outputs.
    def read_again(output: Any, rows: Tensor) -> Tensor:
        rows = rows.to(terms.device)
        return (read.read_again(output, rows).gather(1, terms[rows]) * weights[rows]).sum(1)

    def probability(output: Any, rows: Tensor) -> Tensor:
        assert read.probability is not None
        return read.probability(output, rows).gather(1, terms[rows.to(terms.device)])[:, 0]

    return Scores(
        (read.values.gather(1, terms) * weights).sum(1),
        chosen.indices.to(read.values.device),
        tuple(labels),
        read_again,
        read.region,
        probability if read.probability is not None and target.is_one_class else None,
    )
