"""From an output and a target to one score per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor, map_tensors, tensors
from limelight.targets.boxes import Box, Boxes, largest_logits
from limelight.targets.classes import (
    AnyOf,
    ClassRule,
    Contrast,
    Counterfactual,
    Rank,
    find_classes,
    indices_of,
    known_names,
    label_of,
    others_of,
)
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected, class_logits, find_logits, returned
from limelight.targets.regions import Region, Regions
from limelight.targets.tables import LastWord, Logits, Table
from limelight.targets.words import Similarity, Words


@dataclass(frozen=True, slots=True)
class FixedScore:
    """A score that was found before, read off other outputs: from an output and its rows `[M]`."""

    read: Callable[[Any, Tensor], Tensor]

    def label(self) -> str:
        """Return no words: those of the score that was found before stand."""
        return ""

    def values(self, output: Any, rows: Tensor, asked: TargetContext) -> Tensor:  # noqa: ARG002 (as Words)
        """Return the score of an output's rows `[M]`."""
        return self.read(output, rows)


Target = ClassRule | FixedScore | Region | Box | Words | Similarity | Callable[[Any], Tensor]


class Scores(NamedTuple):
    """One score per image.

    Attributes:
        values: `[B]`, with a graph when the output has one.
        indices: `[B]`, the class of each image; None when the target is not about classes.
        labels: For each image, what was explained, for people to read.
        again: The same score of another output: from an output of M rows, and the image `[M]` that
            each row belongs to, to `[M]`. The classes stay those of this output.
        region: The pixels that the score is about, `[B, *image]`; None for all of them.
        likely: As `again`, the probability in place of the score; None where the score is not that
            of one class among several, or of words.
    """

    values: Tensor
    indices: Tensor | None
    labels: tuple[str, ...]
    again: Callable[[Any, Tensor], Tensor]
    region: Tensor | None = None
    likely: Callable[[Any, Tensor], Tensor] | None = None


def score(output: object, target: Target, asked: TargetContext) -> Scores:
    """Turn the output of a model into one score per image.

    Args:
        output: What the model returned.
        target: See the head of this file.
        asked: How many images there are, their size, and how to read the output.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: An index is out of range, there is not one target per image, the output is
            not of the kind that the target needs, or the callable did not return scores `[B]`.
        ModelError: There is no tensor in the output.
    """
    if isinstance(target, Words | Similarity | FixedScore):
        again = partial(target.values, asked=asked)
        values = again(output, torch.arange(asked.batch, device="cpu"))
        labels = (target.label(),) * asked.batch
        if not isinstance(target, Words):
            return Scores(values, None, labels, again)
        return Scores(values, None, labels, again, likely=lambda *one: again(*one).exp())
    if callable(target) and not isinstance(target, Tensor):
        return _custom(returned(output), target, asked.batch)
    rule = target.target if isinstance(target, Region | Box) else target
    _refuse_nesting(rule)
    return _class_score(_table(output, target, asked), rule, asked)


def of_image(target: Any, image: int, axes: int) -> Any:
    """Return what a target asks of one image of a batch, whose images have so many axes."""
    if isinstance(target, list | tuple):
        return target[image]
    if hasattr(target, "__array__"):
        return int(_own(target, image, 0))
    changed = dict[str, Any]()
    if isinstance(target, Contrast | Counterfactual | Region | Box):
        changed["target"] = of_image(target.target, image, axes)
    if isinstance(target, Contrast):
        changed["against"] = of_image(target.against, image, axes)
    elif isinstance(target, Region) and hasattr(target.where, "__array__"):
        changed["where"] = _own(target.where, image, axes)
    elif isinstance(target, Box) and target.box is not None:
        changed["box"] = _own(target.box, image, 1)
    elif isinstance(target, Words):
        changed["ids"] = _own(target.ids, image, 1)
    elif isinstance(target, Similarity):
        changed["to"] = _own(target.to, image, 1)
    return replace(target, **changed) if changed else target


def _own(value: Any, image: int, axes: int) -> Any:
    """Return one image's part of a value that has so many axes, or one more for the images."""
    rows = as_tensor(value)
    return value if rows.ndim == axes else rows[image if len(rows) > 1 else 0]


def scores_to_follow(output: object, asked: TargetContext) -> list[Tensor]:
    """Return the scores, one number each, whose gradient shows which layers matter.

    Of a detector three: of a small, a middling and a large box. They may be found on different
    levels of a feature pyramid, and only a layer that serves all of them will do.
    """
    if isinstance(output, Detected) and asked.reading.pick is None:
        return largest_logits(output)
    values = [t for t in tensors([returned(output)]) if t.is_floating_point()]
    alone = len(values) == 1 and asked.reading.pick is None
    logits = values[0] if alone else find_logits(output, asked.reading.pick)
    if not logits.ndim:
        return [logits]
    if logits.ndim == len(asked.size) + 2:  # of a segmenter, of all pixels
        return [logits.flatten(2).mean(2).amax(1).sum()]
    return [logits.reshape(len(logits), -1).amax(1).sum()]


def _table(output: object, target: ClassRule | Region | Box, asked: TargetContext) -> Table:
    """Return the class scores that a target picks from."""
    if isinstance(target, Box):
        return Boxes(output, target, asked)
    if isinstance(target, Region):
        return Regions(output, target.where, asked)
    if isinstance(output, Detected) and asked.reading.pick is None:
        return Boxes(output, Box(), asked)
    logits = class_logits(output, asked.reading.pick)
    batched = logits.shape[:1] == (asked.batch,)
    if batched and logits.ndim == 2:
        return Logits(output, asked)
    if batched and logits.ndim == len(asked.size) + 2:
        return Regions(output, None, asked)
    if batched and logits.ndim == 3 and asked.words:
        return LastWord(output, asked)
    raise TargetError(
        f"A class target needs logits [B, C] = [{asked.batch}, C]; the model returned "
        f"{list(logits.shape)}. Say with output=... which part of what it returns they are, or "
        f"pass a callable from output to scores [{asked.batch}], as in "
        "target=lambda output: output[:, 15].mean((1, 2))."
    )


def _refuse_nesting(rule: Any) -> None:
    """Refuse a class target around what is none."""
    inner = rule.target if isinstance(rule, Contrast | Counterfactual) else rule
    kind = type(rule).__name__
    if isinstance(inner, Region | Box | Contrast | Counterfactual) and inner is not rule:
        name = type(inner).__name__
        raise TargetError(
            f"{kind} takes a class, not a {name}. Turn it round: {name}(target={kind}(...))."
        )
    if callable(inner) and not isinstance(inner, Tensor):
        raise TargetError(
            f"{kind} takes a class, not a callable. Write the difference into the callable, as in "
            "target=lambda output: output[:, 281] - output[:, 282]."
        )


def _class_score(table: Table, target: ClassRule, asked: TargetContext) -> Scores:
    """Score with a weighted sum of the class scores in a table."""
    count, classes = table.count, asked.reading.classes
    if classes is not None and len(classes) != count:
        raise TargetError(
            f"There are {len(classes)} class names for a model with {count} classes. Pass the "
            "names that belong to this model, one per class."
        )
    named = target.target if isinstance(target, Contrast | Counterfactual) else target
    if named is None or isinstance(named, Rank):
        rank = 1 if named is None else named.k
        chosen = table.best(rank)
    elif isinstance(named, AnyOf):
        rank, chosen = None, table.best(1, indices_of(named, count, classes))
    else:
        rank, chosen = None, find_classes(named, asked.batch, count, classes)
    read = table.read(chosen, rank)
    values = read.values
    chosen = chosen.to(values.device)
    names = known_names(named, count, classes)
    labels = [
        f"{'the output' if count == 1 and names is None else label_of(i, names)}{where}"
        for i, where in zip(chosen.tolist(), read.where, strict=True)
    ]
    # A score is a weighted sum of table entries: of the classes `[B, n]`, with weights `[B, n]`.
    terms, weights = chosen[:, None], torch.ones_like(values[:, :1], requires_grad=False)
    if isinstance(target, Counterfactual):
        weights, labels = -weights, [f"against {label}" for label in labels]
    elif isinstance(target, Contrast):
        others = others_of(values.detach(), chosen, target, classes)
        terms = torch.cat([terms, others], 1)
        shared = weights.expand(-1, others.shape[1]) * target.weight / others.shape[1]
        weights = torch.cat([weights, -shared], 1)
        apart = [", ".join(label_of(i, names) for i in row) for row in others.tolist()]
        labels = [f"{label} rather than {row}" for label, row in zip(labels, apart, strict=True)]

    def again(output: Any, rows: Tensor) -> Tensor:
        rows = rows.to(terms.device)
        return (read.again(output, rows).gather(1, terms[rows]) * weights[rows]).sum(1)

    def likely(output: Any, rows: Tensor) -> Tensor:
        assert read.likely is not None
        return read.likely(output, rows).gather(1, terms[rows.to(terms.device)])[:, 0]

    found = (values.gather(1, terms) * weights).sum(1)
    of_class = read.likely is not None and not isinstance(target, Counterfactual | Contrast)
    return Scores(found, chosen, tuple(labels), again, read.region, likely if of_class else None)


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
        count, output = len(rows), returned(output)

        def everywhere(row: int) -> Any:
            def spread(tensor: Tensor) -> Tensor:
                batched = tensor.ndim and len(tensor) == count
                return tensor[row : row + 1].expand(batch, *tensor.shape[1:]) if batched else tensor

            if isinstance(output, list) and len(output) == count:  # one entry per image
                return [output[row]] * batch
            return map_tensors(output, spread)

        return torch.stack([target(everywhere(m))[b] for m, b in enumerate(rows.tolist())])

    labels = (label.replace("<lambda>", "custom target"),) * batch
    return Scores(values, None, labels, again)
