"""What is explained: a rule that turns the network's output into one score per image.

    None                       the predicted class of each image
    281                        one class for all images
    "tabby"                    the same, by name
    [281, 254], ["pug", 281]   one class per image (a tensor of indices too)
    Rank(2)                    the class with the second highest logit, per image
    Contrast(281)              why this class rather than those most like it
    Counterfactual(281)        what speaks against this class
    any callable               output -> scores [B]

A class score is the logit `y_c`, before softmax, as in Grad-CAM (Selvaraju et al. 2017, eq. 1).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from limelight.errors import ModelError, TargetError, unknown
from limelight.inputs import map_tensors


@dataclass(frozen=True, slots=True)
class Rank:
    """The class with the k-th highest logit of each image; `Rank(1)` is the predicted class."""

    k: int


ClassName = int | str
ClassTarget = ClassName | Rank | Sequence[ClassName] | Tensor | None


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


Target = ClassTarget | Contrast | Counterfactual | Callable[[Any], Tensor]


class Scores(NamedTuple):
    """One score per image.

    Attributes:
        values: `[B]`, with a graph when the output has one.
        indices: `[B]`, the class of each image; None when the target is a callable.
        labels: For each image, what was explained, for people to read.
        again: The same score of another output: from an output of M rows, and the image `[M]` that
            each row belongs to, to `[M]`. The classes stay those of this output.
    """

    values: Tensor
    indices: Tensor | None
    labels: tuple[str, ...]
    again: Callable[[Any, Tensor], Tensor]


def top(k: int) -> list[Rank]:
    """Return targets for the k highest classes, each image having its own.

    Raises:
        TargetError: k is not positive.
    """
    if k < 1:
        raise TargetError(f"Asked for the top {k} classes; ask for at least one.")
    return [Rank(rank) for rank in range(1, k + 1)]


def find_logits(output: object) -> Tensor:
    """Return the logits in what a model returned.

    That is the output itself if it is a tensor; else its `logits` (attribute or key) or its `out`;
    else its first tensor.

    Raises:
        ModelError: There is no tensor in the output.
    """
    if isinstance(output, Tensor):
        return output
    for key in ("logits", "out"):
        named = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(named, Tensor):
            return named
    for value in _parts(output):
        if isinstance(value, Tensor):
            return value
    raise ModelError(
        f"The model returned {_describe(output)}; a tensor was expected, or a tuple, list or dict "
        "that holds one. Wrap the model so that it returns its logits [B, C]."
    )


def _parts(output: object) -> Sequence[object]:
    if isinstance(output, Mapping):
        return list(output.values())
    if isinstance(output, list | tuple):
        return output
    return list(getattr(output, "__dict__", {}).values())


def _describe(output: object) -> str:
    if output is None:
        return "None"
    size = f" of {len(output)}" if isinstance(output, Mapping | list | tuple) else ""
    return f"a {type(output).__name__}{size} without a tensor"


def class_logits(output: object) -> Tensor:
    """Return the logits `[B, C]` in what a model returned; one number per image is `[B, 1]`.

    Raises:
        ModelError: There is no tensor in the output.
    """
    logits = find_logits(output)
    return logits[:, None] if logits.ndim == 1 else logits


def score(output: object, target: Target, batch: int, classes: Sequence[str] | None) -> Scores:
    """Turn the output of a model into one score per image.

    Args:
        output: What the model returned.
        target: See the head of this file.
        batch: B, the number of images.
        classes: The names of the classes, by index, if they are known.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: An index is out of range, there is not one target per image, or the callable
            did not return scores `[B]`.
        ModelError: There is no tensor in the output.
    """
    if callable(target) and not isinstance(target, Tensor):
        return _custom(output, target, batch)
    logits = class_logits(output)
    if logits.ndim != 2 or logits.shape[0] != batch:
        raise TargetError(
            f"A class target needs logits [B, C] = [{batch}, C]; the model returned "
            f"{list(logits.shape)}. Pass a callable from output to scores [{batch}] instead, as in "
            "target=lambda output: output[:, 15].mean((1, 2))."
        )
    if classes is not None and len(classes) != logits.shape[1]:
        raise TargetError(
            f"There are {len(classes)} class names for a model with {logits.shape[1]} classes. "
            "Pass the names that belong to this model, one per class."
        )
    named = target.target if isinstance(target, Contrast | Counterfactual) else target
    if callable(named) and not isinstance(named, Tensor):
        raise TargetError(
            f"{type(target).__name__} takes a class, not a callable. Write the difference into the "
            "callable, as in target=lambda output: output[:, 281] - output[:, 282]."
        )
    chosen = _chosen(logits.detach(), named, classes)
    names = _known_names(named, logits.shape[1], classes)
    labels = [label_of(i, names) for i in chosen.tolist()]
    # A score is a weighted sum of logits: of the classes `[B, n]`, with weights `[B, n]`.
    terms, weights = chosen[:, None], torch.ones_like(logits[:, :1], requires_grad=False)
    if isinstance(target, Counterfactual):
        weights, labels = -weights, [f"against {label}" for label in labels]
    elif isinstance(target, Contrast):
        others = _others(logits.detach(), chosen, target, classes)
        terms = torch.cat([terms, others], 1)
        shared = weights.expand(-1, others.shape[1]) * target.weight / others.shape[1]
        weights = torch.cat([weights, -shared], 1)
        apart = [", ".join(label_of(i, names) for i in row) for row in others.tolist()]
        labels = [f"{label} rather than {row}" for label, row in zip(labels, apart, strict=True)]

    def again(output: Any, rows: Tensor) -> Tensor:
        rows = rows.to(terms.device)
        logits = class_logits(output)
        if logits.ndim != 2 or len(logits) != len(rows):
            raise TargetError(
                f"For {len(rows)} images the model returned logits {list(logits.shape)}, not "
                f"[{len(rows)}, C]. A squeeze() without an axis does this to a single image: name "
                "the axis, or choose `chunk` so that no single one is left over."
            )
        return (logits.gather(1, terms[rows]) * weights[rows]).sum(1)

    values = (logits.gather(1, terms) * weights).sum(1)
    return Scores(values, chosen, tuple(labels), again)


def _custom(output: object, target: Callable[[Any], Tensor], batch: int) -> Scores:
    """Score with a callable of the user's."""
    values = target(output)
    if not isinstance(values, Tensor) or values.shape != (batch,):
        given = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise TargetError(
            f"The target returned {given}; one score per image was expected, a tensor of shape "
            f"[{batch}]. For class 281: lambda output: output[:, 281]."
        )
    label = getattr(target, "__name__", type(target).__name__)

    def again(output: Any, rows: Tensor) -> Tensor:
        # It may read each image in its own way, so each row is shown to it in that image's place.
        def everywhere(tensor: Tensor, row: int) -> Tensor:
            batched = tensor.ndim and len(tensor) == len(rows)
            return tensor[row : row + 1].expand(batch, *tensor.shape[1:]) if batched else tensor

        return torch.stack(
            [
                target(map_tensors(output, partial(everywhere, row=m)))[b]
                for m, b in enumerate(rows.tolist())
            ]
        )

    labels = (label.replace("<lambda>", "custom target"),) * batch
    return Scores(values, None, labels, again)


def _chosen(logits: Tensor, target: ClassTarget, classes: Sequence[str] | None) -> Tensor:
    """Return the class of each image, `[B]`."""
    batch, count = logits.shape
    if target is None or isinstance(target, Rank):
        k = 1 if target is None else target.k
        if not 1 <= k <= count:
            raise TargetError(
                f"The class of rank {k} was asked for; the model has {count} classes."
            )
        return logits.topk(k, dim=1).indices[:, k - 1]
    known = _known_names(target, count, classes)
    chosen = [class_index(name, count, known) for name in _per_image(target, batch)]
    return torch.tensor(chosen, device=logits.device)


def _others(
    logits: Tensor, chosen: Tensor, target: Contrast, classes: Sequence[str] | None
) -> Tensor:
    """Return the classes to set a class apart from, `[B, n]`."""
    if target.against is not None:
        return _chosen(logits, target.against, classes)[:, None]
    count = logits.shape[1]
    if count < 2:
        raise TargetError("A contrast needs at least two classes; the model has one output.")
    distance = (logits - logits.gather(1, chosen[:, None])).abs()
    distance.scatter_(1, chosen[:, None], torch.inf)
    return distance.topk(min(target.similar, count - 1), dim=1, largest=False).indices


def _per_image(target: ClassName | Sequence[ClassName] | Tensor, batch: int) -> list[ClassName]:
    """Spread the target to one class per image."""
    if hasattr(target, "__array__") and not isinstance(target, Tensor):
        target = torch.as_tensor(target)  # numpy's arrays and numbers
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


def _known_names(target: object, count: int, classes: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names to read a target with: ImageNet's for 1000 classes, if a name was given."""
    several = isinstance(target, list | tuple) and any(isinstance(one, str) for one in target)
    if classes is None and count == 1000 and (several or isinstance(target, str)):
        from limelight.models import imagenet_classes

        return imagenet_classes()
    return classes


def names_for(count: int, classes: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names of `count` classes: those given, ImageNet's for 1000, or None."""
    return _known_names("", count, classes)


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
    classes = _known_names(name, count, classes)
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
