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

    The score of a class is its logit; of a segmenter, the mean of its logits over the cells where
    it is predicted, or over all if there are none; of a detector, its highest logit of all boxes.

    Args:
        logits: `[B, C]`; those of each cell, `[B, C, *grid]`; or those of each box, `[B, N, C]`.
        kind: Which of these they are.
        target: The class of each image, `[B]`; -1 for the predicted one.
        classes: The names of the classes, if known.
    """
    index = np.where(target < 0, ranked(logits, kind, classes)[:, 0], target).astype(np.int64)
    if kind != "regions":
        of_classes = logits.max(1) if kind == "boxes" else logits
        return ScoresRead(index, np.take_along_axis(of_classes, index[:, None], 1)[:, 0])
    cells = _by_cell(logits)
    of_class = np.take_along_axis(cells, index[:, None, None], 1)[:, 0]
    inside = of_class > 0 if cells.shape[1] == 1 else cells.argmax(1) == index[:, None]
    inside |= ~inside.any(1, keepdims=True)
    score = np.where(inside, of_class, 0).sum(1) / inside.sum(1)
    region = inside.reshape(len(logits), *logits.shape[2:])
    return ScoresRead(index, score.astype(logits.dtype), region)


def ranked(logits: Array, kind: OutputKind, classes: Sequence[str] | None) -> Array:
    """Return the classes of each image, the predicted one first, `[B, C]`.

    They are ranked by their logits; those of a segmenter by the number of cells where they are
    predicted, background last, and those predicted nowhere by their mean logits.
    """
    if kind == "boxes":
        values = logits.max(1)
    elif kind == "regions" and logits.shape[1] > 1:
        cells = _by_cell(logits)
        values = _areas(cells) + 1e-3 * _softmax(cells.mean(2))
        for number, name in enumerate((classes or ())[: values.shape[1]]):
            if name.casefold() in _BACKGROUND:
                values[:, number] -= cells.shape[2] + 1
    else:
        values = logits.reshape(*logits.shape[:2], -1).mean(2)
    return np.argsort(-values, axis=1, kind="stable")


def answers(logits: Array, kind: OutputKind, count: int = 5) -> list[tuple[int, float]]:
    """Return the most probable classes of one image, `[1, ...]`, each with its probability.

    For a segmenter they are those predicted on most cells, each with its share of the cells; for a
    detector, whose boxes each have probabilities of their own, there are none.
    """
    if kind == "boxes":
        return []
    if kind == "classes":
        shares = _softmax(logits)[0] if logits.shape[1] > 1 else 1 / (1 + np.exp(-logits[0]))
    elif logits.shape[1] > 1:
        shares = _areas(_by_cell(logits))[0] / _by_cell(logits).shape[2]
    else:
        shares = np.array([(logits > 0).mean()])
    best = np.argsort(-shares, kind="stable")[:count]
    return [(int(k), float(shares[k])) for k in best if kind == "classes" or shares[k] > 0]


def _by_cell(logits: Array) -> Array:
    return logits.reshape(*logits.shape[:2], -1)


def _areas(cells: Array) -> Array:
    """Return on how many cells each class is predicted, `[B, C]`."""
    predicted, count = cells.argmax(1), cells.shape[1]
    return np.stack([np.bincount(each, minlength=count) for each in predicted]).astype(np.float64)


def _softmax(logits: Array) -> Array:
    values = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(values / values.sum(1, keepdims=True))
