"""What is explained: a rule that turns the network's output into one score per image.

    None                       the predicted class of each image
    281                        one class for all images
    "tabby"                    the same, by name
    [281, 254], ["pug", 281]   one class per image (a tensor of indices too)
    Rank(2)                    the class with the second highest logit, per image
    any callable               output -> scores [B]

A class score is the logit `y_c`, before softmax, as in Grad-CAM (Selvaraju et al. 2017, eq. 1).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from limelight.errors import ModelError, TargetError, unknown


@dataclass(frozen=True, slots=True)
class Rank:
    """The class with the k-th highest logit of each image; `Rank(1)` is the predicted class."""

    k: int


ClassName = int | str
Target = ClassName | Rank | Sequence[ClassName] | Tensor | Callable[[Any], Tensor] | None


class Scores(NamedTuple):
    """One score per image.

    Attributes:
        values: `[B]`, with a graph when the output has one.
        indices: `[B]`, the class of each image; None when the target is a callable.
        labels: For each image, what was explained, for people to read.
    """

    values: Tensor
    indices: Tensor | None
    labels: tuple[str, ...]


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
        values = target(output)
        if not isinstance(values, Tensor) or values.shape != (batch,):
            given = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"The target returned {given}; one score per image was expected, a tensor of shape "
                f"[{batch}]. For class 281: lambda output: output[:, 281]."
            )
        label = getattr(target, "__name__", type(target).__name__)
        return Scores(values, None, (label.replace("<lambda>", "custom target"),) * batch)

    logits = class_logits(output)
    if logits.ndim != 2 or logits.shape[0] != batch:
        raise TargetError(
            f"A class target needs logits [B, C] = [{batch}, C]; the model returned "
            f"{list(logits.shape)}. Pass a callable from output to scores [{batch}] instead, as in "
            "target=lambda output: output[:, 15].mean((1, 2))."
        )
    count = logits.shape[1]
    if classes is not None and len(classes) != count:
        raise TargetError(
            f"There are {len(classes)} class names for a model with {count} classes. Pass the "
            "names that belong to this model, one per class."
        )
    if target is None or isinstance(target, Rank):
        k = 1 if target is None else target.k
        if not 1 <= k <= count:
            raise TargetError(
                f"The class of rank {k} was asked for; the model has {count} classes."
            )
        indices = logits.detach().topk(k, dim=1).indices[:, k - 1]
    else:
        classes = _known_names(target, count, classes)
        chosen = [class_index(name, count, classes) for name in _per_image(target, batch)]
        indices = torch.tensor(chosen, device=logits.device)
    values = logits.gather(1, indices[:, None])[:, 0]
    return Scores(values, indices, tuple(label_of(i, classes) for i in indices.tolist()))


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
