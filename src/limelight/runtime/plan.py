"""The decisions before a pass, cached for the model and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from limelight.inputs import ModelInputs
from limelight.layers import INPUT, Layout, resolve
from limelight.layers.resolved import Layer
from limelight.runtime.model_cache import model_cache
from limelight.runtime.record import chosen_layer
from limelight.runtime.traits import Traits, traits_of
from limelight.runtime.unbatched import mark_unbatched_inputs
from limelight.targets import ScoreTarget
from limelight.targets.outputs import OutputSpec
from limelight.targets.target import what_is_read

#: How many plans are kept per model; then all are dropped.
_MOST_PLANS = 64


class PlacedLayout(NamedTuple):
    """How a layer's output becomes a grid, and the picture that the grid lies on.

    Attributes:
        layout: The layout.
        picture: The number of the picture's tensor among the model's input tensors.
        reads_words: Whether the layer's output depends on the sentences among the inputs.
    """

    layout: Layout
    picture: int
    reads_words: bool = True


class Plan(NamedTuple):
    """The decisions before a pass.

    It serves all passes over inputs of the same shapes, cut at the same layers.

    Attributes:
        unbatched: The numbers of the input tensors that are not one per image.
        layers: For each layer to cut at, its path and the reason for it.
        traits: What the network's modules tell about it.
        words: Whether the inputs include words: integers `[B, N]`.
        layouts: How layers' outputs become grids, by layer and shape. It is empty before the first
            pass, which adds the layouts that it finds.
        layouts_by_others: The same for layouts that may hang on the values of the other inputs:
            those values, as bytes, and the layout that was found for them last.
    """

    unbatched: frozenset[int]
    layers: tuple[tuple[str, str], ...]
    traits: Traits
    words: bool
    layouts: dict[tuple[str, torch.Size], PlacedLayout]
    layouts_by_others: dict[tuple[str, torch.Size], tuple[tuple[object, ...], PlacedLayout]]


def plan_pass(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[Layer | None],
    spec: OutputSpec,
    asked: Sequence[ScoreTarget] = (),
) -> Plan:
    """Return the plan for a model, inputs of these shapes, and layers; it is made only once.

    A layer that is not named is chosen for the targets that are `asked`.

    Raises:
        UnknownNameError, LayerError, ModelError: As `cut`.
    """
    cache = model_cache(model, spec.key)
    plans: dict[object, Plan] = cache.setdefault("plans", {})
    named = tuple(
        layer if layer is None or isinstance(layer, str) else id(layer) for layer in layers
    )
    read = what_is_read(asked) if None in layers else frozenset()
    key = inputs.signature, inputs.batch, named, spec.hashable_key, spec.grid, read
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plan = plans[key] = _plan(model, inputs, layers, spec, asked)
    return plan


def _plan(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[Layer | None],
    spec: OutputSpec,
    asked: Sequence[ScoreTarget],
) -> Plan:
    inputs = mark_unbatched_inputs(model, inputs, spec)
    paths = list[tuple[str, str]]()
    for layer in layers:
        if layer is None:
            choice = chosen_layer(model, inputs, spec, asked)
            paths.append((resolve(model, choice.layer).name, choice.reason))
        else:
            reason = "what the method reads" if layer == INPUT else "named"
            paths.append((resolve(model, layer).name, reason))
    return Plan(inputs.unbatched, tuple(paths), traits_of(model), inputs.words, {}, {})
