"""A method applied to a cut: its map, judged and finished, as an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from limelight import fusion
from limelight.errors import MethodError
from limelight.evidence import Combine, contributions, total
from limelight.explanation import Explanation
from limelight.finish import onto_picture
from limelight.inputs import ModelInputs, map_tensors
from limelight.layers.sites import INPUT, Layer
from limelight.methods import METHODS, Method
from limelight.methods.spectral import leading
from limelight.methods.views import View, Views
from limelight.options import Options
from limelight.recipe import Part, Recipe
from limelight.runtime.cut import Cut, cut_layers
from limelight.status import map_status, to_heatmap
from limelight.target_evidence import TargetEvidence
from limelight.targets import FixedScore
from limelight.targets.box_table import mirrored
from limelight.targets.outputs import Detected


def check_options(options: Options, method: Method) -> None:
    """Refuse options that do not go together with a method."""
    if options.eigen and not method.by_channel:
        having = ", ".join(name for name, row in METHODS.items() if row.by_channel)
        raise MethodError(
            f"Eigen smoothing needs a map that is a sum over channels; that of {method.name!r} "
            f"is not. It goes with {having}."
        )
    if options.differentiable and (options.eigen or not _carries_graph(method)):
        able = ", ".join(name for name, row in METHODS.items() if _carries_graph(row))
        raise MethodError(
            f"The map of {method.name!r}{' with eigen=True' if options.eigen else ''} cannot be "
            f"differentiated by the parameters. differentiable=True goes with {able}."
        )


def _carries_graph(method: Method) -> bool:
    """Say whether a method's map is differentiable by what it is made of.

    Leading components are not: their derivative is infinite where channels are dead.
    """
    smooth = method.family not in ("control", "spectral")
    return smooth and method.needs <= {"gradients", "curvature"}


def place(method: Method, layer: Layer | None) -> Layer | None:
    """Return where to cut for a method, given the layer that was named.

    Raises:
        MethodError: One was named, and the method reads the whole network.
    """
    if method.place == "layer" or (method.place == "input" and layer is not None):
        return layer
    if layer not in (None, INPUT):
        raise MethodError(
            f"{method.name!r} reads the whole network, so no layer can be named for it. Leave "
            "layer out."
        )
    return INPUT


def cut_for(
    model: nn.Module,
    inputs: ModelInputs,
    methods: Sequence[Method],
    layers: Sequence[Layer | None],
    options: Options,
) -> list[Cut]:
    """Run the model once, cut at the layers, with a graph at the input only if one is read."""
    follow = any("gradients" in method.needs for method in methods)
    return cut_layers(model, inputs, layers, options, follow_input=follow)


def apply_method(
    gathered: TargetEvidence, method: Method, combine: Combine | None = None
) -> Explanation:
    """Apply a method to what is known of a cut and a target.

    1. The method makes a raw map of the evidence; with views, of each view, and they are joined.
    2. The status says whether the map shows something.
    3. ReLU, resize and normalise make the heatmap.

    With `combine`, which must do the same as the default, something can be noted of what the method
    adds up.
    """
    cut, scores, options = gathered.cut, gathered.scores, gathered.options
    name, completeness_gap = str(method), None
    if options.eigen:
        name = f"{name}, eigen"
    with torch.inference_mode(False), torch.set_grad_enabled(options.differentiable):
        score = scores.values if options.differentiable else scores.values.detach()
        # 1. The raw map.
        if options.views is None:
            evidence = gathered.evidence(method.needs, combine or _combine(options))
            raw, connections = method.raw(evidence), gathered.connections(method.needs)
            on_grid = raw.shape[1:] == evidence.activations.shape[2:]
            span = cut.layout.span if on_grid else ()
            if method.sums_to is not None and not options.eigen:
                completeness_gap = _completeness_gap(gathered, method, raw)
        else:
            raw, connections = _over_views(gathered, method, options.views)
            span = ()
            name = f"{name}, {options.views.name}"
        # 2. The status.
        status = map_status(
            raw,
            score,
            connections,
            method=method.name,
            layer=cut.layer,
            why=lambda: cut.why_disconnected(scores),
        )
        # 3. The heatmap.
        heatmap = to_heatmap(raw, cut.image.shape[2:], status, span)
    return Explanation(
        raw=raw,
        heatmap=heatmap,
        score=score,
        index=scores.indices,
        label=scores.labels,
        status=status,
        method=name,
        layer=cut.layer,
        reason=cut.reason,
        image=cut.image,
        output=cut.output,
        completeness_gap=completeness_gap,
        region=scores.region,
        span=span,
        recipe=Recipe((Part(gathered.target, method, cut.layer, options.to_repeat()),)),
    )


def _combine(options: Options) -> Combine:
    """Return how contributions become one map: their sum, or their first component."""
    return (lambda w, v: leading(contributions(w, v))) if options.eigen else total


def _completeness_gap(gathered: TargetEvidence, method: Method, raw: Tensor) -> Tensor:
    """Return how far a map is from what it should sum to, as a share, `[B]`."""
    assert method.sums_to is not None
    gathered.progress = None  # the map is done
    due = method.sums_to(gathered.evidence(method.needs), **method.options)
    left = (raw.flatten(1).sum(1) - due).abs()
    return torch.where(left > 0, left / due.abs(), 0)


def _over_views(
    gathered: TargetEvidence, method: Method, views: Views
) -> tuple[Tensor, Sequence[Tensor]]:
    """Return the raw map of a method over several looks, and what connects score and map in one."""
    cut, again = gathered.cut, gathered.scores.again
    image = cut.image
    options = replace(gathered.options, views=None, progress=None)
    maps, scores, connections = list[Tensor](), list[Tensor](), list[Tensor]()
    looks = views.make(image.shape)
    for number, view in enumerate(looks, start=1):

        def read(output: Any, rows: Tensor, view: View = view) -> Tensor:
            def back(tensor: Tensor) -> Tensor:
                spatial = tensor.ndim == image.ndim and len(tensor) == len(rows)
                return view.back(tensor) if spatial else tensor

            if isinstance(output, Detected):
                output = mirrored(output, view.turned, image.shape)
            elif views.spatial:
                output = map_tensors(output, back)
            return again(output, rows)

        other = TargetEvidence(cut.on(view.change(image)), FixedScore(read), options)
        raw = method.raw(other.evidence(method.needs, _combine(options)))
        maps.append(view.back(onto_picture(raw, cut.layout.span)))
        scores.append(other.scores.values)
        connections = connections or list(other.connections(method.needs))
        if gathered.progress:
            gathered.progress(number, len(looks))
    return views.join(torch.stack(maps), torch.stack(scores).detach()), connections


def follow(recipe: Recipe, model: nn.Module, inputs: ModelInputs, score: FixedScore) -> Explanation:
    """Explain other images, or another model, in the same way; `score` is read off the output."""
    explanations = []
    for part in recipe.parts:
        layers = [place(part.method, part.layer)]
        (cut,) = cut_for(model, inputs, [part.method], layers, part.options)
        evidence = TargetEvidence(cut, score, part.options)
        explanations.append(apply_method(evidence, part.method))
    return explanations[0] if len(explanations) == 1 else fusion.fuse(explanations, recipe.fuse)
