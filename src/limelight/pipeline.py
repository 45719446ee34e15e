"""The sentence: cut -> method -> finish -> Explanation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import nn

from limelight import fusion
from limelight.application import apply_method, check_options, cut_for, place
from limelight.errors import LayerError, LimelightError, MethodError, TargetError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs, input_problem
from limelight.layers.sites import INPUT, Layer
from limelight.methods import Method, find_method
from limelight.methods.fusing import Fusion, known_fusion
from limelight.methods.views import Views
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.progress import ProgressCallback
from limelight.runtime.cut import Cut
from limelight.runtime.record import choose
from limelight.runtime.unwrap import unwrap
from limelight.target_evidence import TargetEvidence
from limelight.targets import LogitsKey, ScoreTarget, Target, as_target


def explain(
    model: Model,
    inputs: Images,
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

        result = limelight.explain(network, photo)
        result = limelight.explain(model, images)
        result = limelight.explain(model, images, target="tabby", layer="features.16")
        result.heatmap, result.raw, result.score, result.status

    Args:
        model: A trained network, used as in evaluation mode and left untouched; or a `Network`, as
            `load_model` returns it, which brings its preprocessing and its class names.
        inputs: Images `[B, C, *image]`, a list of such, or a tuple or dict of what the model takes;
            for a `Network` a photo, too, or a list of photos, which are then drawn on.
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
        progress: Called as progress(method, done, total) by methods that run the network many
            times.

    Raises:
        UnknownNameError: No class, layer, method or option has that name.
        LayerError, TargetError, MethodError, ModelError, InputError: See `limelight.errors`.
    """
    subject = read_subject(model, inputs, classes)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        views=views,
        eigen=eigen,
        differentiable=differentiable,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    layers = as_layers(layer)
    known_fusion(fuse)
    by_layer = explain_layers(
        subject.model, subject.inputs, [as_target(target)], find_method(method), layers, options
    )
    explanations = [explanation for (explanation,) in by_layer]
    several = isinstance(layer, list | tuple)
    explanation = fusion.fuse(explanations, fuse) if several else explanations[0]
    return explanation.drawn_on(subject.photos)


def explain_each(
    model: Model,
    inputs: Images,
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
    subject = read_subject(model, inputs, classes)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        views=views,
        eigen=eigen,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    rules = list(map(as_target, targets))
    (explanations,) = explain_layers(
        subject.model, subject.inputs, rules, find_method(method), [layer], options
    )
    return [explanation.drawn_on(subject.photos) for explanation in explanations]


def as_layers(layer: Layer | Sequence[Layer] | None) -> Sequence[Layer | None]:
    """Return the layers that are named, one or several; None stands for the chosen one.

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
    method: Method,
    layers: Sequence[Layer | None],
    options: Options,
) -> list[list[Explanation]]:
    """Return the explanations at each layer, by target, from one pass.

    1. Cut the network, once, at all layers.
    2. Score each target at each cut.
    3. Apply the method to the evidence of each.
    """
    check_options(options, method)
    cuts = cut_for(model, inputs, [method], [place(method, layer) for layer in layers], options)
    by_layer = list[list[Explanation]]()
    for cut in cuts:
        gathered = [TargetEvidence(cut, target, options) for target in targets]
        for evidence in gathered:
            evidence.begin(str(method), options.progress)
        by_layer.append([apply_method(evidence, method) for evidence in gathered])
    return by_layer


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
    inputs: ModelInputs,
    *,
    methods: Sequence[Method],
    targets: Sequence[ScoreTarget],
    layers: Sequence[Layer | None],
    options: Options,
) -> Iterator[Explanation | Skipped]:
    """Yield explanations by methods, at layers, of targets, from one pass, in this order.

    What the network cannot do is yielded as `Skipped`. They come one by one, so that what is done
    is not lost when the next raises.

    Raises:
        TargetError: There is no target or no layer.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `explain`.
    """
    if not targets or not layers:
        raise TargetError("There is no target or no layer to compare; pass at least one of each.")
    cuts, reasons = _cut_all(model, inputs, methods, layers, options)
    gathered = {
        (layer, number): TargetEvidence(cut, target, options)
        for layer, cut in cuts.items()
        for number, target in enumerate(targets)
    }
    for method in methods:
        for layer in layers if method.place == "layer" else (INPUT,):
            named = None if layer in (None, INPUT) else str(layer)
            if layer in reasons:
                yield Skipped(str(method), named, reasons[layer])
                continue
            for number in range(len(targets)):
                evidence = gathered[layer, number]
                if options.progress:
                    options.progress(str(method), 0, 0)
                evidence.begin(str(method), options.progress)
                try:
                    check_options(options, method)
                    explanation = apply_method(evidence, method)
                except LimelightError as error:
                    yield Skipped(str(method), named, str(error))
                    break
                yield explanation


def sort_results(
    results: Iterable[Explanation | Skipped],
) -> tuple[tuple[Explanation, ...], tuple[Skipped, ...]]:
    """Return the explanations among what `explain_many` yielded, and what was skipped.

    Raises:
        MethodError: There is no explanation among it.
    """
    each = list(results)
    explanations = tuple(one for one in each if isinstance(one, Explanation))
    skipped = tuple(one for one in each if isinstance(one, Skipped))
    if not explanations:
        reasons = "\n".join(f"  {one.method}: {one.reason}" for one in skipped)
        raise MethodError(f"The network can do none of these methods:\n{reasons}")
    return explanations, skipped


def _cut_all(
    model: nn.Module,
    inputs: ModelInputs,
    methods: Sequence[Method],
    layers: Sequence[Layer | None],
    options: Options,
) -> tuple[dict[Layer | None, Cut], dict[Layer | None, str]]:
    """Cut once at everything that is read; return the cuts, and why there is none, by layer."""
    wanted = list[Layer | None]()
    reasons = dict[Layer | None, str]()
    if any(method.place == "layer" for method in methods):
        wanted += dict.fromkeys(layers)
    if None in wanted:
        try:
            choose(unwrap(model), inputs, options.spec)
        except LayerError as error:
            reasons[None] = str(error)
    if any(method.place != "layer" for method in methods):
        wanted += [INPUT] if INPUT not in wanted else []
        if problem := input_problem(inputs):
            reasons[INPUT] = problem
    wanted = [layer for layer in wanted if layer not in reasons]
    at_input = [method for method in methods if method.place != "layer" or INPUT in layers]
    cuts = cut_for(model, inputs, at_input, wanted, options)
    return dict(zip(wanted, cuts, strict=True)), reasons
