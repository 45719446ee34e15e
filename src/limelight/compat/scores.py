"""A peer's targets, one callable per image, as one score per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import map_tensors
from limelight.targets import Scores, ScoreTarget, TargetContext
from limelight.targets.outputs import find_logits, returned

#: From the output for one image to a number.
OneImageTarget = Callable[[Any], Any]


def output_of_image(output: Any, image: int, batch: int) -> Any:
    """Return the part of a model's output that belongs to one image, without a batch axis.

    A tensor gives its row, a list with one entry per image that entry. A tuple of tensors is read
    as limelight reads it, and gives the row of the logits. Of a dict or an output object each
    tensor gives its row.
    """
    output = returned(output)
    if isinstance(output, Tensor):
        return output[image]
    if isinstance(output, list | tuple):
        by_image = len(output) == batch and not all(
            isinstance(part, Tensor) and len(part) == batch for part in output
        )
        return output[image] if by_image else find_logits(output)[image]
    return map_tensors(output, lambda t: t[image] if t.ndim and len(t) == batch else t)


@dataclass(frozen=True, slots=True, eq=False)
class OneTargetPerImage(ScoreTarget):
    """Callables, one per image, each from the output for its image to a number."""

    targets: Sequence[OneImageTarget]

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the number of each image, `[B]`.

        Raises:
            TargetError: There is not one target per image, or one returns no single number.
        """
        if len(self.targets) != context.batch:
            raise TargetError(
                f"There are {len(self.targets)} targets for {context.batch} images; one per image "
                "was expected, in a list."
            )

        def read_again(output: Any, rows: Tensor) -> Tensor:
            return torch.stack(
                [
                    self._number(image, output_of_image(output, row, len(rows)))
                    for row, image in enumerate(rows.tolist())
                ]
            )

        values = read_again(output, torch.arange(context.batch, device="cpu"))
        labels = tuple(_label(target) for target in self.targets)
        return Scores(values, None, labels, read_again)

    def _number(self, image: int, output: Any) -> Tensor:
        value = self.targets[image](output)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TargetError(
                f"The target of image {image} returned {shape}; a tensor with one number was "
                "expected. It is given the output for one image, without the batch axis: for class "
                "281, lambda output: output[281]."
            )
        return value.reshape(())


def _label(target: OneImageTarget) -> str:
    """Return what a target explains, in words."""
    category = getattr(target, "category", None)
    name = getattr(target, "__name__", type(target).__name__)
    return name if category is None else f"{name}({category})"
