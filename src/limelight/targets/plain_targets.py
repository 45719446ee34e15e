"""Targets as plain values, for JSON, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.boxes import Box
from limelight.targets.classes import AnyOf, GivenClasses, Pair, Rank
from limelight.targets.differences import Contrast, Counterfactual
from limelight.targets.edges import Edge
from limelight.targets.keypoints import Keypoint
from limelight.targets.masks import Mask
from limelight.targets.regions import Region
from limelight.targets.scores import ScoreTarget
from limelight.targets.words import Similarity, Words

_KINDS: dict[str, type[ScoreTarget]] = {
    kind.__name__: kind
    for kind in (
        Rank,
        AnyOf,
        Pair,
        Contrast,
        Counterfactual,
        Region,
        Box,
        Edge,
        Mask,
        Keypoint,
        Words,
        Similarity,
    )
}

#: A tensor inside a target is written as text if that takes no more numbers than this. A mask takes
#: few: of equal numbers in a row, one is written, and how many they are.
_MOST_NUMBERS = 4096


def target_as_plain(target: ScoreTarget) -> Any:
    """Return a target as plain values: a class as it was named, others by type and arguments.

        281, "tabby", [281, "pug"], None (the predicted class)
        {"Contrast": {"target": "tabby", "against": None, "similar": 3, "weight": 0.6}}

    Raises:
        TargetError: It holds what text cannot: a callable, a target of the user's, a large tensor.
    """
    return None if target == Rank(1) else _as_plain(target)


def target_from_plain(value: Any) -> Any:
    """Return what `explain` takes as a target, from what `target_as_plain` returned.

    Raises:
        TargetError: There is no such target.
    """
    if isinstance(value, list):
        return tuple(map(target_from_plain, value))
    if not isinstance(value, Mapping):
        return value
    ((name, arguments),) = value.items()
    if name == "tensor":
        dtype = getattr(torch, arguments["dtype"])
        values = torch.tensor(arguments["values"], dtype=dtype, device="cpu")
        if "counts" not in arguments:
            return values
        counts = torch.tensor(arguments["counts"], dtype=torch.int64, device="cpu")
        return values.repeat_interleave(counts).reshape(arguments["shape"])
    if name not in _KINDS:
        raise TargetError(f"There is no target {name!r}; one of {', '.join(_KINDS)} was expected.")
    return _KINDS[name](**{key: target_from_plain(each) for key, each in arguments.items()})


def _as_plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, GivenClasses):
        return _as_plain(value.value)
    if isinstance(value, list | tuple):
        return list(map(_as_plain, value))
    name = type(value).__name__
    if type(value) in _KINDS.values():
        arguments = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: {key: _as_plain(each) for key, each in arguments.items()}}
    plain = _tensor_as_plain(as_tensor(value)) if hasattr(value, "__array__") else None
    if plain is not None:
        return plain
    what = getattr(value, "__name__", name)
    raise TargetError(
        f"A target with {what!r} in it cannot be written as text. Classes, limelight's own targets "
        f"tensors of up to {_MOST_NUMBERS} numbers, and masks can."
    )


def _tensor_as_plain(tensor: Tensor) -> Any:
    """Return a tensor as plain values, a number if it has no axis; None if it is too large."""
    tensor = tensor.detach().cpu()
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.ndim == 0:
        return tensor.tolist()
    if tensor.numel() <= _MOST_NUMBERS:
        return {"tensor": {"values": tensor.tolist(), "dtype": dtype}}
    values, counts = torch.unique_consecutive(tensor, return_counts=True)
    if len(values) > _MOST_NUMBERS / 2:
        return None
    rows = {"values": values.tolist(), "counts": counts.tolist(), "shape": list(tensor.shape)}
    return {"tensor": {**rows, "dtype": dtype}}
