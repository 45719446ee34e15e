"""The scores that a file explains, read from its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.deployed.description import OutputKind

Array = npt.NDArray[Any]

#: Names of the background; a class with such a name is predicted last.
_BACKGROUND = frozenset({"background", "__background__", "bg", "unlabeled", "void"})


@dataclass(frozen=True, slots=True, eq=False)
class ScoresRead:
    """What is explained of each image.

    Attributes:
        index: The class, `[B]`.
        score: Its score, `[B]`.
        region: The cells that the score is about, `[B, *grid]`; None for the whole image.
    """

    index: npt.NDArray[np.int64]
    score: Array
    region: npt.NDArray[np.bool_] | None = None


def read_scores(
    logits: Array, kind: OutputKind, target: Array, classes: Sequence[str] | None
) -> ScoresRead:
    """Return the class and the score of each image.

    Args:
        logits: `[B, C]`; those of each cell, `[B, C, *grid]`; or those of each box, `[B, N, C]`.
        kind: Which of these they are.
        target: The class of each image, `[B]`; -1 for the predicted one.
        classes: The names of the classes, if known.
    """
    if kind == "regions":
        return _read_regions(logits, target, classes)
    of_classes = logits.max(1) if kind == "boxes" else logits
    index = np.where(target < 0, of_classes.argmax(1), target).astype(np.int64)
    return ScoresRead(index, np.take_along_axis(of_classes, index[:, None], 1)[:, 0])


def _read_regions(logits: Array, target: Array, classes: Sequence[str] | None) -> ScoresRead:
    """Return the mean logit over the cells where a class is predicted; over all if there are none.

    The predicted class is that of most cells. A single class is predicted where its logit is
    positive.
    """
    count = logits.shape[1]
    cells = logits.reshape(len(logits), count, -1)
    predicted = cells.argmax(1)
    area = (predicted[:, None] == np.arange(count)[:, None]).sum(2)
    for number, name in enumerate(classes or ()):
        if name.casefold() in _BACKGROUND and number < count:
            area[:, number] -= cells.shape[2] + 1
    index = np.where(target < 0, area.argmax(1), target).astype(np.int64)
    of_class = np.take_along_axis(cells, index[:, None, None], 1)[:, 0]
    inside = of_class > 0 if count == 1 else predicted == index[:, None]
    inside |= ~inside.any(1, keepdims=True)
    score = (np.where(inside, of_class, 0).sum(1) / inside.sum(1)).astype(logits.dtype)
    return ScoresRead(index, score, inside.reshape(len(logits), *logits.shape[2:]))
