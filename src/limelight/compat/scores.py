"""A peer's targets, one callable per image, as one score per image."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from limelight.inputs import map_tensors
from limelight.targets.outputs import find_logits, returned


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
