"""`walkthrough`: how one heatmap is made, step by step, with the tensors of one run."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight import files
from limelight.application import (
    DEFAULT,
    apply_method,
    cut_for_methods,
    layer_to_cut,
    method_for,
)
from limelight.drawing import photos_to_draw_on
from limelight.errors import InputError, LayerError, LimelightError, MethodError
from limelight.evidence import at_least_float32, contributions, total
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers import INPUT
from limelight.layers.resolved import Layer
from limelight.methods import METHODS, Method, chosen_methods, find_method
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Network, read_subject
from limelight.options import Options
from limelight.photos.preprocess import Preprocess
from limelight.pipeline import Skipped
from limelight.progress import ProgressCallback
from limelight.runtime.cells import CellPlaces, measure_cells
from limelight.runtime.costs import costs
from limelight.runtime.detectors import read_detected
from limelight.runtime.record import cached_record
from limelight.runtime.unwrap import unwrap
from limelight.steps.answers import explained_class, first_answers
from limelight.steps.data import Beside, WalkthroughData
from limelight.steps.network_table import network_table
from limelight.target_evidence import TargetEvidence
from limelight.targets import LogitsKey, Target, as_target
from limelight.translations.languages import Language, check_language

if TYPE_CHECKING:
    from PIL.Image import Image


@checked_arguments
def walkthrough(
    model: Model,
    inputs: Images,
    *,
    target: Target = None,
    method: str | Method | None = None,
    beside: str | Method | Sequence[str | Method] | None = None,
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    photo: Image | None = None,
    preprocess: Preprocess | None = None,
    name: str | None = None,
    language: Language = "en",
    chunk: int | None = None,
    progress: ProgressCallback | None = None,
) -> Walkthrough:
    """Show how a heatmap is made: every step from one image to the overlay, with its numbers.

    The page takes a map apart that is a sum over channels, `L = sum_k w_k A_k`. It shows
    activations A, gradients `dy_c/dA`, weights w, what each channel adds, the sum as it grows,
    ReLU, resize and overlay; and beside them, maps that other formulas make from the same A and
    gradients. A notebook displays the result as the page.

        page = limelight.walkthrough(network, photo, target="tabby")
        page.save("page.html")

    Args:
        model: A trained network, which runs as in evaluation mode and is left untouched; or a
            `Network`, as `load_model` returns it.
        inputs: One image `[1, C, *image]`, or a tuple or dict of what the model takes; with a
            `Network` also a photo.
        target: What to explain, as in `explain`.
        method: A method whose map is a sum over channels: its name in METHODS, or its row; None for
            the default of `explain`.
        beside: Other methods at the same layer, whose maps are shown beside it. None means, at a
            layer, all that weigh channels or cells and read no more than gradients or CAM's class
            weights; at the input, all that read gradients alone.
        layer: A dotted path or a module; None to let limelight choose.
        classes, output, grid: As in `explain`.
        photo: The picture to draw on, which shows what the network saw, at any size. None means the
            photo that was given as input, or else the network's own input.
        preprocess: How the photo was prepared, so that the input can be shown in the photo's
            colours; None for how the `Network` prepared it.
        name: The network's name; by default the `Network`'s, or the name of the model's class.
        language: The language of the page: `en` or `zh`.
        chunk: As in `explain`.
        progress: Called as progress(method, done, total).

    Raises:
        MethodError: The method's map is not a sum over channels, or the method cannot work on the
            network.
        InputError: There is not exactly one image, or the photo is no picture, or not one of what
            the network was given.
        UnknownNameError, LayerError, TargetError, ModelError: As `explain`.
    """
    named = None if method is None else walkable(method)
    where = layer_to_cut(named or DEFAULT, layer)
    others = _methods_beside(beside, where)
    check_language(language)
    subject = read_subject(model, inputs, classes)
    if subject.inputs.batch != 1:
        raise InputError(
            f"There are {subject.inputs.batch} images; one was expected. Pass images[:1]."
        )
    if photo is not None and not hasattr(photo, "convert"):
        raise InputError(
            f"photo is a {type(photo).__name__}; a picture was expected, as limelight.load_photo "
            "returns it."
        )
    network = model if isinstance(model, Network) else None
    if network is not None:
        name = name or network.name
    if network is not None and subject.photos is not None:
        preprocess = preprocess or network.preprocess
    if photo is not None and subject.inputs.image.ndim == 4:
        (placed,) = photos_to_draw_on(subject.inputs.image, subject.crops, [photo])
        photo = placed.view()
    if photo is None and subject.photos is not None:
        (photo,) = subject.photos
    options = Options.read(
        classes=subject.classes, output=output, grid=grid, chunk=chunk, progress=progress
    )
    (cut,) = cut_for_methods(
        subject.model,
        subject.inputs,
        [named or DEFAULT, *others],
        [where],
        options,
        [as_target(target)],
    )
    evidence = TargetEvidence(cut, as_target(target), options)
    main_method = method_for(evidence.scores, named)
    explanation, [(weights, values)] = _take_apart(evidence, main_method)
    others = [other for other in others if str(other) != str(main_method)]
    compared, skipped = _compare(evidence, others)
    try:
        gradients = evidence.evidence(frozenset({"gradients"})).gradients[0]
    except MethodError:  # a quantised network, and a method that needs none
        gradients = None
    activations = at_least_float32(cut.activations)[0]
    calls = cached_record(unwrap(subject.model), subject.inputs, options.spec)
    return Walkthrough(
        name=name or type(subject.model).__name__,
        method=main_method,
        explanation=explanation.drawn_on(subject.crops),
        steps=network_table(calls, costs(subject.model, subject.inputs), cut.layer),
        explained=explained_class(explanation, target),
        answers=first_answers(
            explanation,
            read_detected(explanation.output, subject.inputs, unwrap(subject.model)),
            options.spec,
        ),
        activations=activations,
        gradients=gradients,
        weights=weights[0],
        contributions=contributions(weights, values)[0],
        weighs_activations=torch.equal(values[0], activations),
        beside=tuple(
            other._replace(explanation=other.explanation.drawn_on(subject.crops))
            for other in compared
        ),
        skipped=skipped,
        cells=_where_cells_look(subject.model, subject.inputs, explanation, options),
        photo=photo,
        preprocess=preprocess,
        language=language,
    )


def _where_cells_look(
    model: nn.Module, inputs: ModelInputs, explanation: Explanation, options: Options
) -> CellPlaces | None:
    """Return where the cells of a map on a picture look; None if that cannot be measured."""
    if explanation.layer == INPUT or explanation.image.ndim != 4:
        return None
    report = None if options.progress is None else partial(options.progress, "cells")
    try:
        cells = measure_cells(unwrap(model), inputs, explanation.layer, options.spec, report)
    except LayerError:
        return None
    return cells if cells.energy.shape == explanation.raw.shape[1:] else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Walkthrough(WalkthroughData):
    """What `walkthrough` returns: the tensors of each step, and a page that shows them.

    Its attributes are those of `WalkthroughData`.
    """

    def __repr__(self) -> str:
        """Return the network's name and the explanation."""
        return f"Walkthrough({self.name}; {self.explanation!r})"

    def html(self, language: Language | None = None) -> str:
        """Return the page: one HTML file that loads no other file.

        Args:
            language: `en` or `zh`; None for the language of the walkthrough.

        Raises:
            UnknownNameError: There is no such language.
        """
        from limelight.steps.page import page

        language = language or self.language
        check_language(language)
        return page(self, language)

    def save(self, path: str | Path, *, language: Language | None = None) -> Path:
        """Write the page, whole or not at all.

        Raises:
            OutputError: The suffix is not .html or .htm, or the file cannot be written there.
            UnknownNameError: There is no such language.
        """
        path = Path(path)
        files.known_suffix(path, ("html", "htm"))
        return files.write_whole(path, self.html(language).encode(errors="backslashreplace"))

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        return (
            f'<iframe srcdoc="{html.escape(self.html())}" sandbox="allow-scripts" '
            'style="width: 100%; height: 800px; border: 1px solid #8884"></iframe>'
        )


def walkable(named: str | Method) -> Method:
    """Return a method whose map can be taken apart into channels.

    Raises:
        MethodError: The map cannot be taken apart.
        UnknownNameError, OptionError: As `find_method`.
    """
    method = find_method(named)
    if method.by_channel and method.place != "network":
        return method
    able = ", ".join(
        name for name, row in METHODS.items() if row.by_channel and row.place != "network"
    )
    also = "" if method.place == "network" else f"; {method.name!r} can be shown beside it"
    raise MethodError(
        f"The map of {method.name!r} is not a sum over channels of one layer, so there are no "
        f"channels to walk through. Take one of {able}{also}."
    )


def _methods_beside(
    named: str | Method | Sequence[str | Method] | None, where: Layer | None
) -> list[Method]:
    """Return the methods to show beside the main one; if none are named, all its siblings."""
    if named is None:
        return _siblings(where)
    return [_at_layer(method) for method in (chosen_methods(named) if named else [])]


def _at_layer(method: Method) -> Method:
    """Return the method; refuse one that reads the whole network and so has no map at a layer."""
    if method.place != "network":
        return method
    raise MethodError(
        f"{method.name!r} reads the whole network, so it cannot be shown beside a map of one "
        "layer. Use `limelight.compare` for it."
    )


def _siblings(where: Layer | None) -> list[Method]:
    """Return the methods that make maps from the same evidence at this layer, by other formulas."""
    rows = METHODS.values()
    if where == INPUT:
        return [row for row in rows if row.place == "input" and row.needs == {"gradients"}]
    families = ("weighted", "pointwise")
    return [
        row
        for row in rows
        if row.family in families and row.needs <= {"gradients", "class weights"}
    ]


def _take_apart(
    evidence: TargetEvidence, method: Method
) -> tuple[Explanation, list[tuple[Tensor, Tensor]]]:
    """Apply a method; return also the weights and values, `[B, K, ...]`, of each sum it made."""
    sums = list[tuple[Tensor, Tensor]]()

    def noted_total(weights: Tensor, values: Tensor) -> Tensor:
        sums.append((weights.detach(), values.detach()))
        return total(weights, values)

    progress = evidence.options.progress
    if progress is not None:
        progress(str(method), 0, 0)
    evidence.begin(str(method))
    return apply_method(evidence, method, noted_total), sums


def _compare(
    evidence: TargetEvidence, methods: Sequence[Method]
) -> tuple[list[Beside], tuple[Skipped, ...]]:
    """Return the maps of other methods, and the methods that cannot work on the network."""
    compared, skipped = list[Beside](), list[Skipped]()
    for method in methods:
        try:
            explanation, sums = _take_apart(evidence, method)
        except LimelightError as error:
            skipped.append(Skipped(str(method), evidence.cut.layer, str(error)))
            continue
        compared.append(Beside(method, explanation, sums[0][0][0] if sums else None))
    return compared, tuple(skipped)
