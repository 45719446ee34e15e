"""`explain`, `explain_each`, and the pass that `compare` shares: cut -> method -> Explanation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from limelight import fusion
from limelight.application import (
    DEFAULT,
    apply_method,
    apply_where_connected,
    check_method_options,
    cut_for_methods,
    layer_to_cut,
    method_for,
)
from limelight.errors import LayerError, LimelightError, MethodError, TargetError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.resolved import INPUT, Layer
from limelight.map_views import MapList
from limelight.methods import Method, find_method
from limelight.methods.fusing import Fusion, check_fusion
from limelight.methods.tiles import Tiles
from limelight.methods.views import Views
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Subject, with_own_input
from limelight.options import Options
from limelight.pixels import input_problem
from limelight.progress import ProgressCallback
from limelight.provenance import Provenance
from limelight.runtime.cut import Cut
from limelight.runtime.record import chosen_layer
from limelight.runtime.unwrap import unwrap
from limelight.target_evidence import TargetEvidence
from limelight.targets import LogitsKey, ScoreTarget, Target, as_target
from limelight.tiling.inputs import WindowInputs, read_pictures
from limelight.tiling.targets import same_in_all_windows
from limelight.tiling.windows import explain_windows


@checked_arguments
def explain(
    model: Model,
    inputs: Images,
    *,
    target: Target = None,
    method: str | Method | None = None,
    layer: Layer | Sequence[Layer] | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    picture: int | None = None,
    views: Views | Tiles | None = None,
    eigen: bool = False,
    fuse: Fusion = "mean",
    differentiable: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> Explanation:
    """Show what a network looked at: one heatmap per image.

    The raw map is that of the method, by default Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2),
    `L = sum_k alpha_k A_k` with `alpha_k = mean_ij dy_c/dA_k`, `[B, *grid]`; for a box or another
    score that is read at one place it is HiRes-CAM, `L = sum_k (dy_c/dA_k) A_k`. ReLU, resize and
    normalise turn it into the heatmap, `[B, *image]` in [0, 1].

        result = limelight.explain(network, photo)
        result = limelight.explain(model, images)
        result = limelight.explain(model, images, target="tabby", layer="features.16")
        result.heatmap, result.raw, result.score, result.status

    Args:
        model: A trained network, which runs as in evaluation mode and is left untouched; or a
            `Network`, as `load_model` returns it, which has its own preprocessing and class names.
        inputs: Images `[B, C, *image]`, a list of images, or a tuple or dict of the model's
            arguments; for a `Network` also a photo, or a list of photos, which figures are then
            drawn on.
        target: What to explain: a class by index or by name, a list with one per image, a
            `Contrast` or `Counterfactual`, a `Region` of a segmenter, a `Mask`, a `Box` of a
            detector or an `Edge` of it, a `Keypoint`, `Words` of a sentence, the `Similarity` of an
            embedding, any callable from output to scores `[B]`, or None for the predicted class (or
            the most probable object).
        method: A name in METHODS, if need be with options as in "rise:masks=1000", or a row of
            METHODS. None for Grad-CAM, or, for a score that is read at one place (`Box`, `Edge`,
            `Mask`, `Keypoint`, and classes of a detector), HiRes-CAM; the result's `method` says
            which.
        layer: A dotted path or a module inside the model; a list of them, whose maps are fused;
            None to let limelight choose, or, for methods of the input, to explain there.
        classes: The names of the classes, by index. Without them, a name in `target` is one of
            ImageNet's if the model has 1000 classes.
        output: Which part of what the model returns holds the logits: a key, attribute or index,
            or several joined by dots; or a callable that returns them. None to find them.
        grid: The sizes of the grid that tokens come from, when they cannot be found.
        picture: The number, from 0, of the picture that the map lies on, of several in the inputs;
            None for the first that the layer depends on, or, where pictures or crops of one size
            come as one tensor, for all of them in one map.
        views: Average over several views of the images: `flips()`, `noise()` or `scales()`; or
            explain large ones window by window: `tiles()`.
        eigen: Take the first principal component over channels instead of their sum.
        fuse: How the maps of several layers become one: `mean`, `max` or `product`.
        differentiable: Let raw map, heatmap and score carry a graph to the model's parameters, so
            that a loss on the map can train the model.
        chunk: How many variants are run together by methods that run the network many times. None
            means up to 8 for the whole network on a CPU, up to 32 elsewhere, and as many as the
            activations allow for a head; fewer if images are large.
        compile: Let `torch.compile` speed up what comes before the layer, and the whole network for
            methods that run it many times. It takes a fraction of a minute once for each model,
            layer and size of image, and pays for thousands of images or runs.
        progress: Called as progress(method, done, total) by methods that run the network many
            times.

    Raises:
        UnknownNameError: No class, layer, method or option has that name.
        LayerError, TargetError, MethodError, ModelError, InputError: See `limelight.errors`.
    """
    subject = read_pictures(model, inputs, classes, views, picture)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        views=None if isinstance(views, Tiles) else views,
        eigen=eigen,
        differentiable=differentiable,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    layers = as_layers(layer)
    check_fusion(fuse)
    by_layer = explain_pictures(subject, [as_target(target)], named_method(method), layers, options)
    explanations = [explanation for (explanation,) in by_layer]
    several = isinstance(layer, list | tuple)
    explanation = fusion.fuse(explanations, fuse) if several else explanations[0]
    made_by = Provenance.of(with_own_input(model)).with_windows_of(explanation.provenance)
    return replace(explanation, provenance=made_by).drawn_on(subject.crops, subject.geometry)


@checked_arguments
def explain_each(
    model: Model,
    inputs: Images,
    targets: Sequence[Target],
    *,
    method: str | Method | None = None,
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    picture: int | None = None,
    views: Views | Tiles | None = None,
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
    subject = read_pictures(model, inputs, classes, views, picture)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        views=None if isinstance(views, Tiles) else views,
        eigen=eigen,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    rules = list(map(as_target, targets))
    (explanations,) = explain_pictures(subject, rules, named_method(method), [layer], options)
    made_by = Provenance.of(with_own_input(model))
    return MapList(
        replace(each, provenance=made_by.with_windows_of(each.provenance)).drawn_on(
            subject.crops, subject.geometry
        )
        for each in explanations
    )


def explain_pictures(
    pictures: Subject | WindowInputs,
    targets: Sequence[ScoreTarget],
    method: Method | None,
    layers: Sequence[Layer | None],
    options: Options,
) -> list[list[Explanation]]:
    """Return for each layer an explanation of each target, of pictures whole or in windows.

    Raises:
        MethodError: Windows are to be explained with a graph to the model's parameters.
    """
    if isinstance(pictures, Subject):
        return explain_layers(pictures.model, pictures.inputs, targets, method, layers, options)
    if options.differentiable:
        raise MethodError(
            "differentiable=True does not go with tiles: a graph through all windows would not fit "
            "the memory. Explain one window at a time, and add up their losses."
        )
    targets = same_in_all_windows(targets, pictures, options)
    quiet = replace(options, progress=None)

    def explain_batch(
        inputs: ModelInputs, targets: Sequence[ScoreTarget]
    ) -> list[list[Explanation]]:
        return explain_layers(pictures.model, inputs, targets, method, layers, quiet)

    return explain_windows(pictures, targets, explain_batch, options)


def named_method(method: str | Method | None) -> Method | None:
    """Return the method that was named; None for the default of each score (`method_for`).

    Raises:
        UnknownNameError, OptionError: As `find_method`.
    """
    return None if method is None else find_method(method)


def as_layers(layer: Layer | Sequence[Layer] | None) -> Sequence[Layer | None]:
    """Return one or several layers as a list; None in it stands for the layer to be chosen.

    Raises:
        LayerError: The list is empty.
    """
    layers: Sequence[Layer | None]
    layers = layer if isinstance(layer, list | tuple) else [layer]  # type: ignore[list-item]
    if not layers:
        raise LayerError("There are no layers in the list; name at least one, or pass None.")
    return layers


def explain_layers(
    model: nn.Module,
    inputs: ModelInputs,
    targets: Sequence[ScoreTarget],
    method: Method | None,
    layers: Sequence[Layer | None],
    options: Options,
) -> list[list[Explanation]]:
    """Return for each layer a list with an explanation of each target, from one pass.

    1. Cut the network, once, at all layers.
    2. Score each target at each cut.
    3. Apply the method, or the default for the score, to the evidence on each cut and target.
    """
    like = method or DEFAULT
    check_method_options(options, like)
    cuts = cut_for_methods(
        model, inputs, [like], [layer_to_cut(like, layer) for layer in layers], options, targets
    )
    by_layer = list[list[Explanation]]()
    for cut, layer in zip(cuts, layers, strict=True):
        by_target = [TargetEvidence(cut, target, options) for target in targets]
        others = list[Cut]()
        is_chosen = layer is None and like.place == "layer"
        explanations = list[Explanation]()
        for evidence in by_target:
            applied = method_for(evidence.scores, method)
            evidence.begin(str(applied))
            explanations.append(
                apply_where_connected(evidence, applied, others)
                if is_chosen
                else apply_method(evidence, applied)
            )
        by_layer.append(explanations)
    return by_layer


class Skipped(NamedTuple):
    """A method that cannot work on this network.

    Attributes:
        method: Its name.
        layer: The layer that was named; None if limelight was to choose.
        reason: Why it cannot work, and what to do.
    """

    method: str
    layer: str | None
    reason: str


def explain_many(
    model: nn.Module,
    inputs: ModelInputs,
    *,
    methods: Sequence[Method],
    targets: Sequence[ScoreTarget],
    layers: Sequence[Layer | None],
    options: Options,
) -> Iterator[Explanation | Skipped]:
    """Yield the explanations of all targets, at all layers, by all methods, from one pass.

    1. Cut the network, once, at every place that a method reads: the layers, the input, or both.
    2. Score each target at each cut.
    3. For each method, at each layer, apply the method to the evidence on each target.

    A method that cannot work on this network is yielded as `Skipped`. Explanations are yielded one
    by one, so that those already made are not lost when a later one raises.

    Raises:
        TargetError: There is no target or no layer.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `explain`.
    """
    if not targets or not layers:
        raise TargetError("There is no target or no layer to compare; pass at least one of each.")
    # 1. The cuts.
    cuts, reasons = _cut_all(model, inputs, methods, targets, layers, options)
    # 2. The scores.
    by_layer_and_target = {
        (layer, number): TargetEvidence(cut, target, options)
        for layer, cut in cuts.items()
        for number, target in enumerate(targets)
    }
    # 3. The explanations.
    others = list[Cut]()
    for method in methods:
        for layer in layers if method.place == "layer" else (INPUT,):
            named = None if layer in (None, INPUT) else str(layer)
            if layer in reasons:
                yield Skipped(str(method), named, reasons[layer])
                continue
            for number in range(len(targets)):
                evidence = by_layer_and_target[layer, number]
                if options.progress:
                    options.progress(str(method), 0, 0)
                evidence.begin(str(method))
                try:
                    check_method_options(options, method)
                    if layer is None:
                        explanation = apply_where_connected(evidence, method, others)
                    else:
                        explanation = apply_method(evidence, method)
                except LimelightError as error:
                    yield Skipped(str(method), named, str(error))
                    break
                yield explanation


def sort_results(
    results: Iterable[Explanation | Skipped],
) -> tuple[tuple[Explanation, ...], tuple[Skipped, ...]]:
    """Split what `explain_many` yielded into explanations and skipped methods.

    Raises:
        MethodError: Every method was skipped.
    """
    all_results = list(results)
    explanations = tuple(r for r in all_results if isinstance(r, Explanation))
    skipped = tuple(r for r in all_results if isinstance(r, Skipped))
    if not explanations:
        reasons = "\n".join(f"  {skip.method}: {skip.reason}" for skip in skipped)
        raise MethodError(f"The network can do none of these methods:\n{reasons}")
    return explanations, skipped


def _cut_all(
    model: nn.Module,
    inputs: ModelInputs,
    methods: Sequence[Method],
    targets: Sequence[ScoreTarget],
    layers: Sequence[Layer | None],
    options: Options,
) -> tuple[dict[Layer | None, Cut], dict[Layer | None, str]]:
    """Run the model once, cut at every layer that a method reads.

    Returns:
        The cuts by layer; and by layer, for those that cannot be cut at, the reason.
    """
    wanted = list[Layer | None]()
    reasons = dict[Layer | None, str]()
    if any(method.place == "layer" for method in methods):
        wanted += dict.fromkeys(layers)
    if None in wanted:
        try:
            chosen_layer(unwrap(model), inputs, options.spec, targets)
        except LayerError as error:
            reasons[None] = str(error)
    if any(method.place != "layer" for method in methods):
        wanted += [INPUT] if INPUT not in wanted else []
        if problem := input_problem(inputs.image, requires_grad=False):
            reasons[INPUT] = problem
    wanted = [layer for layer in wanted if layer not in reasons]
    at_input = [method for method in methods if method.place != "layer" or INPUT in layers]
    cuts = cut_for_methods(model, inputs, at_input, wanted, options, targets)
    return dict(zip(wanted, cuts, strict=True)), reasons
