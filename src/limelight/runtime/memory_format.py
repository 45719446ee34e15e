"""Whether images should lie channels last in memory."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs, tensors
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import run_network
from limelight.runtime.model_cache import model_cache
from limelight.runtime.unwrap import unwrap
from limelight.targets.outputs import returned

#: What convolutions of other layouts than channels first are made for.
_FASTER = (torch.float32, torch.bfloat16, torch.float16)


def suits_channels_last(model: nn.Module, given: ModelInputs) -> bool:
    """Say whether images should lie channels last in memory.

    Convolutions on a CPU are faster so, mostly by a quarter. A network that takes it for granted
    how its tensors lie fails, or makes something else of it; so the first image is run both ways,
    once, and has to give the same.
    """
    model, image = unwrap(model), given.image
    if image.ndim != 4 or image.device.type != "cpu" or image.dtype not in _FASTER:
        return False
    facts, key = model_cache(model), ("channels last", given.signature)
    known: bool | None = facts.get(key)
    if known is None:
        convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
        known = facts[key] = convolves and _same_either_way(model, given.first(1))
    return known


def _same_either_way(model: nn.Module, first: ModelInputs) -> bool:
    outputs = list[list[Tensor]]()
    for layout in (torch.contiguous_format, torch.channels_last):
        lying = first.on(first.image.contiguous(memory_format=layout))
        with no_grad(), suppress(RuntimeError):
            outputs.append(tensors([returned(run_network(model, lying))]))
    same = len(outputs) == 2 and len(outputs[0]) == len(outputs[1])
    return same and all(map(_alike, *outputs))


def _alike(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point() or not one.numel():
        return torch.equal(one, other)
    room = torch.finfo(one.dtype).eps ** 0.5 * one.abs().max()
    return bool(((one - other).abs() <= room).all())
