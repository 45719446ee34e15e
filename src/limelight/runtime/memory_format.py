"""Whether a network should be given images in channels-last memory format."""

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

#: The dtypes for which torch implements convolutions in channels-last format.
_FAST_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def suits_channels_last(model: nn.Module, inputs: ModelInputs) -> bool:
    """Return whether the model runs faster, with the same result, on channels-last images.

    On a CPU convolutions in this format are faster, mostly by a quarter. But a network that relies
    on how its tensors lie in memory fails, or returns something else. So the first image is run in
    both formats, once, and the outputs have to be the same.
    """
    model, image = unwrap(model), inputs.image
    if image.ndim != 4 or image.device.type != "cpu" or image.dtype not in _FAST_DTYPES:
        return False
    cache, key = model_cache(model), ("channels last", inputs.signature)
    suits: bool | None = cache.get(key)
    if suits is None:
        has_convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
        suits = cache[key] = has_convolutions and _same_either_way(model, inputs.first(1))
    return suits


def _same_either_way(model: nn.Module, first: ModelInputs) -> bool:
    outputs = list[list[Tensor]]()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        inputs = first.on(first.image.contiguous(memory_format=memory_format))
        with no_grad(), suppress(RuntimeError):
            outputs.append(tensors([returned(run_network(model, inputs))]))
    same = len(outputs) == 2 and len(outputs[0]) == len(outputs[1])
    return same and all(map(_same_but_rounding, *outputs))


def _same_but_rounding(tensor: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same but for rounding."""
    if tensor.shape != other.shape:
        return False
    if not tensor.is_floating_point() or not tensor.numel():
        return torch.equal(tensor, other)
    tolerance = torch.finfo(tensor.dtype).eps ** 0.5 * tensor.abs().max()
    return bool(((tensor - other).abs() <= tolerance).all())
