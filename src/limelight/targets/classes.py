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
from limelight.targets.class_names import ClassName, class_index, label_of, names_for
from limelight.targets.context import TargetContext
from limelight.targets.output_table import find_table
from limelight.targets.scores import (
    OtherClasses,
    ReadScore,
    Scores,
    ScoreTarget,
    rows_of_image,
)
from limelight.targets.tables import ClassRanking, ClassTable


class Chosen(NamedTuple):
    """The explained class of each image.

    Attributes:
        indices: The classes, `[B]`.
        rank: Their rank, if they were chosen by rank; else None.
        names: The names of all classes; None if they are not known.
    """

    indices: Tensor
    rank: int | None
    names: Sequence[str] | None


class Terms(NamedTuple):
    """A score as a weighted sum of class scores, `sum_n weights_n y_(classes_n)`.

    Attributes:
        classes: The classes in the sum, `[B, n]`.
        weights: The weight of each, `[B, n]`.
        labels: For each image, the sum in words.
    """

    classes: Tensor
    weights: Tensor
    labels: list[str]


class ClassTarget(ScoreTarget):
    """A target that picks a class for each image, and reads its score from a class table."""

    __slots__ = ()

    #: Whether the score is that of a single class, so that it has a probability and may stand
    #: inside a difference. A target with several terms, or a weight other than 1, says False.
    is_one_class = True

    reads_logits = True

    @abstractmethod
    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""

    def of_image(self, image: int, axes: int) -> ClassTarget:  # noqa: ARG002 (as ScoreTarget)
        """Return the target of one image of the batch."""
        return self

    def terms(
        self,
        values: Tensor,
        chosen: Chosen,
        labels: list[str],
        context: TargetContext,  # noqa: ARG002 (Contrast reads it)
    ) -> Terms:
        """Return which of the class scores `[B, C]` to add up: by default, the chosen class.

        The background of a detector is one of the C classes.
        """
        index = chosen.indices.to(values.device)[:, None]
        return Terms(index, torch.ones_like(values[:, :1], requires_grad=False), labels)

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the scores of the chosen classes in the output."""
        return score_classes(find_table(output, context), self, context)


@dataclass(frozen=True, slots=True)
class Rank(ClassTarget):
    """The class with the k-th highest logit of each image; `Rank(1)` is the predicted class.

    Attributes:
        k: The rank, from 1.
    """

    k: int

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of this rank."""
        return Chosen(ranking.best(self.k), self.k, context.spec.classes)


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf(ClassTarget):
    """The class with the highest logit among these, for each image by itself.

    It suits a network with more classes than matter: `AnyOf(["tabby", "tiger cat"])` is any cat.

    Attributes:
        classes: The classes, by index or by name.
    """

    classes: Sequence[ClassName]

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if isinstance(self.classes, str) or not len(self.classes):
            raise TargetError(
                f"AnyOf is given {self.classes!r}; a list of at least one class was expected."
            )

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class with the highest logit among these."""
        names = _class_names(self.classes, ranking.count, context)
        indices = [class_index(name, ranking.count, names) for name in self.classes]
        return Chosen(ranking.best(1, indices), None, names)


@dataclass(frozen=True, slots=True, eq=False)
class GivenClasses(ClassTarget):
    """Classes by index or by name: one for all images, or one per image.

    Attributes:
        value: The class, or one per image.
    """

    value: ClassName | Sequence[ClassName] | Tensor

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image."""
        names = _class_names(self.value, ranking.count, context)
        indices = (
            class_index(value, ranking.count, names) for value in self._per_image(context.batch)
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


@dataclass(frozen=True, slots=True)
class Pair(ClassTarget):
    """The text that belongs to each picture: of B pictures and B texts, text b for picture b."""

    def choose(self, ranking: ClassRanking, context: TargetContext) -> Chosen:
        """Return the class of each image's own number.

        Raises:
            TargetError: There are not as many texts as pictures.
        """
        if ranking.count != context.batch:
            raise TargetError(
                f"Pair() explains each picture with the text of the same number; there are "
                f"{context.batch} pictures and {ranking.count} texts or classes. Pass a text for "
                "each picture, or name one for all: target=0."
            )
        return Chosen(torch.arange(context.batch, device="cpu"), None, context.spec.classes)

    def of_image(self, image: int, axes: int) -> GivenClasses:  # noqa: ARG002 (as ScoreTarget)
        """Return the text of one image of the batch."""
        return GivenClasses(image)


#: Picks one class of each image; None for the predicted class.
ClassChoice = ClassTarget | ClassName | Sequence[ClassName] | Tensor | None


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
        around: The target that contains the choice, for the error.

    Raises:
        TargetError: The choice is another kind of target.
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


def _class_names(value: object, count: int, context: TargetContext) -> Sequence[str] | None:
    """Return the names of the model's classes; None if they are not known.

    ImageNet's names are taken only if the target itself has a name in it: otherwise a class of
    another network with 1000 classes would get a wrong label.
    """
    names_in_list = isinstance(value, list | tuple) and any(isinstance(name, str) for name in value)
    has_names = names_in_list or isinstance(value, str)
    return names_for(count, context.spec.classes) if has_names else context.spec.classes


def check_names(count: int, context: TargetContext) -> None:
    """Check that there is a name for each class, if names are known.

    Raises:
        TargetError: There are more or fewer.
    """
    names = context.spec.classes
    if names is not None and len(names) != count:
        raise TargetError(
            f"There are {len(names)} class names for a model with {count} classes. Pass the "
            "names that belong to this model, one per class. If it returns several things, and "
            "the names are those of another one, say which with output=..."
        )


def score_classes(table: ClassTable, target: ClassTarget, context: TargetContext) -> Scores:
    """Score each image by a weighted sum of the class scores in a table.

    1. The target chooses a class of each image, and the table is read for these classes.
    2. The target says which class scores to add up, with what weights.
    3. The same sum, of the same classes with the same weights, can be read from other outputs;
       where it is a single class, so can the score of another class at the same place.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: An index is out of range, or there is not one class per image.
    """
    check_names(table.count, context)
    # 1. The classes.
    chosen = target.choose(table, context)
    read = table.read(chosen.indices, chosen.rank)
    single_output = table.count == 1 and chosen.names is None
    labels = [
        f"{'the output' if single_output else label_of(index, chosen.names)}{where}"
        for index, where in zip(chosen.indices.tolist(), read.where, strict=True)
    ]
    # 2. The terms of the sum.
    classes, weights, labels = target.terms(read.values, chosen, labels, context)
    assert classes.shape[1] == 1 or not target.is_one_class, "a sum has no class: is_one_class"

    # 3. The same sum, read from other outputs.
    def read_again(output: Any, rows: Tensor) -> Tensor:
        rows = rows.to(classes.device)
        return (read.read_again(output, rows).gather(1, classes[rows]) * weights[rows]).sum(1)

    def probability(output: Any, rows: Tensor) -> Tensor:
        assert read.probability is not None
        return read.probability(output, rows).gather(1, classes[rows.to(classes.device)])[:, 0]

    def read_others(others: Tensor) -> ReadScore:
        def read_other(output: Any, rows: Tensor) -> Tensor:
            values = read.read_again(output, rows)
            return values.gather(1, others.to(values.device)[rows.to(values.device), None])[:, 0]

        return read_other

    has_others = target.is_one_class and table.count > 1
    return Scores(
        (read.values.gather(1, classes) * weights).sum(1),
        chosen.indices.to(read.values.device),
        tuple(labels),
        read_again,
        read.region,
        probability if read.probability is not None and target.is_one_class else None,
        read.at_one_place,
        OtherClasses(table.count, read_others) if has_others else None,
    )
