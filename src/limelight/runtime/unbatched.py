"""Which of the model's input tensors, besides the images, are not one per image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from limelight.inputs import ModelInputs
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import run_network
from limelight.runtime.model_cache import model_cache
from limelight.targets import OutputSpec
from limelight.targets.outputs import find_logits


def mark_unbatched_inputs(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> ModelInputs:
    """Return the inputs, with those tensors marked that are not one per image.

    Two prompts for two images may be one per image, or both for each. A trial decides: if the first
    image alone, with all prompts, gives the same output as among all images, then the prompts are
    not one per image.
    """
    if not inputs.maybe_batched:
        return inputs
    cache = model_cache(model, spec.key)
    key = "unbatched", inputs.signature, inputs.batch, spec.hashable_key
    unbatched = cache.get(key)
    if unbatched is None:
        candidates = (
            frozenset(inputs.maybe_batched),
            *(frozenset([number]) for number in inputs.maybe_batched),
        )
        confirmed = (
            f for f in candidates if _stays_the_same(model, replace(inputs, unbatched=f), spec)
        )
        unbatched = cache[key] = next(confirmed, frozenset())
    return replace(inputs, unbatched=unbatched)


def _stays_the_same(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> bool:
    """Return whether the first image alone gives the output that it has among all images."""
    outputs = []
    with no_grad():
        for variant in (inputs, inputs.first(1)):
            try:
                outputs.append(find_logits(run_network(model, variant.clone()), spec.key))
            except Exception:  # whatever it is: the model does not take these inputs
                return False
    whole, alone = outputs
    if whole.shape[:1] != (inputs.batch,) or alone.shape != (1, *whole.shape[1:]):
        return False
    return torch.allclose(alone, whole[:1], rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
