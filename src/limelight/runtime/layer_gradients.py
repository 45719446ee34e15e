"""The gradient of a score at several layers of any shape, from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limelight.errors import QUANTISED, LayerError, MethodError
from limelight.inputs import ModelInputs
from limelight.layers import INPUT, Layout
from limelight.layers.sites import Layer
from limelight.options import Options
from limelight.runtime.autograd import differentiate
from limelight.runtime.forward import run_pass
from limelight.runtime.place import layout_at
from limelight.targets import Scores, Target, score


class LayerGradient(NamedTuple):
    """What a layer put out, and the gradient of the score there.

    Attributes:
        layer: The layer's dotted path; "<input>" for the images.
        kind: What the module is called.
        reason: Why this layer.
        activations: What it put out, as it did, `[B, ...]`.
        gradients: `d score_b / d` that, of the same shape; zero where the score does not depend on
            it.
        layout: How both become a grid over the image; None when they do not.
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
    """Run a model once, and differentiate the score at several layers, of any shape.

    Raises:
        MethodError: The network is quantised.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `cut`.
    """
    run, outputs = run_pass(model, inputs, layers, options)
    with torch.inference_mode(False), torch.enable_grad():
        scores = score(run.output, target, run.context)
        gradients = differentiate(scores.values.sum(), [output.raw for output in outputs])
    if run.traits.quantised and not any(gradient.any() for gradient in gradients):
        raise MethodError(QUANTISED)
    found = []
    for (site, reason, raw), gradient in zip(outputs, gradients, strict=True):
        try:
            layout = layout_at(raw, site, run)
        except LayerError:  # a vector, a window: what it put out can be shown for all that
            layout = None
        kind = "" if site.path == INPUT else type(site.module).__name__
        found.append(
            LayerGradient(site.name, kind, reason, raw.detach(), gradient.detach(), layout)
        )
    return scores, found
