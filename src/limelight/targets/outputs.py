"""What a model returned: where its logits are, and what a detector proposed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from limelight.errors import LimelightError, ModelError, OptionError, TargetError, unknown
from limelight.targets.mask_outputs import dense_scores, part_named
from limelight.targets.prompts import prompt_logits

#: The part of an output that holds the logits: a key, attribute or index, several of them joined by
#: dots as in "aux.logits", or a callable from the output to the logits.
LogitsKey = str | int | Callable[[Any], Any]


#: The keys or attributes that are searched for logits first, in this order.
_KEYS = (
    "logits",
    "out",
    "logits_per_image",
    "logits_per_video",
    "pred_logits",
    "image_embeds",
    "pooler_output",
    "heatmaps",
)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How to read the output of a network.

    Attributes:
        classes: The names of the classes, by index; None if they are not known.
        key: The part of the output that holds the logits; None to find it.
        grid: The sizes of the grid that tokens come from; None to find them.
    """

    classes: Sequence[str] | None = None
    key: LogitsKey | None = None
    grid: tuple[int, ...] | None = None

    @property
    def hashable_key(self) -> str | int | None:
        """The key, or None if it is a callable: those have caches of their own."""
        return None if callable(self.key) else self.key


def output_spec(
    classes: Sequence[str] | None, key: LogitsKey | None, grid: Sequence[int] | None
) -> OutputSpec:
    """Return how to read the output of a network, from the arguments that a user passed.

    Raises:
        OptionError: The grid is not a sequence of positive sizes, or there are no class names.
    """
    if classes is not None and not len(classes):
        raise OptionError(
            "There are no class names in classes; a name for each class was expected, or None."
        )
    if grid is None:
        return OutputSpec(classes, key)
    sizes = tuple(grid) if isinstance(grid, Sequence) else ()
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise OptionError(f"grid is {grid!r}; the sizes of its axes were expected, as in (7, 7).")
    return OutputSpec(classes, key, sizes)


@dataclass(frozen=True, eq=False)
class Detected:
    """All boxes that a detector proposed, before it dropped most of them.

    limelight reads it from torchvision's detectors, from YOLO and from DETR and its relatives. For
    any other detector, let a wrapper return it:

        class Readable(nn.Module):
            def __init__(self, detector):
                super().__init__()
                self.detector = detector

            def forward(self, images):
                scores, boxes = self.detector(images)
                return limelight.Detected(logits=scores, boxes=boxes)

    Attributes:
        logits: For each image, `[N, C]`, before softmax or sigmoid. They may be given as one tensor
            `[B, N, C]`.
        boxes: For each image, the proposed boxes `[N, 4]`, or `[N, C, 4]` if each class has its
            own: x1, y1, x2, y2 in pixels of the image that was passed in, with a graph if `Edge` is
            to explain them. They may be given as one tensor with B in front, or as one `[N, 4]` for
            all images.
        probabilities: For each image, `[N, C]`, after softmax or sigmoid; 0 for a class that is no
            object, such as the background. They are given as the logits are; without them, they are
            the sigmoid of the logits.
        output: What the model returned, for callables and for `Explanation.output`; None if it is
            this object itself.

    Raises:
        ModelError: The shapes do not belong together.
    """

    logits: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    probabilities: tuple[Tensor, ...] = ()
    output: Any = None

    def __init__(
        self,
        logits: Tensor | Sequence[Tensor],
        boxes: Tensor | Sequence[Tensor],
        probabilities: Tensor | Sequence[Tensor] | None = None,
        output: Any = None,
    ) -> None:
        """Read the tensors as one per image, and check that they belong together."""
        by_image = _by_image("logits", "[N, C]", logits)
        if isinstance(boxes, Tensor) and boxes.ndim == 2:
            boxes = (boxes,) * len(by_image)
        boxes_by_image = _by_image("boxes", "[N, 4]", boxes)
        if probabilities is None:
            likely = tuple(each.detach().sigmoid() for each in by_image)
        else:
            likely = _by_image("probabilities", "[N, C]", probabilities)
        _check_proposals(by_image, boxes_by_image, likely)
        for name, value in (
            ("logits", by_image),
            ("boxes", boxes_by_image),
            ("probabilities", likely),
            ("output", output),
        ):
            object.__setattr__(self, name, value)


def _by_image(name: str, shape: str, values: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return tensors of a detector as one per image.

    Raises:
        ModelError: They are neither one tensor nor a sequence of tensors.
    """
    if isinstance(values, Tensor) and values.ndim >= 3:
        return values.unbind()
    if isinstance(values, list | tuple) and all(isinstance(each, Tensor) for each in values):
        return tuple(values)
    what = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
    raise ModelError(
        f"The {name} of Detected are {what}; one tensor [B, {shape[1:]} was expected, or a list "
        f"with a tensor {shape} for each image."
    )


def _check_proposals(
    logits: Sequence[Tensor], boxes: Sequence[Tensor], probabilities: Sequence[Tensor]
) -> None:
    """Check that logits, boxes and probabilities belong together.

    Raises:
        ModelError: They do not.
    """
    if not len(logits) == len(boxes) == len(probabilities):
        raise ModelError(
            f"Detected holds logits of {len(logits)} images, boxes of {len(boxes)} and "
            f"probabilities of {len(probabilities)}; as many of each were expected."
        )
    for scores, corners, likely in zip(logits, boxes, probabilities, strict=True):
        classes = tuple(scores.shape)
        fitting = ((*classes[:1], 4), (*classes, 4))
        if (
            scores.ndim != 2
            or tuple(corners.shape) not in fitting
            or tuple(likely.shape) != classes
        ):
            raise ModelError(
                f"For an image, Detected holds logits {list(classes)}, boxes "
                f"{list(corners.shape)} and probabilities {list(likely.shape)}; logits [N, C], "
                "boxes [N, 4] or [N, C, 4] and probabilities [N, C] were expected."
            )


def returned(output: Any) -> Any:
    """Return what the model itself returned, from its output or from a `Detected` around it."""
    inner = output.output if isinstance(output, Detected) else None
    return output if inner is None else inner


def find_logits(output: object, key: LogitsKey | None = None) -> Tensor:
    """Return the logits in what a model returned.

    These are the part at `key`; else the output itself if it is a tensor; else the semantic scores
    of mask classification, or the best mask of a prompted segmenter; else its `logits`, `out`,
    `logits_per_image`, `logits_per_video`, `pred_logits`, `image_embeds`, `pooler_output` or
    `heatmaps` (a key or an attribute); else the logits in a pair of probabilities and logits; else
    its first tensor.

    Raises:
        ModelError: There is no tensor in the output.
        UnknownNameError, TargetError: The output has no such part, or the part is no tensor.
    """
    output = returned(output)
    if key is not None:
        return _part_at(output, key)
    if isinstance(output, Tensor):
        return output
    if (scores := dense_scores(output)) is not None:
        return scores
    for name in _KEYS:
        part = part_named(output, name)
        if isinstance(part, Tensor):
            return part
    if _is_softmax_and_logits(output):
        return cast("Sequence[Tensor]", output)[1]
    first = _first_tensor(output)
    if first is None:
        what = "None" if output is None else f"{_type_in_words(output)} without a tensor"
        raise ModelError(
            f"The model returned {what}; a tensor was expected, or a tuple, list, dict or "
            "object that holds one. Wrap the model so that it returns its logits [B, C], "
            "or say with output=... which part of what it returns they are."
        )
    return first


def class_logits(output: object, key: LogitsKey | None = None) -> Tensor:
    """Return the logits `[B, C]` in what a model returned; one number per image is `[B, 1]`.

    For embeddings of pictures and texts they are the logits of the texts (`prompt_logits`).

    Raises:
        ModelError: There is no tensor in the output.
        UnknownNameError, TargetError: The output has no such part, or the part is no tensor.
    """
    of_prompts = prompt_logits(returned(output)) if key is None else None
    logits = find_logits(output, key) if of_prompts is None else of_prompts
    return logits[:, None] if logits.ndim == 1 else logits


def may_hold_words(output: object, key: LogitsKey | None) -> bool:
    """Return whether what `find_logits` finds may be logits of words: no embedding, by its name."""
    output = returned(output)
    named = not isinstance(output, Tensor | tuple | list)
    return key is not None or not named or part_named(output, "logits") is not None


def advice_on_bags(values: Tensor, batch: int) -> str:
    """Return what to do if all pictures together have one score; "" if they have not.

    Args:
        values: Logits or scores, one row for each picture, or one for all.
        batch: How many pictures there are.
    """
    if batch == 1 or values.shape[:1] != (1,):
        return ""
    return (
        f" If the {batch} images are one bag or clip with one score, pass it as one sample, "
        "images[None], to a wrapper of the model whose forward(self, bags) returns "
        "torch.cat([self.model(bag) for bag in bags]); each image then has its own map."
    )


def answers(output: Any, count: int = 5, key: LogitsKey | None = None) -> list[tuple[int, float]]:
    """Return the most probable classes for the first image, each with its probability.

    For a detector they are those of the most probable objects; for a segmenter, those predicted on
    most pixels, each with its share of the pixels.
    """
    detected, output = output if isinstance(output, Detected) else None, returned(output)
    if isinstance(output, list) and output and isinstance(output[0], Mapping) and key is None:
        detections = output[0]
        both = zip(detections["labels"].tolist(), detections["scores"].tolist(), strict=True)
        return sorted(both, key=lambda pair: -pair[1])[:count]
    if detected is not None and key is None:
        return _most_probable(detected.probabilities[0].detach().float().amax(0), count)
    logits = class_logits(output, key)[0].detach().float()
    if logits.ndim > 1 and len(logits) > 1:
        predicted = logits.argmax(0).flatten()
        shares = predicted.bincount(minlength=len(logits)) / predicted.numel()
    elif logits.ndim > 1:
        shares = (logits > 0).float().mean()[None]
    else:
        shares = _as_probabilities(logits)
    best = _most_probable(shares, count)
    return [(index, share) for index, share in best if logits.ndim == 1 or share > 0]


def class_probabilities(output: Any, key: LogitsKey | None = None) -> Tensor | None:
    """Return the probabilities of the classes, `[B, C]`, as `answers` reads them.

    They are the softmax of the logits `[B, C]`, or the sigmoid of a single one. None for what has
    no such logits: detectors, segmenters, and outputs of several tokens.
    """
    if isinstance(output, Detected) and key is None:
        return None
    try:
        logits = class_logits(output, key)
    except LimelightError:
        return None
    fits = logits.ndim == 2 and logits.is_floating_point()
    return _as_probabilities(logits.detach().float().cpu()) if fits else None


def _as_probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(-1) if logits.shape[-1] > 1 else logits.sigmoid()


def _most_probable(shares: Tensor, count: int) -> list[tuple[int, float]]:
    """Return the classes with the largest shares, each with its share."""
    values, indices = shares.topk(min(count, len(shares)))
    return list(zip(indices.tolist(), values.tolist(), strict=True))


def _part_at(output: object, key: LogitsKey) -> Tensor:
    """Return the part of an output at a key."""
    if callable(key):
        part = key(output)
    else:
        steps = [key] if isinstance(key, int) else key.split(".")
        part = functools.reduce(functools.partial(_step, key=key), steps, output)
    if not isinstance(part, Tensor):
        raise TargetError(
            f"output={key!r} is {_type_in_words(part)}; the tensor that holds the logits was "
            "expected."
        )
    return part


def _step(value: object, step: str | int, key: LogitsKey) -> object:
    """Return the part of a value that one step of a key leads to."""
    if isinstance(value, Mapping) and step in value:
        return value[step]
    if isinstance(step, str) and not step.isdigit() and hasattr(value, step):
        return getattr(value, step)
    if isinstance(value, Sequence) and not isinstance(value, str):
        with suppress(ValueError, IndexError):
            return value[int(step)]
    keys = parts(value)
    raise unknown("output", str(key), keys, f"{_type_in_words(value)} has {', '.join(keys)}.")


def parts(output: object) -> dict[str, object]:
    """Return the parts of an output, by key, attribute or index."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, list | tuple):
        names = getattr(output, "_fields", None) or range(len(output))
        return {str(name): value for name, value in zip(names, output, strict=True)}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
    return dict(getattr(output, "__dict__", {}))


def _is_softmax_and_logits(output: object) -> bool:
    """Return whether an output is a pair of `[B, C]`: probabilities, and the logits they are of."""
    if not isinstance(output, list | tuple) or len(output) != 2:
        return False
    first, second = output
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    if first.ndim != 2 or first.shape != second.shape or not second.is_floating_point():
        return False
    tolerance = torch.finfo(second.dtype).eps ** 0.5
    softmax = second.detach().softmax(1)
    return first.dtype == second.dtype and torch.allclose(first, softmax, rtol=0, atol=tolerance)


def _first_tensor(output: object, depth: int = 4) -> Tensor | None:
    """Return the first tensor in an output; tensors at its surface come before those deeper in."""
    if depth == 0 or isinstance(output, str):
        return None
    values = parts(output).values()
    for value in values:
        if isinstance(value, Tensor):
            return value
    return next((t for t in (_first_tensor(v, depth - 1) for v in values) if t is not None), None)


def _type_in_words(output: object) -> str:
    """Return the type of an output in words."""
    if output is None:
        return "None"
    size = f" of {len(output)}" if isinstance(output, Mapping | list | tuple) else ""
    return f"a {type(output).__name__}{size}"
