"""The gradient of a score at several layers, whatever the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limelight.errors import QUANTISED, LayerError, MethodError
from limelight.inputs import ModelInputs
from limelight.layers import INPUT, Layout
from limelight.layers.resolved import Layer
from limelight.options import Options
from limelight.runtime.autograd import differentiate
from limelight.runtime.forward import run_pass
from limelight.runtime.output_layout import layout_of_output
from limelight.targets import Scores, Target, as_target


class LayerGradient(NamedTuple):
    """A layer's output, and the gradient of the score there.

    Attributes:
        layer: The layer's dotted path; "<input>" for the images.
        kind: The type of the module, by name.
        reason: Why this layer.
        activations: The output, as the layer put it out, `[B, ...]`.
        gradients: `d score_b / d activations`, of the same shape; zero where the score does not
            depend on them.
        layout: How both become a grid over the image; None if they cannot.
    """

    layer: str
    kind: str
    reason: str
    activations: Tensor
    gradients: Tensor
    layout: Layout | None


def layer_gradients(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[Layer | None],
    target: Target,
    options: Options,
) -> tuple[Scores, list[LayerGradient]]:
    """Run a model once, and differentiate the score at several layers, whatever their shapes.

    Raises:
        MethodError: The network is quantised.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `cut`.
    """
    run, outputs = run_pass(model, inputs, layers, options, asked=[as_target(target)])
    with torch.inference_mode(False), torch.enable_grad():
        scores = as_target(target).score(run.output, run.context)
        gradients = differentiate(scores.values.sum(), [output.tensor for output in outputs])
    if run.traits.quantised and not any(gradient.any() for gradient in gradients):
        raise MethodError(QUANTISED)
    at_layers = []
    for (layer, reason, tensor), gradient in zip(outputs, gradients, strict=True):
        try:
            layout = layout_of_output(tensor, layer, run).layout
        except LayerError:  # a vector or a window: no grid, but it can still be shown
            layout = None
        kind = "" if layer.path == INPUT else type(layer.module).__name__
        at_layers.append(
            LayerGradient(layer.name, kind, reason, tensor.detach(), gradient.detach(), layout)
        )
    return scores, at_layers
