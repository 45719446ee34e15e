"""From an output to a table of class scores `[B, C]`, from which a class target then picks.

Of a classifier the table is its logits. Of a segmenter it is their mean over a region, of a
detector the logits of one box, of a language model those of the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.context import TargetContext
from limelight.targets.outputs import class_logits

#: Reads class scores off another output: from an output of M rows, and the image `[M]` that each
#: row belongs to, to `[M, C]`.

#: belongs to, to `[M, C]`.
ReadClasses = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The class scores of a table, read for the class of each image that is explained.

    Attributes:
        values: `[B, C]`, with a graph when the output has one.
        again: Reads the same off another output.
        where: For each image, what to say after the class: " in box [3, 4, 50, 60]".
        region: The pixels that the score is about, `[B, *image]`; None for all of them.
        probability: As `again`, as probabilities; None where one number stands for no probability.
    """

    values: Tensor
    again: ReadClasses
    where: tuple[str, ...]
    region: Tensor | None = None
    probability: ReadClasses | None = None


class Ranking(Protocol):
    """Classes in the order of their scores."""

    @property
    def count(self) -> int:
        """C, the number of classes."""

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of a rank, 1 for the first, `[B]`; of some classes only, if given."""


class Table(Ranking, Protocol):
    """Class scores of an output."""

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return the table for these classes `[B]`; `rank` is theirs if that is how they came."""


class Logits:
    """The logits `[B, C]` of a classifier; one number per image is `[B, 1]`."""

    axes, where = "C", ""

    def __init__(self, output: object, context: TargetContext) -> None:
        """Find them."""
        self._key = context.spec.key
        self._logits = self._rows(class_logits(output, self._key))

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return self._logits.shape[1]

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class with the logit of this rank."""
        return kth(self._logits.detach(), rank, among)

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:  # noqa: ARG002 (protocol)
        """Return the logits."""
        where = (self.where,) * len(classes)
        probability = self._probability if self.count > 1 else None
        return ClassScores(self._logits, self._again, where, probability=probability)

    def _probability(self, output: Any, rows: Tensor) -> Tensor:
        return probabilities(self._again(output, rows), self._normalised)

    @cached_property
    def _normalised(self) -> bool:
        return are_probabilities(self._logits)

    def _again(self, output: Any, rows: Tensor) -> Tensor:
        logits = class_logits(output, self._key)
        if logits.ndim != 1 + len(self.axes.split()) or len(logits) != len(rows):
            raise shape_changed(logits, rows, self.axes)
        return self._rows(logits)

    def _rows(self, logits: Tensor) -> Tensor:
        return logits


class LastWord(Logits):
    """The logits `[B, N, C]` of a language model: those of the word that comes next."""

    axes, where = "N, C", " as the next word"

    def _rows(self, logits: Tensor) -> Tensor:
        return logits[:, -1]


def are_probabilities(values: Tensor) -> bool:
    """Say whether values `[B, C, ...]` are probabilities already: the model ends in a softmax."""
    sums = values.detach().sum(1)
    near = torch.finfo(sums.dtype).eps ** 0.5
    return bool((values >= 0).all() and (sums - 1).abs().max() <= near)


def probabilities(logits: Tensor, normalised: bool) -> Tensor:
    """Return the softmax over classes of logits `[M, C, ...]`, unless they are that already."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if normalised else logits.softmax(1)


def shape_changed(logits: Tensor, rows: Tensor, axes: str) -> TargetError:
    """Say that a network treats another number of images in another way."""
    return TargetError(
        f"For {len(rows)} images the model returned logits {list(logits.shape)}, not "
        f"[{len(rows)}, {axes}]. A squeeze() without an axis does this to a single image: name "
        "the axis, or choose `chunk` so that no single one is left over."
    )


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
