"""What a user may pass as a target, and how it becomes a `ScoreTarget`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from limelight.inputs import tensors
from limelight.targets.box_table import largest_logits
from limelight.targets.class_names import ClassName
from limelight.targets.classes import as_class_target
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected, find_logits, returned
from limelight.targets.scores import CustomScore, ScoreTarget

#: What can be explained; see the docstring of `limelight.targets`.
Target = ScoreTarget | ClassName | Sequence[ClassName] | Tensor | Callable[[Any], Tensor] | None


def as_target(target: Target) -> ScoreTarget:
    """Return a target as a `ScoreTarget`: classes by index or name, and callables, are wrapped."""
    if isinstance(target, ScoreTarget):
        return target
    if callable(target) and not isinstance(target, Tensor):
        return CustomScore(target)
    return as_class_target(target)


def scores_to_follow(output: object, context: TargetContext) -> list[Tensor]:
    """Return the scores, one number each, whose gradient a record follows through the layers.

    For a detector these are three: those of a small, a medium and a large box. A feature pyramid
    may find them on different levels, and the layer to cut at has to serve all of them.
    """
    key = context.spec.key
    if isinstance(output, Detected) and key is None:
        return largest_logits(output)
    floats = [t for t in tensors([returned(output)]) if t.is_floating_point()]
    single_tensor = len(floats) == 1 and key is None
    logits = floats[0] if single_tensor else find_logits(output, key)
    if not logits.ndim:
        return [logits]
    if logits.ndim == len(context.size) + 2:  # a segmenter: the mean over all pixels
        return [logits.flatten(2).mean(2).amax(1).sum()]
    return [logits.reshape(len(logits), -1).amax(1).sum()]
