"""Passes with a graph through the whole network, for evidence that is not at a single layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import BiasGradient
from limelight.layers import Layout
from limelight.layers.tracks import Anchor
from limelight.pixels import input_problem
from limelight.runtime.autograd import differentiate, node_of, with_graph
from limelight.runtime.execution import run_network
from limelight.runtime.forward import Pass
from limelight.runtime.lineage import read_lineage
from limelight.runtime.record import token_layouts
from limelight.runtime.rules import GuidedReLU, KeepBiases, KeptBias, Rule
from limelight.runtime.scripted import is_scripted
from limelight.targets import Scores


def guided_gradients(run: Pass, scores: Scores) -> Tensor:
    """Return the guided gradient at the images, `[B, C, *image]`."""
    rule = GuidedReLU()
    refuse_whole_numbers(run.inputs.image)
    total, image = _rerun_under_rule(run, scores, rule)
    if not rule.relus:
        raise MethodError(
            "Guided backpropagation changes the gradient of ReLUs, and this network runs none "
            "(GELU and SiLU are others). Use 'input-x-gradient' or 'smoothgrad'."
        )
    return differentiate(total, [image], retain=False)[0]


def bias_gradients(run: Pass, scores: Scores) -> list[BiasGradient]:
    """Return `b_l * dy_c/dz_l` of every layer with a bias and a grid, `[B, K_l, *grid_l]`."""
    rule = KeepBiases()
    refuse_whole_numbers(run.inputs.image)
    total, image = _rerun_under_rule(run, scores, rule)
    anchors = [Anchor(n, shape=tuple(kept.output.shape)) for n, kept in enumerate(rule.kept)]
    nodes = [node_of(kept.output) for kept in rule.kept]
    tracks = read_lineage(nodes, anchors, 0, (node_of(image), image.shape)).tracks
    gradients = differentiate(total, [kept.output for kept in rule.kept], retain=False)
    on_grids, token_layouts = [], _token_layouts(run)
    for kept, track, gradient in zip(rule.kept, tracks, gradients, strict=True):
        layout = track.layout or _layout(run, kept, token_layouts)
        if layout is not None:
            axes = 0 if kept.last else gradient.ndim - 2
            values = gradient * kept.bias.reshape(*kept.bias.shape, *[1] * axes)
            on_grids.append(BiasGradient(layout.to_grid(values), layout.span))
    return on_grids


def _rerun_under_rule(run: Pass, scores: Scores, rule: Rule) -> tuple[Tensor, Tensor]:
    """Run the network again under a rule; return the sum of scores, and the images as a leaf."""
    refuse_scripted(run)
    with with_graph():
        image = _image_in_graph(run)
        inputs = run.inputs.on(image.clone())
        with rule:
            output = run_network(run.model, inputs)
        values = scores.read_again(output, torch.arange(inputs.batch, device=image.device))
        return values.sum(), image


def _image_in_graph(run: Pass) -> Tensor:
    """Return the images as a leaf of the graph, unless they are whole numbers."""
    image = run.inputs.image.clone()
    return image.requires_grad_() if image.is_floating_point() else image


def refuse_whole_numbers(image: Tensor) -> None:
    """Raise an error if images cannot be differentiated by, as they are whole numbers."""
    problem = input_problem(image, requires_grad=True)
    if problem:
        raise MethodError(problem)


def refuse_scripted(run: Pass) -> None:
    """Raise an error if part of the network is scripted, as a rule does not reach inside it."""
    part = next((path for path, m in run.model.named_modules() if is_scripted(m)), None)
    if part is not None:
        raise MethodError(
            f"The method reads what every layer computes, and the inside of {part!r}, a "
            "ScriptModule, cannot be seen. Pass the eager model that it was scripted or traced "
            "from, or use 'gradcam' or 'saliency'."
        )


def _token_layouts(run: Pass) -> dict[int, Layout]:
    """Return the network's token layouts, by the number of tokens N."""
    return token_layouts(run.model, run.inputs, run.spec)


def _layout(run: Pass, kept: KeptBias, token_layouts: Mapping[int, Layout]) -> Layout | None:
    """Return how an output becomes a grid; None if it cannot."""
    shape, axes = kept.output.shape, run.inputs.image.ndim
    if shape[0] != run.inputs.batch or len(shape) < 3:
        return None
    if len(shape) == axes:
        channels_last = kept.last and kept.bias.ndim == 1
        kind: Literal["channels first", "channels last"]
        kind = "channels last" if channels_last else "channels first"
        return Layout(kind, tuple(shape[1:-1] if channels_last else shape[2:]))
    return token_layouts.get(shape[1]) if len(shape) == 3 else None
