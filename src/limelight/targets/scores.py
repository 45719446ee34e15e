"""A score per image, and the protocol that every target follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor, map_tensors
from limelight.targets.context import TargetContext
from limelight.targets.outputs import returned

#: Reads a number per row off an output: from an output of M rows, and the image `[M]` that each row
#: belongs to, to `[M]`.
ReadScore = Callable[[Any, Tensor], Tensor]


class Scores(NamedTuple):
    """One score per image.

    Attributes:
        values: `[B]`, with a graph when the output has one.
        indices: `[B]`, the class of each image; None when the target is not about classes.
        labels: For each image, what was explained, for people to read.
        again: Reads the same score off another output. The classes stay those of this output.
        region: The pixels that the score is about, `[B, *image]`; None for all of them.
        probability: As `again`, but reads the probability; None where the score is not that of one
            class among several, or of words.
    """

    values: Tensor
    indices: Tensor | None
    labels: tuple[str, ...]
    again: ReadScore
    region: Tensor | None = None
    probability: ReadScore | None = None


class ScoreTarget(ABC):
    """What is explained. A new target is one class with these two methods."""

    __slots__ = ()

    @abstractmethod
    def score(self, output: Any, context: TargetContext) -> Scores:
        """Turn the output of a model into one score per image.

        Args:
            output: What the model returned; a `Detected` of a detector.
            context: How many images there are, their size, and how to read the output.

        Raises:
            TargetError: The output is not of the kind that the target needs.
            ModelError: There is no tensor in the output.
        """

    def of_image(self, image: int, axes: int) -> Self:  # noqa: ARG002 (for those that need it)
        """Return what is asked of one image of the batch alone; images have so many axes."""
        return self


class RowTarget(ScoreTarget):
    """A target whose score is read off the rows of any output in the same way."""

    __slots__ = ()

    @abstractmethod
    def label(self) -> str:
        """Return what is explained, in words."""

    @abstractmethod
    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:
        """Return the score of an output's rows `[M]`, each of the image that it is of."""

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Read the score of every image."""

        def again(output: Any, rows: Tensor) -> Tensor:
            return self.read(output, rows, context)

        values = again(output, torch.arange(context.batch, device="cpu"))
        return Scores(values, None, (self.label(),) * context.batch, again)


@dataclass(frozen=True, slots=True)
class FixedScore(RowTarget):
    """A score that was found before, read off other outputs."""

    again: ReadScore

    def label(self) -> str:
        """Return no words: those of the score that was found before stand."""
        return ""

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:  # noqa: ARG002
        """Return the score of an output's rows `[M]`."""
        return self.again(output, rows)


@dataclass(frozen=True, slots=True, eq=False)
class CustomScore(ScoreTarget):
    """A callable of the user's, from the output of B images to scores `[B]`."""

    function: Callable[[Any], Tensor]

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Call it.

        Raises:
            TargetError: It does not return scores `[B]`.
        """
        batch, function = context.batch, self.function
        values = function(returned(output))
        if not isinstance(values, Tensor) or values.shape != (batch,):
            shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"The target returned {shape}; one score per image was expected, a tensor of shape "
                f"[{batch}]. For class 281: lambda output: output[:, 281]."
            )

        def again(output: Any, rows: Tensor) -> Tensor:
            # It may read each image in its own way, so each row is shown to it in that image's
            # place.
            output, images = returned(output), rows.tolist()
            shown = (_row_everywhere(output, row, len(images), batch) for row in range(len(images)))
            return torch.stack(
                [function(one)[image] for one, image in zip(shown, images, strict=True)]
            )

        name: str = getattr(function, "__name__", type(function).__name__)
        label = name.replace("<lambda>", "custom target")
        return Scores(values, None, (label,) * batch, again)


def _row_everywhere(output: Any, row: int, count: int, batch: int) -> Any:
    """Return an output of `count` rows as one of B rows that are all the same row."""
    if isinstance(output, list) and len(output) == count:  # one entry per image
        return [output[row]] * batch

    def spread(tensor: Tensor) -> Tensor:
        batched = tensor.ndim and len(tensor) == count
        return tensor[row : row + 1].expand(batch, *tensor.shape[1:]) if batched else tensor

    return map_tensors(output, spread)


def rows_of_image(value: Any, image: int, axes: int) -> Any:
    """Return one image's part of a value of so many axes, or one more for the batch."""
    rows = as_tensor(value)
    return value if rows.ndim == axes else rows[image if len(rows) > 1 else 0]
