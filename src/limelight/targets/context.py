"""What a target has to know besides the output."""

from __future__ import annotations

from dataclasses import dataclass

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
