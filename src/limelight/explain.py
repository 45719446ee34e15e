"""The sentence: cut -> method -> finish -> Explanation."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from limelight.ahead import Room
from limelight.cut import INPUT, Cut, Layer, cut_given
from limelight.cut.passes import suits_channels_last
from limelight.cut.rerun import Progress
from limelight.errors import InputError, LayerError, MethodError, OptionError, PhotoError
from limelight.evidence import Combine, contributions, total
from limelight.explanation import Explanation, finished, judge, worth
from limelight.finish import onto_picture
from limelight.gather import Gathered
from limelight.inputs import Given, Inputs, map_tensors
from limelight.methods import METHODS, Method, find_method
from limelight.methods.combinators import Fusion, View, Views, fuse_maps, known_fusion
from limelight.methods.spectral import leading
from limelight.models import Network
from limelight.photos import (
    PHOTO_BYTES,
    PhotoSize,
    Prepared,
    bytes_of_input,
    bytes_to_draw,
    prepared,
)
from limelight.targets import (
    Detected,
    Pick,
    Reading,
    Reread,
    Target,
    mirrored,
    of_image,
    reading_of,
)


def explain(
    model: nn.Module,
    inputs: Inputs,
    *,
    target: Target = None,
    method: str | Method = "gradcam",
    layer: Layer | Sequence[Layer] | None = None,
    classes: Sequence[str] | None = None,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    fuse: Fusion = "mean",
    differentiable: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: Progress | None = None,
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
    row, given = find_method(method), Given.of(inputs)
    reading = reading_of(classes, output, grid)
    settings = Settings(reading, views, eigen, differentiable, chunk, progress, compile)
    several = isinstance(layer, list | tuple)
    layers: Sequence[Layer | None] = layer if several else [layer]  # type: ignore[list-item, assignment]
    known_fusion(fuse)
    if not layers:
        raise LayerError("There are no layers in the list; name at least one, or pass None.")
    found = [one for (one,) in explain_given(model, given, [target], row, layers, settings)]
    return fuse_explanations(found, fuse) if several else found[0]


def explain_each(
    model: nn.Module,
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    method: str | Method = "gradcam",
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Explain several targets of the same images from one forward pass.

    As `explain`, with one Explanation per target:

        cat, dog = limelight.explain_each(model, images, ["tabby", "pug"])
        first, second, third = limelight.explain_each(model, images, limelight.top(3))
    """
    reading = reading_of(classes, output, grid)
    settings = Settings(reading, views, eigen, False, chunk, progress, compile)
    given = Given.of(inputs)
    return explain_given(model, given, targets, find_method(method), [layer], settings)[0]


@dataclass(frozen=True, slots=True)
class Settings:
    """What `explain` was asked for besides model, images, target, method and layer."""

    reading: Reading = field(default_factory=Reading)
    views: Views | None = None
    eigen: bool = False
    differentiable: bool = False
    chunk: int | None = None
    progress: Progress | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse a chunk of nothing, and views that are none."""
        whole = isinstance(self.chunk, int) and not isinstance(self.chunk, bool)
        if self.chunk is not None and (not whole or self.chunk < 1):
            raise OptionError(f"chunk is {self.chunk!r}; an integer of at least 1 was expected.")
        if not isinstance(self.views, Views | None):
            raise OptionError(
                f"views is {self.views!r}; limelight.flips(), noise() or scales() was expected."
            )

    def plain(self) -> Settings:
        """Return the same without what is for a single run."""
        return replace(self, differentiable=False, progress=None)

    def check(self, method: Method) -> None:
        """Refuse what does not go together with a method."""
        if self.eigen and not method.by_channel:
            having = ", ".join(name for name, row in METHODS.items() if row.by_channel)
            raise MethodError(
                f"Eigen smoothing needs a map that is a sum over channels; that of {method.name!r} "
                f"is not. It goes with {having}."
            )
        if self.differentiable and (self.eigen or not _carries_graph(method)):
            able = ", ".join(name for name, row in METHODS.items() if _carries_graph(row))
            raise MethodError(
                f"The map of {method.name!r}{' with eigen=True' if self.eigen else ''} cannot be "
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
    given: Given,
    targets: Sequence[Target],
    method: Method,
    layers: Sequence[Layer | None],
    settings: Settings,
) -> list[list[Explanation]]:
    """Return the explanations of each layer, by target, from one pass."""
    settings.check(method)
    found = []
    for run in cuts_for(model, given, [method], [place(method, one) for one in layers], settings):
        gathered = [gather(run, target, settings) for target in targets]
        found.append([explained(one, method, settings) for one in gathered])
    return found


def cuts_for(
    model: nn.Module,
    given: Given,
    methods: Sequence[Method],
    layers: Sequence[Layer | None],
    settings: Settings,
) -> list[Cut]:
    """Run the model once, cut at the layers, with a graph at the input only if one is read."""
    follow = any("gradients" in method.needs for method in methods)
    return cut_given(
        model,
        layers,
        given,
        reading=settings.reading,
        differentiable=settings.differentiable,
        follow_input=follow,
        compile=settings.compile,
    )


def gather(run: Cut, target: Target, settings: Settings) -> Gathered:
    """Begin to find out about one target."""
    return Gathered(run, target, chunk=settings.chunk, progress=settings.progress)


def explained(
    gathered: Gathered, method: Method, settings: Settings, combine: Combine | None = None
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
        status = judge(
            raw,
            score,
            slopes,
            method=method.name,
            layer=run.layer,
            why=lambda: run.why_disconnected(scores),
        )
        heatmap = finished(raw, run.image.shape[2:], status, span)
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


def _combine(settings: Settings) -> Combine:
    """Return how contributions become one map: their sum, or their first component."""
    return (lambda w, v: leading(contributions(w, v))) if settings.eigen else total


@dataclass(frozen=True, slots=True)
class Part:
    """What one map was made by: target, method, layer, and what else `explain` was asked for."""

    target: Target
    method: Method
    layer: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an explanation was made: its parts, fused if there are several."""

    parts: tuple[Part, ...]
    fuse: Fusion = "mean"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe, or nothing where it holds what cannot be pickled: a lambda, say."""
        try:
            pickle.dumps(self.parts)
        except Exception:  # pickle raises nearly anything
            return _nothing, ()
        return Recipe, (self.parts, self.fuse)

    def of_image(self, image: int, axes: int) -> Recipe:
        """Return the recipe for one image of the batch alone."""
        parts = (replace(one, target=of_image(one.target, image, axes)) for one in self.parts)
        return replace(self, parts=tuple(parts))

    def follow(self, model: nn.Module, given: Given, read: Reread) -> Explanation:
        """Explain other images, or another model, in the same way; `read` reads the score."""
        found = []
        for part in self.parts:
            layers = [place(part.method, part.layer)]
            (run,) = cuts_for(model, given, [part.method], layers, part.settings)
            found.append(explained(gather(run, read, part.settings), part.method, part.settings))
        return found[0] if len(found) == 1 else fuse_explanations(found, self.fuse)


def _nothing() -> None:
    """Return what is left of a recipe that could not be pickled."""


def _over_views(
    gathered: Gathered, method: Method, settings: Settings, views: Views
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

        other = gather(run.on(view.change(image)), Reread(read), plain)
        found = method.raw(other.evidence(method.needs, _combine(settings)))
        maps.append(view.back(onto_picture(found, run.layout.span)))
        scores.append(other.scores.values)
        slopes = slopes or list(other.connections(method.needs))
        if gathered.progress:
            gathered.progress(number, len(looks))
    return views.join(torch.stack(maps), torch.stack(scores).detach()), slopes


def fuse_explanations(explanations: Sequence[Explanation], how: Fusion = "mean") -> Explanation:
    """Make one explanation of several of the same images and targets, of several layers say.

    Each raw map is resized to the finest grid among them and scaled to [0, 1], positive part only;
    then their `mean`, `max` (Jiang et al. 2021) or `product` (RefineCAM, Domeniconi et al. 2026) is
    taken. A map whose status is not ok counts as zero everywhere.

    Raises:
        UnknownNameError: There is no such way to fuse.
        InputError: There are none, or they are not of the same images and targets.
    """
    if not explanations:
        raise InputError("There are no explanations to fuse; pass at least one.")
    first = explanations[0]
    for other in explanations[1:]:
        if other.label != first.label or other.image.shape != first.image.shape:
            raise InputError(
                f"Cannot fuse explanations of {list(first.label)} and of {list(other.label)}; they "
                "were expected to be of the same images and the same targets."
            )
    maps = [onto_picture(worth(one.raw, one.status), one.span) for one in explanations]
    raw = fuse_maps(maps, how)
    layer = " + ".join(dict.fromkeys(one.layer for one in explanations))
    method = " + ".join(dict.fromkeys(one.method for one in explanations))
    judged = judge(raw, first.score, [], method=method, layer=layer, why=lambda: "")
    bad = zip(*(one.status for one in explanations), strict=True)
    status = tuple(
        each[0] if len(set(each)) == 1 and not each[0].ok else own
        for each, own in zip(bad, judged, strict=True)
    )
    return replace(
        first,
        raw=raw,
        heatmap=finished(raw, first.image.shape[2:], status),
        status=status,
        method=f"{method}, {how}",
        layer=layer,
        reason="named",
        gap=None,
        span=(),
        recipe=_joined(explanations, how),
    )


def _joined(explanations: Sequence[Explanation], how: Fusion) -> Recipe | None:
    """Return the recipe of what is fused; None where a part of it was fused before."""
    recipes = [one.recipe for one in explanations]
    parts = [one.parts[0] for one in recipes if one is not None and len(one.parts) == 1]
    return Recipe(tuple(parts), how) if len(parts) == len(recipes) else None


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        path: The file.
        view: The part of the photo that the network saw; None when it could not be read.
        explanations: One per target, each of this one image.
        error: Why there is none, if so.
        taken: The bytes that are taken for it in the room of `explain_photos`.
    """

    path: Path
    view: Image | None
    explanations: tuple[Explanation, ...]
    error: PhotoError | None = None
    taken: int = 0


#: How many photos are worth two runs, to find out how their images should lie in memory.
MANY_PHOTOS = 32


def explain_photos(
    network: Network,
    paths: Sequence[str | Path],
    targets: Sequence[Target] = (None,),
    *,
    method: str | Method = "gradcam",
    layer: Layer | Sequence[Layer] | None = None,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
    fuse: Fusion = "mean",
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: Progress | None = None,
    batch: int = 8,
    room: Room | None = None,
) -> Iterator[PhotoResult]:
    """Explain photo files, a batch at a time, one forward pass per batch.

    The next photos are decoded meanwhile, in threads. Many photos of one size lie channels last in
    memory on a CPU, if the network gives the same of them, which is tried once.

    Photos in work and the inputs made of them take at most `limelight.photos.PHOTO_BYTES` (1.2 GB)
    of memory, whatever their sizes: of large ones fewer go through the network together, and fewer
    are decoded beforehand. One that takes more with its input is worked on alone.

    A photo that cannot be read yields a result with its error, and the others go on. Anything else
    that is wrong (a class, a layer, the model) concerns all photos and is raised at once.

    Args:
        network: From `load_model`, or a `Network` around your own model.
        paths: The photos.
        targets: What to explain of each photo.
        method: A name in METHODS, with options if any, or a row of it.
        layer: A dotted path; several, whose maps are fused; None to have it chosen.
        output, grid, fuse, views, eigen, chunk, compile, progress: As in `explain`.
        batch: How many photos go through the network together.
        room: The bytes that photos may take, if the caller still works on results when asking for
            the next; what each has `taken` of them is to be given back. Without it, a result is
            taken to be done with when the next is asked for.

    Yields:
        One PhotoResult per path, in order.
    """
    chosen = find_method(method)
    reading = reading_of(network.classes, output, grid)
    settings = Settings(reading, views, eigen, False, chunk, progress, compile)
    several = isinstance(layer, list | tuple)
    layers: Sequence[Layer | None] = layer if several else [layer]  # type: ignore[list-item, assignment]
    worth_a_trial = network.preprocess.size is not None and len(paths) >= MANY_PHOTOS
    shared = room is not None
    room = room or Room(PHOTO_BYTES)

    def explain_batch(images: Tensor) -> Iterator[tuple[Explanation, ...]]:
        given = Given.of(images.to(next(network.model.parameters(), images)))
        if worth_a_trial and suits_channels_last(network.model, given):
            given = given.on(given.image.contiguous(memory_format=torch.channels_last))
        found = explain_given(network.model, given, targets, chosen, layers, settings)
        by_target = [
            fuse_explanations(of_one, fuse) if several else of_one[0]
            for of_one in zip(*found, strict=True)
        ]
        return (tuple(one[row] for one in by_target) for row in range(len(images)))

    for loaded in prepared(map(Path, paths), network.preprocess, batch=batch, room=room):
        done = deque(each for images in _batches(loaded) for each in explain_batch(images))
        while loaded:  # nothing here keeps a photo whose result is out
            result = [_result(network, loaded.pop(0), done, room)]
            taken = result[0].taken
            yield result.pop()
            if not shared:
                room.give(taken)


def _batches(loaded: Sequence[Prepared]) -> Iterator[Tensor]:
    """Yield the inputs of photos in batches, taken off them: an input may be large.

    Those that are not cropped to one size go through the network one by one.
    """
    inputs = deque[Tensor]()
    for one in loaded:
        if one.image is not None:
            inputs.append(one.image)
            one.image = None
    if len({image.shape for image in inputs}) == 1:
        images = torch.stack(tuple(inputs))
        inputs.clear()
        yield images
    while inputs:
        yield torch.stack((inputs.popleft(),))


def _result(
    network: Network, one: Prepared, done: deque[tuple[Explanation, ...]], room: Room
) -> PhotoResult:
    """Cut out what the network saw of a photo, and give back what the rest of it took."""
    if one.photo is None:
        room.give(one.taken)
        return PhotoResult(one.path, None, (), one.error)
    view, size = network.preprocess.view(one.photo), PhotoSize.of(one.photo)
    one.photo = None
    taken = min(one.taken, bytes_to_draw(view) + bytes_of_input(network.preprocess, size))
    room.give(one.taken - taken)
    return PhotoResult(one.path, view, done.popleft(), None, taken)
