"""The sentence: cut -> method -> finish -> Explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import fusion
from limelight.errors import LayerError, LimelightError, MethodError, TargetError
from limelight.evidence import Combine, contributions, total
from limelight.explanation import Explanation
from limelight.finish import onto_picture
from limelight.inputs import Inputs, ModelInputs, input_problem, map_tensors
from limelight.layers import INPUT
from limelight.layers.sites import Layer
from limelight.methods import METHODS, Method, find_method
from limelight.methods.fusing import Fusion, known_fusion
from limelight.methods.spectral import leading
from limelight.methods.views import View, Views
from limelight.options import Options
from limelight.progress import ProgressCallback
from limelight.recipe import Part, Recipe
from limelight.runtime.cut import Cut, cut_given
from limelight.runtime.record import choose
from limelight.runtime.unwrap import unwrap
from limelight.status import map_status, to_heatmap
from limelight.target_evidence import TargetEvidence
from limelight.targets import FixedScore, LogitsKey, Target, output_spec
from limelight.targets.box_table import mirrored
from limelight.targets.outputs import Detected


def explain(
    model: nn.Module,
    inputs: Inputs,
    *,
    target: Target = None,
    method: str | Method = "gradcam",
    layer: Layer | Sequence[Layer] | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    fuse: Fusion = "mean",
    differentiable: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> Explanation:
    """Show what a network looked at: one heatmap per image.

    The raw map is that of the method, by default Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2),
    `L = sum_k alpha_k A_k` with `alpha_k = mean_ij dy_c/dA_k`, `[B, *grid]`; the heatmap is relu,
    resize and normalise of it, `[B, *image]` in [0, 1].

        result = limelight.explain(model, images)
        result = limelight.explain(model, images, target="tabby", layer="features.16")
        result.heatmap, result.raw, result.score, result.status

    Args:
        model: A trained network; used as in evaluation mode and left untouched.
        inputs: Images `[B, C, *image]`, a list of such, or a tuple or dict of what the model takes.
        target: What to explain: a class by index or by name, a list with one per image, a
            `Contrast` or `Counterfactual`, a `Region` of a segmenter, a `Box` of a detector,
            `Words` of a sentence, the `Similarity` of an embedding, any callable from output to
            scores `[B]`, or None for the predicted class (or the most probable object).
        method: A name in METHODS, with options if any as in "rise:masks=1000", or a row of it.
        layer: A dotted path or a module inside the model; several of them, whose maps are fused;
            None to have it chosen, or, for methods of the input, to explain there.
        classes: The names of the classes; a model with 1000 is taken to know ImageNet's.
        output: Which part of what the model returns holds the logits: a key, attribute or index,
            or several joined by dots; or a callable that returns them. None to find them.
        grid: The sizes of the grid along which tokens were cut, when they cannot be found.
        views: Average over several looks at the images: `flips()`, `noise()` or `scales()`.
        eigen: Take, instead of the sum over channels, their first principal component.
        fuse: How the maps of several layers become one: `mean`, `max` or `product`.
        differentiable: Let raw map, heatmap and score carry a graph to the model's parameters, so
            that a loss on where the network looks can be trained.
        chunk: How many variants are run together by methods that run the network many times; None
            takes up to 8 for the whole network on a CPU, up to 32 elsewhere, and for a head what
            its activations allow; fewer of large images.
        compile: Let `torch.compile` make what comes before the layer faster, and the whole network
            where methods run it many times. It takes a fraction of a minute once for each model,
            layer and size of image, and pays for thousands of images or runs.
        progress: Is called by methods that run the network many times, with how many runs are
            done, and of how many.

    Raises:
        UnknownNameError: No class, layer, method or option has that name.
        LayerError, TargetError, MethodError, ModelError, InputError: See `limelight.errors`.
    """
    row, given = find_method(method), ModelInputs.of(inputs)
    reading = output_spec(classes, output, grid)
    settings = Options(reading, views, eigen, differentiable, chunk, progress, compile)
    several = isinstance(layer, list | tuple)
    layers: Sequence[Layer | None] = layer if several else [layer]  # type: ignore[list-item, assignment]
    known_fusion(fuse)
    if not layers:
        raise LayerError("There are no layers in the list; name at least one, or pass None.")
    found = [one for (one,) in explain_given(model, given, [target], row, layers, settings)]
    return fusion.fuse(found, fuse) if several else found[0]


def explain_each(
    model: nn.Module,
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    method: str | Method = "gradcam",
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> list[Explanation]:
    """Explain several targets of the same images from one forward pass.

    As `explain`, with one Explanation per target:

        cat, dog = limelight.explain_each(model, images, ["tabby", "pug"])
        first, second, third = limelight.explain_each(model, images, limelight.top(3))
    """
    reading = output_spec(classes, output, grid)
    settings = Options(reading, views, eigen, False, chunk, progress, compile)
    given = ModelInputs.of(inputs)
    return explain_given(model, given, targets, find_method(method), [layer], settings)[0]


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


def explain_given(
    model: nn.Module,
    given: ModelInputs,
    targets: Sequence[Target],
    method: Method,
    layers: Sequence[Layer | None],
    settings: Options,
) -> list[list[Explanation]]:
    """Return the explanations of each layer, by target, from one pass."""
    check_options(settings, method)
    found = []
    for run in cuts_for(model, given, [method], [place(method, one) for one in layers], settings):
        gathered = [gather(run, target, settings) for target in targets]
        for one in gathered:
            one.progress = settings.progress and partial(settings.progress, str(method))
        found.append([apply_method(one, method, settings) for one in gathered])
    return found


def cuts_for(
    model: nn.Module,
    given: ModelInputs,
    methods: Sequence[Method],
    layers: Sequence[Layer | None],
    settings: Options,
) -> list[Cut]:
    """Run the model once, cut at the layers, with a graph at the input only if one is read."""
    follow = any("gradients" in method.needs for method in methods)
    return cut_given(
        model,
        given,
        layers,
        reading=settings.reading,
        differentiable=settings.differentiable,
        follow_input=follow,
        compile=settings.compile,
    )


def gather(run: Cut, target: Target, settings: Options) -> TargetEvidence:
    """Begin to find out about one target."""
    return TargetEvidence(run, target, chunk=settings.chunk)


def apply_method(
    gathered: TargetEvidence, method: Method, settings: Options, combine: Combine | None = None
) -> Explanation:
    """Apply a method to what is known, and judge and finish its raw map.

    With `combine`, which must do the same, something can be noted of what the method adds up.
    """
    run, scores = gathered.cut, gathered.scores
    name, gap = str(method), None
    if settings.eigen:
        name = f"{name}, eigen"
    with torch.inference_mode(False), torch.set_grad_enabled(settings.differentiable):
        score = scores.values if settings.differentiable else scores.values.detach()
        if settings.views is None:
            evidence = gathered.evidence(method.needs, combine or _combine(settings))
            raw, slopes = method.raw(evidence), gathered.connections(method.needs)
            on_grid = raw.shape[1:] == evidence.activations.shape[2:]
            span = run.layout.span if on_grid else ()
            if method.sums_to is not None and not settings.eigen:
                gathered.progress = None  # the map is done
                due = method.sums_to(gathered.evidence(method.needs), **method.options)
                left = (raw.flatten(1).sum(1) - due).abs()
                gap = torch.where(left > 0, left / due.abs(), 0)
        else:
            raw, slopes = _over_views(gathered, method, settings, settings.views)
            span = ()
            name = f"{name}, {settings.views.name}"
        status = map_status(
            raw,
            score,
            slopes,
            method=method.name,
            layer=run.layer,
            why=lambda: run.why_disconnected(scores),
        )
        heatmap = to_heatmap(raw, run.image.shape[2:], status, span)
    return Explanation(
        raw=raw,
        heatmap=heatmap,
        score=score,
        index=scores.indices,
        label=scores.labels,
        status=status,
        method=name,
        layer=run.layer,
        reason=run.reason,
        image=run.image,
        output=run.output,
        gap=gap,
        region=scores.region,
        span=span,
        recipe=Recipe((Part(gathered.target, method, run.layer, settings.plain()),)),
    )


def _combine(settings: Options) -> Combine:
    """Return how contributions become one map: their sum, or their first component."""
    return (lambda w, v: leading(contributions(w, v))) if settings.eigen else total


def follow(recipe: Recipe, model: nn.Module, inputs: ModelInputs, score: FixedScore) -> Explanation:
    """Explain other images, or another model, in the same way; `score` is read off the output."""
    explanations = []
    for part in recipe.parts:
        layers = [place(part.method, part.layer)]
        (cut,) = cuts_for(model, inputs, [part.method], layers, part.options)
        evidence = gather(cut, score, part.options)
        explanations.append(apply_method(evidence, part.method, part.options))
    return explanations[0] if len(explanations) == 1 else fusion.fuse(explanations, recipe.fuse)


def _over_views(
    gathered: TargetEvidence, method: Method, settings: Options, views: Views
) -> tuple[Tensor, Sequence[Tensor]]:
    """Return the raw map of a method over several looks, and what connects score and map in one."""
    run, again = gathered.cut, gathered.scores.again
    image = run.image
    plain = replace(settings, views=None, progress=None)
    maps, scores, slopes = list[Tensor](), list[Tensor](), list[Tensor]()
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

        other = gather(run.on(view.change(image)), FixedScore(read), plain)
        found = method.raw(other.evidence(method.needs, _combine(settings)))
        maps.append(view.back(onto_picture(found, run.layout.span)))
        scores.append(other.scores.values)
        slopes = slopes or list(other.connections(method.needs))
        if gathered.progress:
            gathered.progress(number, len(looks))
    return views.join(torch.stack(maps), torch.stack(scores).detach()), slopes


class Skipped(NamedTuple):
    """A method that this network cannot do.

    Attributes:
        method: Its name.
        layer: The layer it was asked for; None when it was to be chosen.
        reason: Why not, and what to do.
    """

    method: str
    layer: str | None
    reason: str


def explain_many(
    model: nn.Module,
    inputs: Inputs,
    *,
    methods: str | Sequence[str | Method],
    targets: Sequence[Target],
    layers: Sequence[Layer | None],
    settings: Options,
    progress: ProgressCallback | None = None,
) -> Iterator[Explanation | Skipped]:
    """Yield what `compare` collects, one by one, so that what is done is not lost."""
    rows = chosen_methods(methods)
    if not targets or not layers:
        raise TargetError("There is no target or no layer to compare; pass at least one of each.")
    given = ModelInputs.of(inputs)
    cuts, reasons = _cuts(model, given, rows, layers, settings)
    known = {
        (where, number): gather(run, target, settings)
        for where, run in cuts.items()
        for number, target in enumerate(targets)
    }
    for row in rows:
        for layer in layers if row.place == "layer" else (INPUT,):
            asked = None if layer in (None, INPUT) else str(layer)
            if layer in reasons:
                yield Skipped(str(row), asked, reasons[layer])
                continue
            for number in range(len(targets)):
                gathered = known[layer, number]
                if progress:
                    progress(str(row), 0, 0)
                    gathered.progress = partial(progress, str(row))
                try:
                    check_options(settings, row)
                    result = apply_method(gathered, row, settings)
                except LimelightError as error:
                    yield Skipped(str(row), asked, str(error))
                    break
                yield result


def chosen_methods(methods: str | Method | Sequence[str | Method]) -> list[Method]:
    """Return the rows meant, each once: all of METHODS for "all".

    Raises:
        UnknownNameError, OptionError: As `find_method`.
    """
    if methods == "all":
        return list(METHODS.values())
    named = [methods] if isinstance(methods, str | Method) else list(methods)
    if not named:
        raise MethodError("There are no methods to compare; name at least one, or 'all'.")
    return list({str(row): row for row in map(find_method, named)}.values())


def _cuts(
    model: nn.Module,
    given: ModelInputs,
    rows: Sequence[Method],
    layers: Sequence[Layer | None],
    settings: Options,
) -> tuple[dict[Layer | None, Cut], dict[Layer | None, str]]:
    """Cut once at everything that is read; return the cuts, and why there is none, by layer."""
    wanted = list[Layer | None]()
    reasons = dict[Layer | None, str]()
    if any(row.place == "layer" for row in rows):
        wanted += dict.fromkeys(layers)
    if None in wanted:
        try:
            choose(unwrap(model), given, settings.reading)
        except LayerError as error:
            reasons[None] = str(error)
    if any(row.place != "layer" for row in rows):
        wanted += [INPUT] if INPUT not in wanted else []
        if problem := input_problem(given):
            reasons[INPUT] = problem
    wanted = [layer for layer in wanted if layer not in reasons]
    at_input = [row for row in rows if row.place != "layer" or INPUT in layers]
    found = cuts_for(model, given, at_input, wanted, settings)
    return dict(zip(wanted, found, strict=True)), reasons
