"""The classes that the network finds most probable, and which of them is explained."""

from __future__ import annotations

from torch import Tensor

from limelight.evidence import at_least_float32
from limelight.explanation import Explanation
from limelight.steps.data import Answer
from limelight.targets import AnyOf, OutputSpec, Rank, Target
from limelight.targets.class_names import label_of, names_for
from limelight.targets.outputs import Detected, answers, class_logits

#: How many answers of a classifier are shown.
_SHOWN_ANSWERS = 5


def explained_class(explanation: Explanation, target: Target) -> int | None:
    """Return the class that is explained; None unless the score is that of one class."""
    is_class = target is None or isinstance(
        target, int | str | Rank | AnyOf | list | tuple | Tensor
    )
    return int(explanation.index[0]) if is_class and explanation.index is not None else None


def first_answers(explanation: Explanation, output: object, spec: OutputSpec) -> tuple[Answer, ...]:
    """Return the most probable classes; for a classifier, the explained class is among them.

    Without a class that is explained there are none.

    Args:
        explanation: The explanation.
        output: What the network returned; for a detector, a `Detected`.
        spec: How to read it.
    """
    if explanation.index is None:
        return ()
    proposes = isinstance(output, list | Detected) and spec.key is None
    logits = None if proposes else class_logits(output, spec.key).detach()
    if logits is None or logits.ndim != 2 or len(logits) != 1:  # a detector, a segmenter
        return tuple(
            Answer(i, label_of(i, spec.classes), None, share)
            for i, share in answers(output, key=spec.key)
        )
    scores = at_least_float32(logits[0])
    if len(scores) == 1:
        return ()
    best = scores.topk(min(_SHOWN_ANSWERS, len(scores))).indices.tolist()
    best += [i for i in explanation.index.tolist() if i not in best]
    names, shares = names_for(len(scores), spec.classes), scores.softmax(0)
    return tuple(Answer(i, label_of(i, names), float(scores[i]), float(shares[i])) for i in best)
