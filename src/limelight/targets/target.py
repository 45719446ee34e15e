"""What a user may pass as a target, and how it becomes a `ScoreTarget`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor

from limelight.errors import LimelightError
from limelight.inputs import tensors
from limelight.targets.box_table import largest_logits
from limelight.targets.class_names import ClassName
from limelight.targets.classes import as_class_target
from limelight.targets.context import TargetContext
from limelight.targets.outputs import Detected, find_logits, returned
from limelight.targets.region_table import is_map
from limelight.targets.scores import CustomScore, ScoreTarget, row_everywhere

#: What can be explained; see the docstring of `limelight.targets`.
Target = ScoreTarget | ClassName | Sequence[ClassName] | Tensor | Callable[[Any], Tensor] | None


def as_target(target: Target) -> ScoreTarget:
    """Return a target as a `ScoreTarget`: classes by index or name, and callables, are wrapped."""
    if isinstance(target, ScoreTarget):
        return target
    if callable(target) and not isinstance(target, Tensor):
        return CustomScore(target)
    return as_class_target(target)


def what_is_read(targets: Sequence[ScoreTarget]) -> frozenset[Hashable]:
    """Return the keys of what targets read of an output, besides the logits."""
    return frozenset(key for target in targets if (key := target.reads()) is not None)


def scores_to_follow(
    output: object, context: TargetContext, asked: Sequence[ScoreTarget] = ()
) -> list[Tensor]:
    """Return the scores, one number each, whose gradient a record follows through the layers.

    A target that reads something else than the logits is followed itself. All others are one: the
    highest logit, of the last word of a sentence; for a segmenter, the highest mean logit; for a
    detector, those of a small, a medium and a large box. A feature pyramid may find boxes on
    different levels, and the layer to cut at has to serve all of them.

    Args:
        output: What the model returned for one image.
        context: As for a target, with all images of the call; the recorded one is the first.
        asked: The targets; () for what every model has, the logits.
    """
    own = [target for target in asked if target.reads() is not None]
    followed = [score for target in own for score in _own_score(target, output, context)]
    if followed and len(own) == len(asked):
        return followed
    return [*followed, *_logits_to_follow(output, context)]


class TargetRaisedError(Exception):
    """What a target raised while it was followed, `error`; that is what the user should see."""

    def __init__(self, error: Exception) -> None:
        """Keep the error."""
        super().__init__(str(error))
        self.error = error


def _own_score(target: ScoreTarget, output: object, context: TargetContext) -> list[Tensor]:
    """Return the score of the recorded image; [] if the target cannot be scored, or is constant.

    It is scored as that of the first of all images, since a target may be made for so many.
    """
    if context.batch > 1:
        output = row_everywhere(returned(output), 0, 1, context.batch)
    try:
        values = target.score(output, context).values
    except LimelightError:  # the pass itself raises it, with all images
        return []
    except Exception as error:  # of the user's own code
        raise TargetRaisedError(error) from error
    return [values[0]] if values.requires_grad else []


def _logits_to_follow(output: object, context: TargetContext) -> list[Tensor]:
    """Return the highest logits of an output."""
    key = context.spec.key
    if isinstance(output, Detected) and key is None:
        return largest_logits(output)
    floats = [t for t in tensors([returned(output)]) if t.is_floating_point()]
    single_tensor = len(floats) == 1 and key is None
    logits = floats[0] if single_tensor else find_logits(output, key)
    if not logits.ndim:
        return [logits]
    if is_map(logits, context.size):
        return [logits.flatten(1).mean(1).sum()]
    if logits.ndim == len(context.size) + 2:  # a segmenter: the mean over all pixels
        return [logits.flatten(2).mean(2).amax(1).sum()]
    if logits.ndim == 3 and context.words:  # every word may be asked for; the last sees them all
        logits = logits[:, -1]
    return [logits.reshape(len(logits), -1).amax(1).sum()]
