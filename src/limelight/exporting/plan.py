"""The plan of an export: the layers, the maps at them, and how class scores are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from limelight.application import DEFAULT, DEFAULT_AT_ONE_PLACE, layer_to_cut
from limelight.deployed.description import MapDescription
from limelight.errors import InputError, MethodError, ModelError
from limelight.explanation import Explanation
from limelight.exporting.class_scores import ClassReading, class_reading
from limelight.exporting.explained import MapAtLayer
from limelight.exporting.exportable import check_exportable
from limelight.layers import Layout, ResolvedLayer
from limelight.layers.resolved import Layer
from limelight.methods import Method, find_method
from limelight.models.network import Subject
from limelight.options import Options
from limelight.pipeline import as_layers, explain_layers
from limelight.runtime.forward import Pass, run_pass
from limelight.runtime.output_layout import layout_of_output
from limelight.status import STATUS_NAMES, status_message
from limelight.targets.classes import GivenClasses

#: On how many of the given images a file is compared with its network.
MOST_COMPARED = 8

#: One method, or several for several maps; None for the default of the score.
Methods = str | Method | Sequence[str | Method] | None

#: One layer, or several for several maps; None to let limelight choose.
Layers = Layer | Sequence[Layer] | None


@dataclass(frozen=True)
class ExportPlan:
    """The network, layers and maps that a file is made from.

    Attributes:
        images: All images that were given, `[B, C, *image]`.
        run: A pass of the network over the first of them, cut at the layers.
        layers: The layers, each once.
        layouts: How each layer's output becomes a grid.
        maps: The maps, by method and number of the layer.
        reading: How class scores are read.
        batch: How many images the file takes; None for any number.
    """

    images: Tensor
    run: Pass
    layers: tuple[ResolvedLayer, ...]
    layouts: tuple[Layout, ...]
    maps: tuple[MapAtLayer, ...]
    reading: ClassReading
    batch: int | None

    def explain(self, images: Tensor, classes: Sequence[int]) -> list[Explanation]:
        """Explain images of these classes with the network, one explanation for each map."""
        targets = [GivenClasses(list(classes))]
        rows = torch.zeros(len(images), dtype=torch.long, device="cpu")
        inputs = self.run.inputs.on(images, rows)
        explanations = []
        for each in self.maps:
            layers = [self.layers[each.layer].name]
            ((explanation,),) = explain_layers(
                self.run.model, inputs, targets, each.method, layers, self.run.options
            )
            explanations.append(explanation)
        return explanations

    @property
    def described(self) -> tuple[MapDescription, ...]:
        """What the file says of its maps; from the second on, their outputs have numbers."""
        return tuple(
            _described(each, self.layers[each.layer].name, self.layouts[each.layer], number)
            for number, each in enumerate(self.maps, start=1)
        )


def _described(each: MapAtLayer, layer: str, layout: Layout, number: int) -> MapDescription:
    """Return what the file says of one of its maps."""
    method, suffix = each.method, f"_{number}" if number > 1 else ""
    *others, not_finite = (
        status_message(
            name,
            method=str(method),
            layer=layer,
            grid=layout.grid,
            summed_over=method.sums_over,
            leaves_out=method.keeps_positive,
        )
        for name in STATUS_NAMES
    )
    return MapDescription(
        method=str(method),
        layer=layer,
        grid=layout.grid,
        span=tuple((axis.start, axis.end, axis.seen_from, axis.seen_to) for axis in layout.span),
        heatmap=f"heatmap{suffix}",
        raw=f"raw{suffix}",
        status=f"status{suffix}",
        messages=(
            *others,
            f"{not_finite} A target that is no class of the network gives this too.",
        ),
    )


def plan_export(
    subject: Subject, options: Options, method: Methods, layer: Layers, batch: int | None
) -> ExportPlan:
    """Run the network once over the images, cut at the layers, and decide what is exported.

    Raises:
        MethodError, ModelError, LayerError, TargetError: As `export`.
    """
    methods = _found(method)
    places = [
        (each, layer_to_cut(each or DEFAULT, place))
        for each in methods
        for place in as_layers(layer)
    ]
    to_cut = list(dict.fromkeys(place for _, place in places))
    inputs = subject.inputs.first(min(subject.inputs.batch, MOST_COMPARED))
    run, outputs = run_pass(subject.model, inputs, to_cut, options)
    if run.inputs.image.dtype != torch.float32:
        raise ModelError(
            f"The images are {run.inputs.image.dtype}, and files are written in 32-bit floating "
            "point. Pass model.float() and images.float()."
        )
    _check_constants(run)
    reading = class_reading(run)
    default = DEFAULT_AT_ONE_PLACE if reading.kind == "boxes" else DEFAULT
    numbers = {place: number for number, place in enumerate(to_cut)}
    maps = tuple(MapAtLayer(each or default, numbers[place]) for each, place in places)
    _check_reruns([each.method for each in maps], reading, batch)
    layouts = [layout_of_output(output.tensor, output.layer, run).layout for output in outputs]
    return ExportPlan(
        subject.inputs.image,
        run,
        tuple(output.layer for output in outputs),
        tuple(map(replace, layouts)),  # copies: what they keep must not come from stand-ins
        maps,
        reading,
        batch,
    )


def _check_constants(run: Pass) -> None:
    """Refuse arguments besides the images that are one per image: a file keeps them as constants.

    Raises:
        InputError: There is such an argument.
    """
    inputs = run.inputs
    per_image = [number for number in inputs.maybe_batched if number not in inputs.unbatched]
    if per_image:
        raise InputError(
            f"{len(per_image)} of the arguments besides the images have a row for each of the "
            f"{inputs.batch} images, and a file keeps such arguments as constants. Pass one that "
            "is the same for all images, with another number of rows, or let a wrapper of the "
            "model take the images alone."
        )


def _found(method: Methods) -> list[Method | None]:
    """Return the methods that were named; None for the default.

    Raises:
        MethodError: One of them cannot be exported.
        UnknownNameError, OptionError: As `find_method`.
    """
    if method is None:
        return [None]
    named = [method] if isinstance(method, str | Method) else method
    if not named:
        raise MethodError("There are no methods in the list; name at least one, or pass None.")
    methods = list(map(find_method, named))
    for each in methods:
        check_exportable(each)
    return list(methods)


def _check_reruns(methods: Sequence[Method], reading: ClassReading, batch: int | None) -> None:
    """Refuse methods that run the head where the file cannot run it for more rows.

    Raises:
        MethodError: As said.
    """
    for method in methods:
        if "head" in method.needs and (batch is not None or reading.kind != "classes"):
            raise MethodError(
                f"{method.name!r} runs the head once for each cell, all in one batch, which goes "
                "with an open number of images and a classifier alone. Leave batch out, or take "
                "'gradcam'."
            )
