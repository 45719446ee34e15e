"""A score per image, and the class from which every target derives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor, map_tensors
from limelight.targets.context import TargetContext
from limelight.targets.outputs import advice_on_bags, returned

#: Returns scores `[M]`, given an output of M rows and the image that each row belongs to, `[M]`.
ReadScore = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class OtherClasses:
    """The classes that a score could be of instead, all else being the same.

    Attributes:
        count: C, how many classes there are, the explained one among them.
        read: Returns the function that reads the scores of classes `[B]`, one per image, in place
            of those that were chosen.
    """

    count: int
    read: Callable[[Tensor], ReadScore]


class ExplainedTokens(NamedTuple):
    """The words that a score is about.

    Attributes:
        ids: The tokens of the sentence, `[B, N]`.
        at: The numbers of those that are explained.
    """

    ids: Tensor
    at: tuple[int, ...]


class Scores(NamedTuple):
    """One score per image.

    Attributes:
        values: `[B]`, with a graph if the output has one.
        indices: `[B]`, the class of each image; None if the target is not about classes.
        labels: For each image, what is explained, in words.
        read_again: Reads the same score from another output; the classes stay those that were
            chosen on this output.
        region: The pixels that the score is about, `[B, *image]`; None for all pixels.
        probability: As `read_again`, but reads the probability. It is None unless the score is that
            of one class among several, or that of words.
        at_one_place: Whether the score is read at one place of the picture, as that of a box is.
            Such a score is explained by another method, if none is named (`method_for`).
        others: The other classes; None unless the score is that of one class among several.
        sentence: The words; None unless the score is that of words.
    """

    values: Tensor
    indices: Tensor | None
    labels: tuple[str, ...]
    read_again: ReadScore
    region: Tensor | None = None
    probability: ReadScore | None = None
    at_one_place: bool = False
    others: OtherClasses | None = None
    sentence: ExplainedTokens | None = None


class ScoreTarget(ABC):
    """A target: what is explained. To write one, derive a class and define `score`."""

    __slots__ = ()

    #: Whether the score is read from the logits that limelight finds in an output by itself.
    reads_logits = False

    @abstractmethod
    def score(self, output: Any, context: TargetContext) -> Scores:
        """Turn the output of a model into one score per image.

        Args:
            output: What the model returned; for a detector, a `Detected`.
            context: How many images there are, their size, and how to read the output.

        Raises:
            TargetError: The output is not of the kind that the target needs.
            ModelError: There is no tensor in the output.
        """

    def reads(self) -> Hashable:
        """Return what the score reads of an output, as a key; None if that is the logits.

        The layer to cut at is chosen for what is read, and remembered by it: targets with the same
        key are explained at the same layer. By default it is the type of the target.
        """
        return None if self.reads_logits else type(self)

    def of_image(self, image: int, axes: int) -> ScoreTarget:  # noqa: ARG002 (for those that need it)
        """Return the target of one image of the batch.

        `axes` is how many grid axes an image has: it tells one mask for all images from one per
        image.
        """
        return self


class RowTarget(ScoreTarget):
    """A target whose score of a row depends on that row of the output alone."""

    __slots__ = ()

    @abstractmethod
    def label(self) -> str:
        """Return what is explained, in words."""

    @abstractmethod
    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:
        """Return the score of each row of an output, `[M]`; `rows` are the images of the rows."""

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the score of each image."""

        def read_again(output: Any, rows: Tensor) -> Tensor:
            return self.read(output, rows, context)

        values = read_again(output, torch.arange(context.batch, device="cpu"))
        return Scores(values, None, (self.label(),) * context.batch, read_again)


@dataclass(frozen=True, slots=True)
class FixedScore(RowTarget):
    """The score of an earlier target, with its classes as they were chosen, for other outputs.

    Attributes:
        read_again: Reads the score from an output, as `Scores.read_again`.
    """

    read_again: ReadScore

    def reads(self) -> Hashable:
        """Return the function that reads the score."""
        return self.read_again

    def label(self) -> str:
        """Return "": the labels of the earlier score are used."""
        return ""

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:  # noqa: ARG002
        """Return the score of each row of an output, `[M]`."""
        return self.read_again(output, rows)


@dataclass(frozen=True, slots=True, eq=False)
class CustomScore(ScoreTarget):
    """A callable of the user's, from the output for B images to scores `[B]`."""

    function: Callable[[Any], Tensor]

    def reads(self) -> Hashable:
        """Return the function; for one written in place, its code and the values that it uses."""
        return _code_and_values(self.function)

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return what the callable returns.

        Raises:
            TargetError: The callable does not return scores `[B]`.
        """
        batch, function = context.batch, self.function
        values = function(returned(output))
        if not isinstance(values, Tensor) or values.shape != (batch,):
            shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"The target returned {shape}; one score per image was expected, a tensor of shape "
                f"[{batch}]. For class 281: lambda output: output[:, 281]."
                f"{advice_on_bags(values, batch) if isinstance(values, Tensor) else ''}"
            )

        def read_again(output: Any, rows: Tensor) -> Tensor:
            # The callable may treat each image differently, so it sees each row at the position
            # of the image that the row belongs to.
            output, images = returned(output), rows.tolist()
            batches = (
                row_everywhere(output, row, len(images), batch) for row in range(len(images))
            )
            return torch.stack(
                [function(copies)[image] for copies, image in zip(batches, images, strict=True)]
            )

        name: str = getattr(function, "__name__", type(function).__name__)
        label = name.replace("<lambda>", "custom target")
        return Scores(values, None, (label,) * batch, read_again)


def _code_and_values(function: Callable[..., Any]) -> Hashable:
    """Return a key for a function: two lambdas from the same line and values have the same."""
    if not isinstance(function, FunctionType):
        return function if isinstance(function, Hashable) else id(function)
    code, names = function.__code__, function.__globals__
    used = [names[name] for name in code.co_names if name in names]
    values = [*_values_around(function), *(function.__defaults__ or ()), *used]
    return code, tuple(value if isinstance(value, _PLAIN) else id(value) for value in values)


def _values_around(function: FunctionType) -> Iterator[object]:
    """Yield the values that a function uses of those around it; a name may have none yet."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield cell.cell_contents


#: Types whose values are compared; other values are told apart by what they are.
_PLAIN = (int, float, str, bool, type(None))


def row_everywhere(output: Any, row: int, count: int, batch: int) -> Any:
    """Return an output of B rows, each of them the given row of an output of `count` rows."""
    if isinstance(output, list) and len(output) == count:  # one entry per image
        return [output[row]] * batch

    def repeat(tensor: Tensor) -> Tensor:
        batched = tensor.ndim and len(tensor) == count
        return tensor[row : row + 1].expand(batch, *tensor.shape[1:]) if batched else tensor

    return map_tensors(output, repeat)


def rows_of_image(value: Any, image: int, axes: int) -> Any:
    """Return the part of a value that belongs to one image.

    A value of `axes` axes belongs to every image; one with an axis more has a row per image.
    """
    rows = as_tensor(value)
    return value if rows.ndim == axes else rows[image if len(rows) > 1 else 0]
