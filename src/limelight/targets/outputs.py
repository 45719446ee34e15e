"""What a model returned: where its logits are, and what a detector proposed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import ModelError, OptionError, TargetError, unknown

#: The part of an output that holds the logits: a key, attribute or index, several of them joined by
#: dots as in "aux.logits", or a callable from the output to the logits.
LogitsKey = str | int | Callable[[Any], Any]


#: The keys or attributes that are searched for logits first, in this order.
_KEYS = (
    "logits",
    "out",
    "logits_per_image",
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
        OptionError: The grid is not a sequence of positive sizes.
    """
    if grid is None:
        return OutputSpec(classes, key)
    sizes = tuple(grid) if isinstance(grid, Sequence) else ()
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise OptionError(f"grid is {grid!r}; the sizes of its axes were expected, as in (7, 7).")
    return OutputSpec(classes, key, sizes)


@dataclass(frozen=True, eq=False)
class Detected:
    """The output of a detector, and all boxes that it proposed, before it dropped most of them.

    Attributes:
        output: What the model returned.
        boxes: For each image, the proposed boxes `[N, 4]`, or `[N, C, 4]` if each class has its
            own: x1, y1, x2, y2 in pixels of the image that was passed in; with a graph if the
            output has one.
        logits: For each image, `[N, C]`, before softmax or sigmoid.
        probabilities: For each image, `[N, C]`, after softmax or sigmoid; 0 for the background.
    """

    output: Any
    boxes: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]
    probabilities: tuple[Tensor, ...]


def returned(output: Any) -> Any:
    """Return what the model itself returned, from its output or from a `Detected` around it."""
    return output.output if isinstance(output, Detected) else output


def part_named(output: Any, name: str) -> Any:
    """Return the part of an output under this key or attribute; None if there is none."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


class MaskQueries(NamedTuple):
    """The output of mask classification (MaskFormer, Mask2Former, OneFormer, EoMT).

    Attributes:
        classes: The class logits of each query, `[B, Q, C + 1]`; the last one is "no object".
        masks: The mask logits of each query, `[B, Q, *grid]`.
    """

    classes: Tensor
    masks: Tensor

    def semantic_scores(self) -> Tensor:
        """Return `sum_q softmax(classes)_qc sigmoid(masks)_q`, `[B, C, *grid]`.

        Cheng et al. 2021, "Per-pixel classification is not all you need", section 3.4.
        """
        shares = self.classes.softmax(-1)[..., :-1]
        return torch.einsum("bqc,bq...->bc...", shares, self.masks.sigmoid())


class PromptedMasks(NamedTuple):
    """The output of a segmenter that is prompted (SAM): several masks of each prompt.

    Attributes:
        masks: The mask logits of all prompts, `[B, N, h, w]`.
        quality: The overlap (IoU) with the true mask that the model predicts, `[B, N]`.
    """

    masks: Tensor
    quality: Tensor

    def of_each_image(self, numbers: Tensor) -> Tensor:
        """Return one mask of each image, `[B, 1, h, w]`, given their numbers `[B]`."""
        rows = torch.arange(len(self.masks), device=self.masks.device)
        return self.masks[rows, numbers.to(rows.device)][:, None]


def mask_queries(output: Any) -> MaskQueries | None:
    """Return the class and mask logits of mask classification; None if the output has none."""
    classes = part_named(output, "class_queries_logits")
    masks = part_named(output, "masks_queries_logits")
    if not isinstance(classes, Tensor) or not isinstance(masks, Tensor):
        return None
    return MaskQueries(classes, masks)


def prompted_masks(output: Any) -> PromptedMasks | None:
    """Return the masks of a prompted segmenter; None if the output has none."""
    masks, quality = part_named(output, "pred_masks"), part_named(output, "iou_scores")
    if not isinstance(masks, Tensor) or not isinstance(quality, Tensor) or masks.ndim != 5:
        return None
    return PromptedMasks(masks.flatten(1, 2), quality.flatten(1, 2))


def find_logits(output: object, key: LogitsKey | None = None) -> Tensor:
    """Return the logits in what a model returned.

    These are the part at `key`; else the output itself if it is a tensor; else the semantic scores
    of mask classification, or the best mask of a prompted segmenter; else its `logits`, `out`,
    `logits_per_image`, `pred_logits`, `image_embeds`, `pooler_output` or `heatmaps` (a key or an
    attribute); else its first tensor.

    Raises:
        ModelError: There is no tensor in the output.
        UnknownNameError, TargetError: The output has no such part, or the part is no tensor.
    """
    output = returned(output)
    if key is not None:
        return _part_at(output, key)
    if isinstance(output, Tensor):
        return output
    if queries := mask_queries(output):
        return queries.semantic_scores()
    if prompted := prompted_masks(output):
        return prompted.of_each_image(prompted.quality.argmax(1))
    for name in _KEYS:
        part = part_named(output, name)
        if isinstance(part, Tensor):
            return part
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

    Raises:
        ModelError: There is no tensor in the output.
        UnknownNameError, TargetError: The output has no such part, or the part is no tensor.
    """
    logits = find_logits(output, key)
    return logits[:, None] if logits.ndim == 1 else logits


def answers(output: Any, count: int = 5) -> list[tuple[int, float]]:
    """Return the most probable classes for the first image, each with its probability.

    For a detector they are those of the most probable objects; for a segmenter, those predicted on
    most pixels, each with its share of the pixels.
    """
    output = returned(output)
    if isinstance(output, list) and output and isinstance(output[0], Mapping):
        detections = output[0]
        both = zip(detections["labels"].tolist(), detections["scores"].tolist(), strict=True)
        return sorted(both, key=lambda pair: -pair[1])[:count]
    logits = class_logits(output)[0].detach().float()
    if part_named(output, "pred_boxes") is not None:
        shares = logits.softmax(-1)[:, :-1].amax(0)
    elif logits.ndim > 1 and len(logits) > 1:
        predicted = logits.argmax(0).flatten()
        shares = predicted.bincount(minlength=len(logits)) / predicted.numel()
    elif logits.ndim > 1:
        shares = (logits > 0).float().mean()[None]
    else:
        shares = logits.softmax(-1) if len(logits) > 1 else logits.sigmoid()
    values, indices = shares.topk(min(count, len(shares)))
    pairs = zip(indices.tolist(), values.tolist(), strict=True)
    return [(index, value) for index, value in pairs if logits.ndim == 1 or value > 0]


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
