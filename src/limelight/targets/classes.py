"""Classes by index, by name or by rank, and differences between them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from limelight.errors import TargetError, unknown
from limelight.inputs import as_tensor


@dataclass(frozen=True, slots=True)
class Rank:
    """The class with the k-th highest logit of each image; `Rank(1)` is the predicted class."""

    k: int


ClassName = int | str


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf:
    """Whichever of these classes has the highest logit, each image having its own.

    For a network that tells more kinds apart than matter: `AnyOf(["tabby", "tiger cat"])`.
    """

    classes: Sequence[ClassName]

    def __post_init__(self) -> None:
        """Refuse none."""
        if isinstance(self.classes, str) or not len(self.classes):
            raise TargetError(
                f"AnyOf is given {self.classes!r}; a list of at least one class was expected."
            )


ClassTarget = ClassName | Rank | AnyOf | Sequence[ClassName] | Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Why this class and not that: `y_c - weight * mean_d y_d` (Finer-CAM, Zhang et al. 2025).

    Attributes:
        target: The class c; None for the predicted one.
        against: The class d; None for the `similar` classes whose logits are nearest to that of c,
            each image having its own.
        similar: How many classes to take when `against` is None.
        weight: How much of what both have in common is taken away, in [0, 1].
    """

    target: ClassTarget = None
    against: ClassTarget = None
    similar: int = 3
    weight: float = 0.6

    def __post_init__(self) -> None:
        """Refuse a weight or a number that means nothing."""
        if not 0 <= self.weight <= 1:
            raise TargetError(f"weight is {self.weight}; a share from 0 to 1 was expected.")
        if self.similar < 1:
            raise TargetError(f"similar is {self.similar}; ask for at least one class.")


@dataclass(frozen=True, slots=True, eq=False)
class Counterfactual:
    """What speaks against a class: the score is `-y_c` (Selvaraju et al. 2017, section 3.3).

    The gradient is negated with it, so that the map shows what would, if it were taken away, make
    the class more likely.
    """

    target: ClassTarget = None


ClassRule = ClassTarget | Contrast | Counterfactual


def top(k: int) -> list[Rank]:
    """Return targets for the k highest classes, each image having its own.

    Raises:
        TargetError: k is not positive.
    """
    if k < 1:
        raise TargetError(f"Asked for the top {k} classes; ask for at least one.")
    return [Rank(rank) for rank in range(1, k + 1)]


def find_classes(
    target: ClassName | Sequence[ClassName] | Tensor,
    batch: int,
    count: int,
    classes: Sequence[str] | None,
) -> Tensor:
    """Return the class of each of `batch` images, of `count` classes that there are, `[B]`."""
    known = known_names(target, count, classes)
    return torch.tensor(
        [class_index(name, count, known) for name in _per_image(target, batch)], device="cpu"
    )


def others_of(
    logits: Tensor, chosen: Tensor, target: Contrast, classes: Sequence[str] | None
) -> Tensor:
    """Return the classes to set a class apart from, `[B, n]`."""
    batch, count = logits.shape
    if isinstance(target.against, Rank):
        return kth(logits, target.against.k)[:, None]
    if isinstance(target.against, AnyOf):
        return kth(logits, 1, indices_of(target.against, count, classes))[:, None]
    if target.against is not None:
        return find_classes(target.against, batch, count, classes)[:, None].to(logits.device)
    if count < 2:
        raise TargetError("A contrast needs at least two classes; the model has one output.")
    distance = (logits - logits.gather(1, chosen[:, None])).abs()
    distance.scatter_(1, chosen[:, None], torch.inf)
    return distance.topk(min(target.similar, count - 1), dim=1, largest=False).indices


def kth(values: Tensor, rank: int, among: Sequence[int] | None = None) -> Tensor:
    """Return the class whose value has a rank, 1 for the largest, from `[..., C]`.

    With `among`, only these classes are looked at.

    Raises:
        TargetError: There are not so many classes.
    """
    if among is not None:
        some = torch.tensor(among, device=values.device)
        return some[kth(values[..., some], rank)]
    count = values.shape[-1]
    if not 1 <= rank <= count:
        raise TargetError(f"The class of rank {rank} was asked for; the model has {count} classes.")
    return values.topk(rank, dim=-1).indices[..., rank - 1]


def indices_of(among: AnyOf, count: int, classes: Sequence[str] | None) -> list[int]:
    """Return the indices of the classes to choose among, of `count` that there are."""
    known = known_names(among, count, classes)
    return [class_index(name, count, known) for name in among.classes]


def _per_image(target: ClassName | Sequence[ClassName] | Tensor, batch: int) -> list[ClassName]:
    """Spread the target to one class per image."""
    if hasattr(target, "__array__") and not isinstance(target, Tensor):
        target = as_tensor(target)  # numpy's arrays and numbers
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.ndim > 1:
            raise TargetError(
                f"The target is a tensor of {target.dtype} {list(target.shape)}; class indices "
                f"were expected, integers [{batch}]."
            )
        target = cast(
            "list[ClassName]", target.reshape(-1).tolist() if target.ndim else target.item()
        )
    if isinstance(target, str) or not isinstance(target, Sequence):
        return [target] * batch
    if len(target) != batch:
        raise TargetError(
            f"There are {len(target)} targets for {batch} images. Pass one for all (target=281) or "
            "one per image; to explain several classes of each image, call explain_each."
        )
    return list(target)


def known_names(target: object, count: int, classes: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names to read a target with: ImageNet's for 1000 classes, if a name was given."""
    target = target.classes if isinstance(target, AnyOf) else target
    several = isinstance(target, list | tuple) and any(isinstance(one, str) for one in target)
    if classes is None and count == 1000 and (several or isinstance(target, str)):
        from limelight.targets.class_names import imagenet_classes

        return imagenet_classes()
    return classes


def names_for(count: int, classes: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names of `count` classes: those given, ImageNet's for 1000, or None."""
    return known_names("", count, classes)


def class_index(name: ClassName, count: int, classes: Sequence[str] | None) -> int:
    """Return the index of a class given by index or by name.

    A name matches whatever its case; where a class has several names ("tabby, tabby cat"), each of
    them matches. Without `classes`, a model with 1000 outputs is taken to know ImageNet's.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: The index is out of range, the name is shared by several classes, or names
            are not known.
    """
    if isinstance(name, str):
        return _named_class(name, count, classes)
    try:
        index = operator.index(name)
    except TypeError:
        index = -1
    if isinstance(name, bool) or not 0 <= index < count:
        raise TargetError(
            f"The target class is {name!r}; the model has {count} classes, so an index from 0 to "
            f"{count - 1} was expected."
        )
    return index


def _named_class(name: str, count: int, classes: Sequence[str] | None) -> int:
    classes = known_names(name, count, classes)
    if classes is None:
        raise TargetError(
            f"The target is the name {name!r}, and the names of the model's {count} classes are "
            "not known. Pass classes=[...], or the class's index."
        )
    wanted = name.strip().casefold()
    whole = [i for i, known in enumerate(classes) if known.casefold() == wanted]
    part = [i for i, known in enumerate(classes) if wanted in known.casefold().split(", ")]
    found = whole or part
    if not found:
        otherwise = f"Class names are those of the weights, such as {', '.join(classes[:3])}."
        known = [part for names in classes for part in (names, *names.split(", "))]
        raise unknown("class", name, known, otherwise)
    if len(found) > 1:
        raise TargetError(f"Several classes are named {name!r}: {found}. Pass one of the indices.")
    return found[0]


def label_of(index: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, or "class 281" when names are not known."""
    return f"class {index}" if classes is None else classes[index]
