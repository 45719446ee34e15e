"""Inputs beside the images that are not one for each image."""

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


def mark_unbatched_inputs(model: nn.Module, given: ModelInputs, reading: OutputSpec) -> ModelInputs:
    """Return the inputs, knowing which of them go with the images, one for each.

    Two prompts for two images do not. That is found by trying: where the first image with all the
    prompts gives what it gives among all the images, they do not go with the images.
    """
    if not given.beside:
        return given
    facts, key = model_cache(model), ("fixed", given.signature, given.batch, reading.key)
    fixed = facts.get(key)
    if fixed is None:
        tried = (frozenset(given.beside), *(frozenset([one]) for one in given.beside))
        alike = (f for f in tried if _stays_the_same(model, replace(given, fixed=f), reading))
        fixed = facts[key] = next(alike, frozenset())
    return replace(given, fixed=fixed)


def _stays_the_same(model: nn.Module, given: ModelInputs, reading: OutputSpec) -> bool:
    """Say whether the first image alone gives what it gives among all the images."""
    outputs = []
    with no_grad():
        for some in (given, given.first(1)):
            try:
                outputs.append(find_logits(run_network(model, some.fresh()), reading.key))
            except Exception:  # of any kind: the model does not take that
                return False
    whole, alone = outputs
    if whole.shape[:1] != (given.batch,) or alone.shape != (1, *whole.shape[1:]):
        return False
    return torch.allclose(alone, whole[:1], rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
