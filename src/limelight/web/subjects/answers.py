"""What a network answers about a photo: classes with probabilities, shares or scores; objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from limelight.errors import LimelightError
from limelight.inputs import ModelInputs
from limelight.models.network import Network
from limelight.photos.crops import Box
from limelight.runtime.detectors import read_detected
from limelight.targets.box_table import find_objects
from limelight.targets.class_names import names_for
from limelight.targets.outputs import Detected, answers, class_logits

#: What a network answers: one class of the photo, a class of each pixel, objects in boxes, or a
#: sentence about the photo.
NetworkKind = Literal["classifier", "segmenter", "detector", "vision-language"]

#: What the numbers of answers are: probabilities; shares of the pixels; or scores as they are, of
#: a network with a single output, which may be a logit, a dose or an age.
AnswerMeasure = Literal["probability", "share", "score"]

#: Objects less probable than this are not listed, unless all are.
_LEAST_PROBABLE = 0.05

#: How many objects are listed: of the probable ones, and if none is.
_MOST_OBJECTS, _MOST_IMPROBABLE = 40, 5


def kind_of(network: Network, output: Any, inputs: ModelInputs) -> NetworkKind:
    """Return what a network answers, from what it returned."""
    read = read_detected(output, inputs, network.model)
    if isinstance(read, Detected) or _of_dicts(read) is not None:
        return "detector"
    return "segmenter" if class_logits(read).ndim == 4 else "classifier"


def measure_of(kind: NetworkKind, output: Any) -> AnswerMeasure:
    """Return what the numbers of a network's answers are, from what it returned."""
    if kind == "classifier":
        return "score" if class_logits(output).shape[1] == 1 else "probability"
    return "share" if kind == "segmenter" else "probability"


def first_answers(
    output: Any, network: Network, inputs: ModelInputs, measure: AnswerMeasure, count: int
) -> list[dict[str, Any]]:
    """Return the first answers of a network, as plain values.

    Each has an `index`, a `name` (None where classes have no names), a `probability` (of a
    segmenter the share of the pixels; None for a network with a single output) and a `score`
    before softmax (None for detectors and segmenters). The probability is the softmax of the
    scores; their sigmoid, if the network says that a picture can have several labels.

    Args:
        output: What the network returned.
        network: The network.
        inputs: What it was given.
        measure: What the numbers of its answers are.
        count: How many.
    """
    read = read_detected(output, inputs, network.model)
    scores, several = _scores(read), has_several_labels(network)
    found = list[dict[str, Any]]()
    for index, share in answers(read, count):
        score = None if scores is None else float(scores[index])
        probability: float | None = share
        if measure == "score":
            probability = None
        elif score is not None and several:
            probability = 1 / (1 + math.exp(-score))
        name = class_name(index, network, None if scores is None else len(scores))
        found.append({"index": index, "name": name, "probability": probability, "score": score})
    return found


def has_several_labels(network: Network) -> bool:
    """Return whether each class is a yes or no by itself, as networks of transformers may say."""
    configs = (getattr(module, "config", None) for module in network.model.modules())
    kinds = (getattr(config, "problem_type", None) for config in configs)
    return "multi_label_classification" in kinds


def class_name(index: int, network: Network, count: int | None = None) -> str | None:
    """Return the name of a class; None where it is not known.

    Args:
        index: The class.
        network: The network.
        count: How many classes it has, if that is known: 1000 without names are ImageNet's.
    """
    names = network.classes or (None if count is None else names_for(count, None))
    return names[index] if names and index < len(names) else None


def found_objects(
    output: Any, network: Network, inputs: ModelInputs, box: Box
) -> list[dict[str, Any]] | None:
    """Return the objects that a detector found, most probable first, as plain values.

    Each has an `index`, a `name` (None where classes have no names), a `probability`, and a `box`
    in pixels of the photo. None for a network that is no detector.

    Args:
        output: What the network returned.
        network: The network.
        inputs: What it was given.
        box: The part of the photo that became the input.
    """
    read = read_detected(output, inputs, network.model)
    found = _listed(read)
    if found is None:
        return None
    probable = [each for each in found if each[1] >= _LEAST_PROBABLE]
    shown = probable[:_MOST_OBJECTS] if probable else found[:_MOST_IMPROBABLE]
    return [
        {
            "index": index,
            "name": class_name(index, network),
            "probability": probability,
            "box": _on_photo(corners, inputs, box),
        }
        for index, probability, corners in shown
    ]


def _listed(read: Any) -> list[tuple[int, float, list[float]]] | None:
    """Return class, probability and corners of each object in pixels of the input."""
    if isinstance(read, Detected):
        return [(each.label, each.probability, each.box.tolist()) for each in find_objects(read, 0)]
    first = _of_dicts(read)
    if first is None:
        return None
    found = zip(
        first["labels"].tolist(), first["scores"].tolist(), first["boxes"].tolist(), strict=True
    )
    return sorted(found, key=lambda each: -each[1])


def _of_dicts(output: Any) -> Mapping[str, Tensor] | None:
    """Return what detectors of torchvision return for the first image; None for other outputs."""
    if not isinstance(output, list) or not output or not isinstance(output[0], Mapping):
        return None
    return output[0] if {"boxes", "labels", "scores"} <= set(output[0]) else None


def _on_photo(corners: Sequence[float], inputs: ModelInputs, box: Box) -> list[float]:
    """Return corners in pixels of the input as pixels of the photo."""
    height, width = inputs.image.shape[2:]
    left, top, right, bottom = box
    across, down = (right - left) / width, (bottom - top) / height
    x1, y1, x2, y2 = corners
    return [left + x1 * across, top + y1 * down, left + x2 * across, top + y2 * down]


def _scores(read: Any) -> Tensor | None:
    """Return the scores of the classes of the first image; None if it has none as a whole."""
    if isinstance(read, Detected) or _of_dicts(read) is not None:
        return None
    try:
        logits = class_logits(read)
    except LimelightError:
        return None
    return logits[0].detach().float().to(torch.device("cpu")) if logits.ndim == 2 else None
