"""The score of a class that is chosen when the file runs, read from what the network returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.deployed.description import OutputKind
from limelight.errors import TargetError
from limelight.runtime.forward import Pass
from limelight.runtime.yolo import read_yolo
from limelight.targets.class_names import BACKGROUND_NAMES
from limelight.targets.mask_outputs import part_named
from limelight.targets.output_table import find_table
from limelight.targets.outputs import Detected, LogitsKey, class_logits, find_logits, returned
from limelight.targets.region_table import RegionTable, is_map
from limelight.targets.tables import LastWord, Logits

#: Returns the score and the class of each image, `[B]` each, given the logits and the class that is
#: asked for, `[B]`; -1 for the predicted one.
ReadScore = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class ClassReading(NamedTuple):
    """How an exported file reads class scores.

    Attributes:
        kind: What the logits are.
        logits: Reads them from what the network returns.
        score: Reads the score of a class from them.
        no_object: Whether the last logit of a box says that it holds no object.
    """

    kind: OutputKind
    logits: Callable[[Any], Tensor]
    score: ReadScore
    no_object: bool = False

    def count(self, output: Any) -> int:
        """Return C, the number of classes in what the network returned."""
        logits = self.logits(returned(output))
        classes = logits.shape[2 if self.kind == "boxes" else 1]
        return classes - self.no_object


def class_reading(run: Pass) -> ClassReading:
    """Return how to read class scores from what a network returned in a pass.

    Raises:
        TargetError: It holds no class scores that a file can read.
    """
    output, context = run.output, run.context
    key, size = context.spec.key, context.size
    if isinstance(output, Detected) and key is None:
        return _boxes(output, size)
    table = find_table(output, context)
    if type(table) is Logits:
        return ClassReading("classes", partial(class_logits, key=key), score_of_class)
    if type(table) is LastWord:
        return ClassReading("classes", partial(_last_word, key=key), score_of_class)
    if type(table) is RegionTable:
        names = context.spec.classes or ()
        background = [n for n, name in enumerate(names) if name.casefold() in BACKGROUND_NAMES]
        return ClassReading(
            "regions",
            partial(_dense, key=key, size=size),
            partial(score_of_region, background=background),
        )
    raise TargetError(
        f"The scores of {type(run.model).__name__} are read as a {type(table).__name__}, which an "
        "exported file cannot do. Export a network that returns logits [B, C], or say with "
        "output=... which part of what it returns they are."
    )


def _class_index(target: Tensor, predicted: Tensor, count: int) -> Tensor:
    """Return the class of each image, `[B]`: the predicted one for -1, the nearest for no class."""
    return torch.where(target == -1, predicted, target).clamp(0, count - 1)


def score_of_class(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return `y_c` from class scores `[B, C]`."""
    index = _class_index(target, logits.detach().argmax(1), logits.shape[1])
    return logits.gather(1, index[:, None])[:, 0], index


def score_of_region(
    logits: Tensor, target: Tensor, *, background: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Return the mean of `y_c` over the cells where class c is predicted, from `[B, C, *grid]`.

    All cells are taken if there is none. The predicted class has the most cells; one whose name
    says that it is the background comes last. A single class is predicted where it is positive.
    """
    count, axes = logits.shape[1], logits.ndim - 2
    fixed = logits.detach()
    predicted = fixed.argmax(1) if count > 1 else (fixed[:, 0] <= 0).long()
    cells = predicted.flatten(1)
    classes = torch.arange(count, device=logits.device)
    # Classes that are predicted nowhere follow in the order of their mean logits.
    area = fixed.flatten(2).mean(2).softmax(1) * 1e-3
    area = area + (cells[:, None] == classes[:, None]).to(area).sum(2)
    is_background = torch.zeros(count, dtype=area.dtype, device=area.device)
    for index in background:
        is_background = is_background + (classes == index)
    area = area - is_background * (cells.shape[1] + 1)
    chosen = _class_index(target, area.argmax(1), count)
    inside = (predicted == chosen.reshape(-1, *[1] * axes)).to(logits).flatten(1)
    inside = torch.where(inside.any(1, keepdim=True), inside, torch.ones_like(inside))
    share = inside / inside.sum(1, keepdim=True)
    means = (logits.flatten(2) * share[:, None]).sum(2)
    return means.gather(1, chosen[:, None])[:, 0], chosen


def score_of_box(logits: Tensor, target: Tensor, *, no_object: bool) -> tuple[Tensor, Tensor]:
    """Return `y_c` of the box that is most probably of class c, from `[B, N, C]`.

    The predicted class is that of the most probable box. Probabilities are the sigmoid of each
    logit, which has the order of the logits, or, with `no_object`, a softmax whose last class is no
    object.
    """
    fixed = logits.detach()
    likely = fixed.softmax(-1)[..., :-1] if no_object else fixed
    index = _class_index(target, likely.amax(1).argmax(1), likely.shape[2])
    count = logits.shape[1]
    of_class = index[:, None, None].expand(-1, count, 1)
    box = likely.gather(2, of_class)[..., 0].argmax(1)
    return logits.gather(2, of_class)[..., 0].gather(1, box[:, None])[:, 0], index


def _last_word(output: Any, *, key: LogitsKey | None) -> Tensor:
    return class_logits(output, key)[:, -1]


def _dense(output: Any, *, key: LogitsKey | None, size: Sequence[int]) -> Tensor:
    logits = find_logits(output, key)
    return logits[:, None] if is_map(logits, size) else logits


def _boxes(detected: Detected, size: Sequence[int]) -> ClassReading:
    """Return how to read the boxes of a detector.

    Raises:
        TargetError: They are not in what it returns: it drops most of them by itself.
    """
    output, count = returned(detected), detected.logits[0].shape[1]
    if read_yolo(output, size) is not None:
        return ClassReading(
            "boxes", partial(_yolo_logits, size=size), partial(score_of_box, no_object=False)
        )
    logits = _query_logits(output)
    if logits is None:
        raise TargetError(
            "The detector drops most of its boxes before it returns, so an exported file cannot "
            "read their scores. A YOLO, DETR or a relative can be exported; for another detector "
            "let a wrapper return its class scores [B, C]."
        )
    no_object = logits.shape[-1] == count + 1
    score = partial(score_of_box, no_object=no_object)
    return ClassReading("boxes", _query_logits, score, no_object)


def _yolo_logits(output: Any, *, size: Sequence[int]) -> Tensor:
    proposed = read_yolo(output, size)
    assert proposed is not None
    return proposed[1]


def _query_logits(output: Any) -> Any:
    logits = part_named(output, "logits")
    return part_named(output, "pred_logits") if logits is None else logits
