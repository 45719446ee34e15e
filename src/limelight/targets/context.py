"""What a target has to know besides the output."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from limelight.inputs import ModelInputs, tensors
from limelight.targets.outputs import OutputSpec


@dataclass(frozen=True, slots=True)
class TargetContext:
    """What is known besides the output.

    Attributes:
        batch: B, the number of images.
        size: The sizes of the image's axes, `[H, W]` for a picture.
        spec: How to read an output.
        words: Whether the model was given words too: whole numbers `[B, N]`.
    """

    batch: int
    size: tuple[int, ...]
    spec: OutputSpec
    words: bool = False


def target_context(inputs: ModelInputs, spec: OutputSpec) -> TargetContext:
    """Return what a target has to know besides the output."""
    words = any(
        t.ndim == 2 and not t.is_floating_point() and t.dtype != torch.bool
        for t in tensors((inputs.args, inputs.kwargs))
    )
    return TargetContext(inputs.batch, tuple(inputs.image.shape[2:]), spec, words)
