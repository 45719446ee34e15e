"""The scores that a file explains, read from its logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.deployed.description import Description
from limelight.targets.class_names import BACKGROUND_NAMES, label_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ScoresRead:
    """The class that is explained in each image, with its score.

    Attributes:
        index: The class, `[B]`.
        score: Its score, `[B]`.
        label: What is explained, in words.
        region: The cells that the score is about, `[B, *grid]`; None for the whole image.
    """

    index: npt.NDArray[np.int64]
    score: Array
    label: tuple[str, ...]
    region: npt.NDArray[np.bool_] | None = None


def read_scores(logits: Array, target: Array, about: Description) -> ScoresRead:
    """Return the class and the score of each image.

    The score of a class is its logit; of a segmenter, the mean of its logits over the cells where
    it is predicted, or over all if there are none; of a detector, its logit of the box that is most
    probably of that class: where probabilities are sigmoids, the one with the highest logit.

    Args:
        logits: `[B, C]`; those of each cell, `[B, C, *grid]`; or those of each box, `[B, N, C]`.
        target: The class of each image, `[B]`; -1 for the predicted one.
        about: What the file says of itself, and so of its logits.
    """
    index = np.where(target < 0, ranked(logits, about)[:, 0], target).astype(np.int64)
    label = tuple(_label(int(number), logits, about) for number in index)
    if about.output == "classes":
        return ScoresRead(index, np.take_along_axis(logits, index[:, None], 1)[:, 0], label)
    if about.output == "boxes":
        rows = np.arange(len(logits))
        boxes = _by_likelihood(logits, about)[rows, :, index].argmax(1)
        return ScoresRead(index, logits[rows, boxes, index], label)
    cells = _by_cell(logits)
    of_class = np.take_along_axis(cells, index[:, None, None], 1)[:, 0]
    inside = of_class > 0 if cells.shape[1] == 1 else cells.argmax(1) == index[:, None]
    anywhere = inside.any(1, keepdims=True)
    inside |= ~anywhere
    score = np.where(inside, of_class, 0).sum(1) / inside.sum(1)
    region = inside.reshape(len(logits), *logits.shape[2:])
    label = tuple(
        name if found else f"{name}, predicted nowhere"
        for name, found in zip(label, anywhere.ravel(), strict=True)
    )
    return ScoresRead(index, score.astype(logits.dtype), label, region)


def _label(index: int, logits: Array, about: Description) -> str:
    """Return the name of a class; the only one of a network without names is its output."""
    count = logits.shape[2 if about.output == "boxes" else 1] - about.no_object
    return "the output" if count == 1 and about.classes is None else label_of(index, about.classes)


def ranked(logits: Array, about: Description) -> Array:
    """Return the classes of each image, the predicted one first, `[B, C]`.

    They are ranked by their logits; those of a detector by the most probable box; those of a
    segmenter by the number of cells where they are predicted, background last, and those predicted
    nowhere by their mean logits.
    """
    if about.output == "boxes":
        values = _by_likelihood(logits, about).max(1)
    elif about.output == "regions" and logits.shape[1] > 1:
        cells = _by_cell(logits)
        # In 32 bits, as in the file: where that rounds to a tie, the first class is predicted.
        values = _areas(cells) + np.float32(1e-3) * _softmax(cells.mean(2))
        for number, name in enumerate((about.classes or ())[: values.shape[1]]):
            if name.casefold() in BACKGROUND_NAMES:
                values[:, number] -= cells.shape[2] + 1
    else:
        values = logits.reshape(*logits.shape[:2], -1).mean(2)
    return np.argsort(-values, axis=1, kind="stable")


def answers(logits: Array, about: Description, count: int = 5) -> list[tuple[int, float]]:
    """Return the most probable classes of one image, `[1, ...]`, each with its probability.

    For a segmenter they are those predicted on most cells, each with its share of the cells; for a
    detector, those of the most probable boxes.
    """
    if about.output == "boxes":
        likelihood = _by_likelihood(logits, about)[0].max(0)
        shares = likelihood if about.no_object else _sigmoid(likelihood)
    elif about.output == "classes":
        exact = logits.astype(np.float64)
        shares = _softmax(exact)[0] if logits.shape[1] > 1 else _sigmoid(logits[0])
    elif logits.shape[1] > 1:
        shares = _areas(_by_cell(logits))[0] / _by_cell(logits).shape[2]
    else:
        shares = np.array([(logits > 0).mean()])
    best = np.argsort(-shares, kind="stable")[:count]
    return [(int(k), float(shares[k])) for k in best if about.output != "regions" or shares[k] > 0]


def _by_likelihood(logits: Array, about: Description) -> Array:
    """Return what is higher the more probable a class is for a box, `[B, N, C]`.

    It is the softmax where a box may hold no object; else the logit, as sigmoids round to 1.
    """
    return _softmax(logits, -1)[..., :-1] if about.no_object else logits


def _sigmoid(logits: Array) -> Array:
    """Return `1 / (1 + exp(-x))`, by the tangent, which does not overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64)))


def _by_cell(logits: Array) -> Array:
    return logits.reshape(*logits.shape[:2], -1)


def _areas(cells: Array) -> Array:
    """Return on how many cells each class is predicted, `[B, C]`."""
    predicted, count = cells.argmax(1), cells.shape[1]
    return np.stack([np.bincount(each, minlength=count) for each in predicted]).astype(np.float32)


def _softmax(logits: Array, axis: int = 1) -> Array:
    values = np.exp(logits - logits.max(axis, keepdims=True))
    return np.asarray(values / values.sum(axis, keepdims=True))
