"""Which of the model's input tensors, besides the images, are not one per image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import run_network
from limelight.runtime.model_cache import model_cache
from limelight.targets import OutputSpec
from limelight.targets.outputs import find_logits


def mark_unbatched_inputs(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> ModelInputs:
    """Return the inputs, with those tensors marked that are not one per image.

    Two prompts for two images may be one per image, or both for each. Trials decide: all tensors
    are one per image if fewer and more images then have the same outputs as they have together.
    Else those are not that can stay as they are. It is asked in this order, as a mask of sentences
    without padding changes nothing, whatever it is taken for.
    """
    if not inputs.maybe_batched:
        return inputs
    cache = model_cache(model, spec.key)
    key = "unbatched", inputs.signature, inputs.batch, spec.hashable_key
    unbatched = cache.get(key)
    if unbatched is None:
        candidates = (
            frozenset[int](),
            frozenset(inputs.maybe_batched),
            *(frozenset([number]) for number in inputs.maybe_batched),
        )
        confirmed = (
            f for f in candidates if _stays_the_same(model, replace(inputs, unbatched=f), spec)
        )
        unbatched = cache[key] = next(confirmed, frozenset())
    return replace(inputs, unbatched=unbatched)


def _stays_the_same(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> bool:
    """Return whether images have the output that they have together, as fewer and as more."""
    batch = inputs.batch
    with no_grad():
        whole = _logits(model, inputs, spec)
        if whole is None or whole.shape[:1] != (batch,):
            return False
        for count in (1, batch + 1):
            rows = torch.arange(count, device=whole.device) % batch
            other = _logits(model, inputs.first(count), spec)
            if other is None or other.shape != (count, *whole.shape[1:]):
                return False
            tolerance = 1e-5 * float(whole.abs().max())
            if not torch.allclose(other, whole[rows], rtol=1e-3, atol=tolerance):
                return False
    return True


def _logits(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> Tensor | None:
    """Return the logits for some inputs; None if the model does not take them."""
    try:
        return find_logits(run_network(model, inputs.clone()), spec.key)
    except Exception:  # whatever it is
        return None
