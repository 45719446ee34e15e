"""What a pass knows before it runs. It depends on the model and on shapes, and is kept for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from limelight.inputs import ModelInputs, tensors
from limelight.layers import INPUT, Layout, resolve
from limelight.layers.sites import Layer
from limelight.runtime.model_cache import model_cache
from limelight.runtime.record import choose
from limelight.runtime.traits import Traits, traits_of
from limelight.runtime.unbatched import mark_unbatched_inputs
from limelight.targets.outputs import OutputSpec

#: How many plans are kept for a model: for so many shapes and layers.
_KEPT = 64


class Plan(NamedTuple):
    """What a pass knows before it runs.

    Attributes:
        fixed: Which tensors of the inputs are not one for each image.
        layers: The path of each layer to cut at, and why there.
        traits: What is known of the network by its modules.
        words: Whether the network is given words too: whole numbers `[B, N]`.
        layouts: How outputs of layers become grids, by layer and shape; it grows with every pass.
    """

    fixed: frozenset[int]
    layers: tuple[tuple[str, str], ...]
    traits: Traits
    words: bool
    layouts: dict[tuple[str, torch.Size], Layout]


def plan_pass(
    model: nn.Module, inputs: ModelInputs, layers: Sequence[Layer | None], spec: OutputSpec
) -> Plan:
    """Return the plan for a model, inputs of these shapes, and layers; make it the first time.

    Raises:
        UnknownNameError, LayerError, ModelError: As `cut`.
    """
    cache = model_cache(model)
    plans: dict[object, Plan] = cache.setdefault("plans", {})
    named = tuple(
        layer if layer is None or isinstance(layer, str) else id(layer) for layer in layers
    )
    key = inputs.signature, inputs.batch, named, spec.key, spec.grid
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _KEPT:
            plans.clear()
        plan = plans[key] = _plan(model, inputs, layers, spec)
    return plan


def _plan(
    model: nn.Module, inputs: ModelInputs, layers: Sequence[Layer | None], spec: OutputSpec
) -> Plan:
    inputs = mark_unbatched_inputs(model, inputs, spec)
    found = list[tuple[str, str]]()
    for layer in layers:
        if layer is None:
            choice = choose(model, inputs, spec)
            found.append((resolve(model, choice.layer).name, choice.reason))
        else:
            reason = "what the method reads" if layer == INPUT else "named"
            found.append((resolve(model, layer).name, reason))
    words = any(
        t.ndim == 2 and not t.is_floating_point() and t.dtype != torch.bool
        for t in tensors((inputs.args, inputs.kwargs))
    )
    return Plan(inputs.fixed, tuple(found), traits_of(model), words, {})
