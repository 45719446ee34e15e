"""Class tables: the class scores `[B, C]` of an output, from which a class target picks.

For a classifier the table holds its logits; for a segmenter, the mean logits over a region; for a
detector, the logits of one box; for a language model, the logits of the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.outputs import LogitsKey, class_logits

#: Returns class scores `[M, C]`, given an output of M rows and the image that each row belongs to,
#: `[M]`.
ReadClasses = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The class scores of a table, read for the class that is explained in each image.

    Attributes:
        values: `[B, C]`, with a graph if the output has one.
        read_again: Reads the same class scores from another output.
        where: For each image, what to add to the label of the class, as " in box [3, 4, 50, 60]".
        region: The pixels that the score is about, `[B, *image]`; None for all pixels.
        probability: As `read_again`, but probabilities; None if the model has a single output.
        at_one_place: As in `Scores`.
    """

    values: Tensor
    read_again: ReadClasses
    where: tuple[str, ...]
    region: Tensor | None = None
    probability: ReadClasses | None = None
    at_one_place: bool = False


class ClassRanking(Protocol):
    """Classes in the order of their scores."""

    @property
    def count(self) -> int:
        """C, the number of classes."""

    def best(self, rank: int, among: Sequence[int] | None = None) -> Tensor:
        """Return the class of a rank for each image, `[B]`; rank 1 has the highest score.

        With `among`, only these classes are ranked.
        """


class ClassTable(ClassRanking, Protocol):
    """The class scores of an output."""

    def read(self, classes: Tensor, rank: int | None) -> ClassScores:
        """Return the class scores that belong to these classes.

        Args:
            classes: The class that is explained in each image, `[B]`.
            rank: The rank by which the classes were chosen; None if they were chosen otherwise.
        """


class Logits:
    """The logits `[B, C]` of a classifier; one number per image is `[B, 1]`."""

    axes, where = "C", ""

    def __init__(self, logits: Tensor, key: LogitsKey | None) -> None:
        """Keep the logits that were found in an output, and the key they were found by."""
        self._key, self._logits = key, self._rows(logits)

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
        return ClassScores(self._logits, self._read_again, where, probability=probability)

    def _probability(self, output: Any, rows: Tensor) -> Tensor:
        return probabilities(self._read_again(output, rows), self._normalised)

    @cached_property
    def _normalised(self) -> bool:
        return are_probabilities(self._logits)

    def _read_again(self, output: Any, rows: Tensor) -> Tensor:
        logits = class_logits(output, self._key)
        if logits.ndim != 1 + len(self.axes.split()) or len(logits) != len(rows):
            raise shape_changed(logits, rows, self.axes)
        return self._rows(logits)

    def _rows(self, logits: Tensor) -> Tensor:
        return logits


class LastWord(Logits):
    """The logits `[B, N, C]` of a language model, read at the last word: those of the next word."""

    axes, where = "N, C", " as the next word"

    def _rows(self, logits: Tensor) -> Tensor:
        return logits[:, -1]


def are_probabilities(values: Tensor) -> bool:
    """Return whether values `[B, C, ...]` are probabilities: the model ends in a softmax."""
    sums = values.detach().sum(1)
    tolerance = torch.finfo(sums.dtype).eps ** 0.5
    return bool((values >= 0).all() and (sums - 1).abs().max() <= tolerance)


def probabilities(logits: Tensor, normalised: bool) -> Tensor:
    """Return the softmax of logits `[M, C, ...]` over classes, unless they are `normalised`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if normalised else logits.softmax(1)


def shape_changed(logits: Tensor, rows: Tensor, axes: str) -> TargetError:
    """Return the error for a model whose output has another shape for another number of images."""
    return TargetError(
        f"For {len(rows)} images the model returned logits {list(logits.shape)}, not "
        f"[{len(rows)}, {axes}]. A squeeze() without an axis does this to a single image: name "
        "the axis, or choose `chunk` so that no single one is left over."
    )


def kth(values: Tensor, rank: int, among: Sequence[int] | None = None) -> Tensor:
    """Return the class whose value has a rank, where 1 is the largest, from `[..., C]`.

    With `among`, only these classes are considered.

    Raises:
        TargetError: There are fewer classes than the rank.
    """
    if among is not None:
        candidates = torch.tensor(among, device=values.device)
        return candidates[kth(values[..., candidates], rank)]
    count = values.shape[-1]
    if not 1 <= rank <= count:
        raise TargetError(f"The class of rank {rank} was asked for; the model has {count} classes.")
    return values.topk(rank, dim=-1).indices[..., rank - 1]
