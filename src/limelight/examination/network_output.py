"""What a network returns: of which kind it is, its classes, and whether it is the same again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor

from limelight.errors import LimelightError
from limelight.examination.observations import Observation
from limelight.inputs import tensors
from limelight.targets import OutputSpec
from limelight.targets.class_names import label_of, names_for
from limelight.targets.outputs import (
    Detected,
    answers,
    class_logits,
    class_probabilities,
    find_logits,
    parts,
    returned,
)

#: The most probable class of a trained network is expected to be this many times as probable as
#: any class is by chance.
_ABOVE_CHANCE = 3

#: Probabilities in half precision may add up to 1 only so closely.
_ROUNDING = 0.01


def examine_output(output: Any, again: Any, spec: OutputSpec, batch: int) -> Iterator[Observation]:
    """Yield of which kind an output is, its classes, its first answer, and whether it repeats.

    Args:
        output: What the network returned, as `read_detected` reads it.
        again: The same, of a second run.
        spec: How to read it.
        batch: How many images it is of.

    Raises:
        ModelError, TargetError, UnknownNameError: There are no logits in it.
    """
    kind, count = _kind(output, spec, batch)
    yield Observation("output", "output", kind)
    yield from _classes(count, spec)
    yield from _first_answer(output, spec)
    same = _is_same(output, again)
    advice = (
        "The same numbers were expected twice, in evaluation mode: something is drawn at random, "
        "or kernels add up in no fixed order. Maps will differ likewise."
    )
    yield Observation(
        "output",
        "again",
        "the same twice" if same else "a second run differs",
        "ok" if same else "note",
        "" if same else advice,
    )


def _kind(output: Any, spec: OutputSpec, batch: int) -> tuple[str, int | None]:
    """Return in words what an output is, and of how many classes; None if it has no such."""
    if isinstance(output, Detected):
        boxes, count = output.logits[0].shape
        return f"a detector: {boxes} proposed boxes, {count} classes", count
    inner = returned(output)
    if isinstance(inner, list) and inner and isinstance(inner[0], Mapping) and spec.key is None:
        return f"a detector: {', '.join(map(str, inner[0]))} of each image", None
    logits = find_logits(output, spec.key)
    part = _part_of(inner, logits)
    shape = f"{list(logits.shape)}{part}"
    if logits.ndim == 0 or (logits.ndim == 1 and batch > 1) or logits.shape[1:] == (1,):
        return f"one number for each image {shape}", None
    if logits.ndim <= 2:
        count = logits.shape[-1]
        return f"a classifier or an embedding of {count} numbers {shape}", count
    if logits.ndim == 3:
        return f"numbers of several tokens or words {shape}", None
    return f"a segmenter of {logits.shape[1]} classes {shape}", logits.shape[1]


def _part_of(output: Any, logits: Tensor) -> str:
    """Return in words which part of an output was read; "" for all of it, or what was computed."""
    if isinstance(output, Tensor):
        return ""
    names = [name for name, value in parts(output).items() if value is logits]
    others = ", ".join(name for name in parts(output) if name not in names)
    return f", the part {names[0]!r} (beside {others or 'nothing'})" if names else ""


def _classes(count: int | None, spec: OutputSpec) -> Iterator[Observation]:
    """Yield whether there is a name for each class."""
    if count is None:
        return
    names = names_for(count, spec.classes)
    if names is None:
        yield Observation("output", "classes", f"{count}, without names; pass classes=[...]")
        return
    fits = len(names) == count
    source = "the names of ImageNet" if spec.classes is None else "named"
    advice = f"A name for each of the {count} outputs was expected: pass classes=[...]."
    yield Observation(
        "output",
        "classes",
        f"{count}, {source}" if fits else f"{count}, and {len(names)} names",
        "ok" if fits else "note",
        "" if fits else advice,
    )


def _first_answer(output: Any, spec: OutputSpec) -> Iterator[Observation]:
    """Yield the most probable class of the first image, and whether it is above chance."""
    found = list[tuple[int, float]]()
    with suppress(LimelightError):
        found = answers(output, 1, spec.key)
    if not found:
        return
    (index, share), *_ = found
    probabilities = class_probabilities(output, spec.key)
    count = 0 if probabilities is None else probabilities.shape[1]
    function = "" if count < 2 else _applied(class_logits(output, spec.key).detach().float())
    if function:
        share = float(class_logits(output, spec.key)[0, index])
    names = names_for(count, spec.classes)
    name = label_of(index, names if names and index < len(names) else None)
    by_chance = count > 2 * _ABOVE_CHANCE and share < _ABOVE_CHANCE / count
    advice = (
        f"Of {count} classes, any has {1 / max(count, 1):.1%} by chance. If the network is "
        "trained, its weights may not be loaded, or photos are not prepared as in training."
    )
    yield Observation(
        "output",
        "answer",
        f"{name}, {share:.1%}",
        "note" if by_chance else "ok",
        advice if by_chance else "",
    )
    if function:
        advice = (
            f"Logits were expected. Behind a {function} the gradient goes to zero where the "
            "network is sure, and a map of one class is also one against the others. Explain what "
            f"goes into the {function}: leave it out of the model, or name the logits with output=."
        )
        yield Observation("output", "scale", f"behind a {function}, it seems", "note", advice)


def _applied(values: Tensor) -> str:
    """Return the function that was applied to logits, going by their values `[B, C]`, or ""."""
    low, high, sums = float(values.min()), float(values.max()), values.sum(1)
    if not 0 <= low < high <= 1:
        return ""
    if bool(((sums - 1).abs() < _ROUNDING).all()):
        return "softmax"
    # Few logits may all lie there by themselves.
    return "sigmoid" if values.shape[1] > 2 * _ABOVE_CHANCE else ""


def _is_same(output: Any, again: Any) -> bool:
    """Return whether two outputs hold the same numbers."""
    first, second = tensors([returned(output)]), tensors([returned(again)])
    return len(first) == len(second) and all(
        a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
        for a, b in zip(first, second, strict=True)
    )
