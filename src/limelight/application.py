"""Which method explains a score, where it cuts, and the map that it makes there."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from limelight import fusion
from limelight.errors import MethodError
from limelight.evidence import Combine, Evidence, contributions, total
from limelight.explanation import Explanation
from limelight.finish import AxisSpan, onto_picture
from limelight.inputs import ModelInputs, map_tensors
from limelight.layers.resolved import INPUT, Layer
from limelight.methods import METHODS, Method
from limelight.methods.spectral import leading
from limelight.methods.views import View, Views
from limelight.options import Options
from limelight.pixels import as_pixels, in_floating_point
from limelight.recipe import Part, Recipe
from limelight.runtime.cut import Cut, cut_layers
from limelight.status import map_status, to_heatmap
from limelight.target_evidence import TargetEvidence
from limelight.targets import FixedScore, Scores, ScoreTarget
from limelight.targets.box_table import mirrored
from limelight.targets.outputs import Detected

_log = logging.getLogger(__name__)

#: The default method, and that of a score that is read at one place. They read the same evidence.
DEFAULT = METHODS["gradcam"]
DEFAULT_AT_ONE_PLACE = METHODS["hirescam"]


def method_for(scores: Scores, named: Method | None) -> Method:
    """Return the method that was named, or the default for a score.

    Grad-CAM's weights are means over the whole picture, so they say little about a score that is
    read at one place of it, such as that of a box. HiRes-CAM weighs each place by itself.
    """
    return named or (DEFAULT_AT_ONE_PLACE if scores.at_one_place else DEFAULT)


def check_method_options(options: Options, method: Method) -> None:
    """Raise an error for options that do not go together with the method."""
    if options.eigen and not method.by_channel:
        names = ", ".join(name for name, row in METHODS.items() if row.by_channel)
        raise MethodError(
            f"Eigen smoothing needs a map that is a sum over channels; that of {method.name!r} "
            f"is not. It goes with {names}."
        )
    if options.differentiable and (options.eigen or not _carries_graph(method)):
        names = ", ".join(name for name, row in METHODS.items() if _carries_graph(row))
        raise MethodError(
            f"The map of {method.name!r}{' with eigen=True' if options.eigen else ''} cannot be "
            f"differentiated by the parameters. differentiable=True goes with {names}."
        )


def _carries_graph(method: Method) -> bool:
    """Return whether a method's map can be differentiated by the model's parameters.

    A map of leading components cannot: its derivative is infinite where channels are zero. Nor can
    a map from evidence that comes without a graph to the parameters, such as runs of the head.
    """
    smooth = method.family not in ("control", "spectral")
    return smooth and method.needs <= {"gradients", "curvature"}


def layer_to_cut(method: Method, layer: Layer | None) -> Layer | None:
    """Return where to cut for a method: at the layer that the user named, or at the input.

    None stands for the layer that limelight chooses.

    Raises:
        MethodError: A layer was named, but the method reads the whole network.
    """
    if method.place == "layer" or (method.place == "input" and layer is not None):
        return layer
    if layer not in (None, INPUT):
        raise MethodError(
            f"{method.name!r} reads the whole network, so no layer can be named for it. Leave "
            "layer out."
        )
    return INPUT


def cut_for_methods(
    model: nn.Module,
    inputs: ModelInputs,
    methods: Sequence[Method],
    layers: Sequence[Layer | None],
    options: Options,
    asked: Sequence[ScoreTarget] = (),
    watched: Sequence[Layer] = (),
) -> list[Cut]:
    """Run the model once, cut at the layers; a graph begins at the input only if a method needs it.

    Args:
        model, inputs, layers, options: As in `cut_layers`.
        methods: The methods that will be applied at a cut at the input, if there is one.
        asked: The targets that a layer is chosen for, where none is named.
        watched: Those of the layers at which no graph begins; their activations alone are read.
    """
    # By whole numbers nothing can be differentiated; the methods that need it say so.
    floating = inputs.image.is_floating_point()
    need_gradients = floating and any("gradients" in method.needs for method in methods)
    return cut_layers(
        model,
        inputs,
        layers,
        options,
        asked=asked,
        input_requires_grad=need_gradients,
        watched=watched,
    )


def apply_where_connected(
    target_evidence: TargetEvidence,
    method: Method,
    others: list[Cut],
    combine: Combine | None = None,
) -> Explanation:
    """Apply a method at the layer that limelight chose, or at another if the score skips that.

    A layer is remembered for what a target reads. Another image may have its score elsewhere, as a
    detector's box may lie on another level of the pyramid. Such cuts are put into `others`, which
    the next target tries first. `combine` is that of `apply_method`.
    """
    skipped = target_evidence.skipped(method.needs)
    evidence = target_evidence
    if skipped:
        instead = target_evidence.cut.elsewhere(target_evidence.scores, skipped[0])
        for cut in chain(tuple(others), instead):
            other = TargetEvidence(cut, target_evidence.target, target_evidence.options)
            if len(other.skipped(method.needs)) < len(skipped):
                evidence = other
                evidence.begin(str(method))
                others += [] if cut in others else [cut]
                break
    return apply_method(evidence, method, combine)


def apply_method(
    target_evidence: TargetEvidence, method: Method, combine: Combine | None = None
) -> Explanation:
    """Apply a method to the evidence on a cut and a target.

    1. The method makes a raw map from the evidence; with views, one from each view, and these are
       joined.
    2. The status says whether the map shows something.
    3. ReLU, resize and normalise make the heatmap.

    Args:
        target_evidence: The evidence on a cut and a target.
        method: The method.
        combine: How weights and values become one map; None for what the options say. The
            walkthrough passes a function that also notes what the method adds up.
    """
    cut, scores, options = target_evidence.cut, target_evidence.scores, target_evidence.options
    name, completeness_gap, started = str(method), None, time.perf_counter()
    if options.eigen:
        name = f"{name}, eigen"
    with torch.inference_mode(False), torch.set_grad_enabled(options.differentiable):
        score = scores.values if options.differentiable else scores.values.detach()
        # 1. The raw map.
        if options.views is None:
            evidence = target_evidence.evidence(method.needs, combine or _combine(options))
            raw, connections = method.raw(evidence), target_evidence.connections(method)
            span, highest = _span_of(raw, evidence, target_evidence, method), _highest(raw)
            if method.sums_to is not None and not options.eigen:
                completeness_gap = _completeness_gap(target_evidence, method, raw)
        else:
            raw, connections, highest = _over_views(target_evidence, method, options.views)
            span = ()
            name = f"{name}, {options.views.name}"
        # 2. The status.
        status = map_status(
            raw,
            score,
            connections,
            cancelled=target_evidence.cancelled(method),
            summed_over=method.sums_over,
            all_left_out=highest <= 0 if _keeps_positive(method, options) else None,
            method=name,
            layer=cut.layer,
            grid=None if cut.layer == INPUT else cut.layout.grid,
            why=target_evidence.why_disconnected,
        )
        # 3. The heatmap.
        heatmap = to_heatmap(raw, cut.image.shape[2:], status, span)
    seconds = time.perf_counter() - started
    _log.info(
        "%s at %s: %.3f s, %s", name, cut.layer, seconds, ", ".join(each.name for each in status)
    )
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
        picture=cut.picture,
        recipe=Recipe((Part(target_evidence.target, method, cut.layer, options.to_repeat()),)),
    )


def _highest(raw: Tensor) -> Tensor:
    """Return the highest value of each map, `[B]`."""
    return raw.flatten(1).amax(1)


def _span_of(
    raw: Tensor, evidence: Evidence, target_evidence: TargetEvidence, method: Method
) -> tuple[AxisSpan, ...]:
    """Return where a raw map lies on the picture: its grid is the activations', or the tokens'."""
    for found in target_evidence.attention_read(method):
        return found.layout.span
    if "word logits" in evidence.found:
        return evidence.word_logits.layout.span
    on_grid = raw.shape[1:] == evidence.activations.shape[2:]
    return evidence.span if on_grid else ()


def _combine(options: Options) -> Combine:
    """Return how contributions become one map: their sum, or their first principal component."""
    return (lambda w, v: leading(contributions(w, v))) if options.eigen else total


def _keeps_positive(method: Method, options: Options) -> bool:
    """Return whether the map leaves out what speaks against the score."""
    views = options.views
    return method.keeps_positive or (views is not None and views.keeps_positive)


def _completeness_gap(target_evidence: TargetEvidence, method: Method, raw: Tensor) -> Tensor:
    """Return how far the sum of a map is from its expected value, as a share of it, `[B]`."""
    assert method.sums_to is not None
    target_evidence.progress = None  # the runs for this check are not reported as the method's
    expected = method.sums_to(target_evidence.evidence(method.needs), **method.options)
    gap = (raw.flatten(1).sum(1) - expected).abs()
    return torch.where(gap > 0, gap / expected.abs(), 0)


def _over_views(
    target_evidence: TargetEvidence, method: Method, views: Views
) -> tuple[Tensor, Sequence[Tensor], Tensor]:
    """Return a method's raw map over several views, the first one's connections, the highest value.

    The highest value is that of all views' raw maps, `[B]`.

    1. Change the images as each view does, and cut the network again over them.
    2. Apply the method to each cut. The score is that of the images themselves, read from the
       view's output, in which places are moved back first.
    3. Bring each map back to the images, and join the maps.
    """
    cut, read_again = target_evidence.cut, target_evidence.scores.read_again
    image = cut.image
    options = replace(target_evidence.options, views=None, progress=None)
    maps, scores, connections = list[Tensor](), list[Tensor](), list[Tensor]()
    highest = list[Tensor]()
    all_views = views.make(image.shape)
    for number, view in enumerate(all_views, start=1):

        def read(output: Any, rows: Tensor, view: View = view) -> Tensor:
            def back(tensor: Tensor) -> Tensor:
                spatial = tensor.ndim == image.ndim and len(tensor) == len(rows)
                return view.back(tensor) if spatial else tensor

            if isinstance(output, Detected):
                output = mirrored(output, view.turned, image.shape)
            elif views.spatial:
                output = map_tensors(output, back)
            return read_again(output, rows)

        # 1. The cut over the view.
        changed = as_pixels(view.change(in_floating_point(image)), image.dtype)
        evidence = TargetEvidence(cut.on(changed), FixedScore(read), options)
        # 2. The map of the view.
        view_evidence = evidence.evidence(method.needs, _combine(options))
        raw = method.raw(view_evidence)
        highest.append(_highest(raw))
        # 3. The map of the images.
        span = _span_of(raw, view_evidence, evidence, method)
        maps.append(view.back(onto_picture(raw, span)))
        scores.append(evidence.scores.values)
        connections = connections or list(evidence.connections(method))
        if target_evidence.progress:
            target_evidence.progress(number, len(all_views))
    joined = views.join(torch.stack(maps), torch.stack(scores).detach())
    return joined, connections, torch.stack(highest).amax(0)


def repeat_recipe(
    recipe: Recipe, model: nn.Module, inputs: ModelInputs, score: FixedScore
) -> Explanation:
    """Explain other images, or another model, by the same recipe.

    `score` takes the place of the recipe's targets, so that the classes chosen before stay fixed.
    """
    explanations = []
    for part in recipe.parts:
        layers = [layer_to_cut(part.method, part.layer)]
        (cut,) = cut_for_methods(model, inputs, [part.method], layers, part.options)
        evidence = TargetEvidence(cut, score, part.options)
        explanations.append(apply_method(evidence, part.method))
    return explanations[0] if len(explanations) == 1 else fusion.fuse(explanations, recipe.fuse)
