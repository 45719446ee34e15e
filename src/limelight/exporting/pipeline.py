"""`export`: a network and its explanation as one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from limelight import files
from limelight.application import DEFAULT, DEFAULT_AT_ONE_PLACE, layer_to_cut
from limelight.deployed.description import Description, MapDescription
from limelight.errors import MethodError, ModelError, OptionError
from limelight.explanation import Explanation
from limelight.exporting import formats
from limelight.exporting.class_scores import ClassReading, class_reading
from limelight.exporting.explained import ExplainedHead, MapAtLayer
from limelight.exporting.exportable import check_exportable
from limelight.exporting.parity import measure_parity
from limelight.layers import Layout, ResolvedLayer
from limelight.layers.resolved import Layer
from limelight.methods import Method, find_method
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Network, Subject, read_subject
from limelight.options import Options
from limelight.pipeline import as_layers, explain_layers
from limelight.progress import ProgressCallback
from limelight.runtime.exported import capture, export_program, split_network
from limelight.runtime.forward import Pass, run_pass
from limelight.runtime.output_layout import layout_of_output
from limelight.status import STATUS_NAMES, status_message
from limelight.targets import LogitsKey
from limelight.targets.classes import GivenClasses
from limelight.version import __version__

#: The formats, by suffix.
FORMATS = ("onnx", "pt2")


@dataclass(frozen=True, slots=True)
class Export:
    """An exported file.

    Attributes:
        path: Where it is.
        description: What it says of itself; `description.parity` holds the differences from the
            network that were measured.
    """

    path: Path
    description: Description


@checked_arguments
def export(
    model: Model,
    inputs: Images,
    path: str | Path,
    *,
    method: str | Method | Sequence[str | Method] | None = None,
    layer: Layer | Sequence[Layer] | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    batch: int | None = None,
    progress: ProgressCallback | None = None,
) -> Export:
    """Write a network and its explanation to one file, which needs no autograd to run.

    The file is the network cut at a layer, `A = body(x)`, `y = head(A)`, with the gradient
    `dy_c/dA` of the head written out as operators, the method's formula, and the steps from the raw
    map to the heatmap. Its inputs are `image` `[B, C, *image]` and `target` `[B]`, a class for each
    image, or -1 for the predicted one. Its outputs are `logits`; `heatmap` `[B, *image]` in [0, 1];
    `raw` `[B, *grid]`, signed; and `status` `[B]`, 0 for ok (`STATUS_NAMES` has the others).

        limelight.export(network, "cat.jpg", "network.onnx")
        limelight.export(model, images, "network.onnx", method=["gradcam", "layercam"])

    Before it is written, the file is run on the given images, and on random ones, in batches of
    several sizes, and compared with what `explain` returns.

    Args:
        model: A trained network in 32-bit floating point, or a `Network`, as in `explain`.
        inputs: Images, or for a `Network` photos, as in `explain`: real ones, of the size that the
            file will take. Arguments besides the images become constants of the file.
        path: The file. Its suffix is the format: .onnx, or .pt2 for a program of `torch.export`.
        method: A method, or several for several maps; Grad-CAM if None, or HiRes-CAM for a
            detector. What runs the network many times, or takes components, cannot be exported.
        layer: A layer, or several for several maps; None to let limelight choose.
        classes, output, grid: As in `explain`.
        batch: How many images the file takes at a time; None for any number.
        progress: Called as progress(step, done, total) when a step begins.

    Raises:
        MethodError: A method cannot be exported; the nearest that can is named.
        ModelError: The network cannot be exported, or the file does not give what it gives.
        OptionError: A package is not installed, or an option has a value that it cannot have.
        OutputError: The format is unknown, or the file cannot be written there.
        LayerError, TargetError, InputError: As `explain`.
    """
    path = Path(path)
    form = files.known_suffix(path, FORMATS)
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise OptionError(f"batch is {batch!r}; a number of images from 1 was expected, or None.")
    if form == "onnx":
        formats.check_packages()
    files.make_folder(path.parent)
    tell = _Steps(progress)
    tell("explain")
    subject = read_subject(model, inputs, classes)
    options = Options.read(classes=subject.classes, output=output, grid=grid)
    plan = _plan(subject, options, method, layer, batch)
    tell("write down the network")
    program = _program(plan)
    names = ["logits", *(name for each in plan.described for name in _outputs(each))]
    description = _describe(model, plan)
    if form == "onnx":
        tell("write it as ONNX")
        onnx_model = formats.to_onnx(program, names)
        run = formats.run_onnx(onnx_model)
    else:
        run = formats.run_program(program, names)
    tell("compare")
    parity = measure_parity(run, plan.explain, plan.reading, description, plan.run.inputs.image)
    description = replace(description, parity=parity.figures())
    if form == "onnx":
        formats.write_onnx(path, onnx_model, description)
    else:
        formats.write_program(path, program, description)
    return Export(path, description)


class _Steps:
    """Reports the steps of an export."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress, self._done = progress, 0

    def __call__(self, step: str) -> None:
        if self._progress:
            self._progress(step, self._done, 4)
        self._done += 1


@dataclass(frozen=True)
class _Plan:
    """What is exported.

    Attributes:
        run: A pass of the network over the images, cut at the layers.
        layers: The layers, each once.
        layouts: How each layer's output becomes a grid.
        maps: The maps, by method and number of the layer.
        reading: How class scores are read.
        batch: How many images the file takes; None for any number.
    """

    run: Pass
    layers: tuple[ResolvedLayer, ...]
    layouts: tuple[Layout, ...]
    maps: tuple[MapAtLayer, ...]
    reading: ClassReading
    batch: int | None

    def explain(self, images: Tensor, classes: Sequence[int]) -> list[Explanation]:
        """Explain images of these classes with the network, one explanation for each map."""
        targets = [GivenClasses(list(classes))]
        explanations = []
        for each in self.maps:
            layers = [self.layers[each.layer].name]
            inputs = self.run.inputs.on(images, torch.arange(len(images), device="cpu") * 0)
            ((explanation,),) = explain_layers(
                self.run.model, inputs, targets, each.method, layers, self.run.options
            )
            explanations.append(explanation)
        return explanations

    @property
    def described(self) -> tuple[MapDescription, ...]:
        """What the file says of its maps."""
        return tuple(self._described(number) for number in range(len(self.maps)))

    def _described(self, number: int) -> MapDescription:
        """Return what the file says of one map; from the second on, its outputs have numbers."""
        method, layer = self.maps[number].method, self.layers[self.maps[number].layer].name
        layout, suffix = self.layouts[self.maps[number].layer], f"_{number + 1}" if number else ""
        return MapDescription(
            method=str(method),
            layer=layer,
            grid=layout.grid,
            span=tuple(map(tuple, layout.span)),
            heatmap=f"heatmap{suffix}",
            raw=f"raw{suffix}",
            status=f"status{suffix}",
            messages=tuple(
                status_message(
                    name,
                    method=str(method),
                    layer=layer,
                    grid=layout.grid,
                    summed_over=method.sums_over,
                    leaves_out=method.keeps_positive,
                )
                for name in STATUS_NAMES
            ),
        )


def _outputs(each: MapDescription) -> tuple[str, str, str]:
    """Return the names of a map's outputs, in the order of the file."""
    return each.heatmap, each.raw, each.status


def _plan(
    subject: Subject,
    options: Options,
    method: str | Method | Sequence[str | Method] | None,
    layer: Layer | Sequence[Layer] | None,
    batch: int | None,
) -> _Plan:
    """Run the network once over the images, cut at the layers, and decide what is exported.

    Raises:
        MethodError, ModelError, LayerError, TargetError: As `export`.
    """
    named = list(method) if isinstance(method, list | tuple) else [method]
    methods = [None if each is None else find_method(each) for each in named]
    for each in methods:
        if each is not None:
            check_exportable(each)
    places = [
        (each, layer_to_cut(each or DEFAULT, place))
        for each in methods
        for place in as_layers(layer)
    ]
    to_cut = list(dict.fromkeys(place for _, place in places))
    run, outputs = run_pass(subject.model, subject.inputs, to_cut, options)
    _check_numbers(run)
    reading = class_reading(run)
    default = DEFAULT_AT_ONE_PLACE if reading.kind == "boxes" else DEFAULT
    numbers = {place: number for number, place in enumerate(to_cut)}
    maps = tuple(MapAtLayer(each or default, numbers[place]) for each, place in places)
    for each in maps:
        _check_reruns(each.method, reading, batch)
    layouts = [layout_of_output(output.tensor, output.layer, run).layout for output in outputs]
    return _Plan(
        run,
        tuple(output.layer for output in outputs),
        tuple(map(replace, layouts)),  # copies: what they keep must not come from stand-ins
        maps,
        reading,
        batch,
    )


def _check_numbers(run: Pass) -> None:
    """Refuse networks in other numbers than 32-bit floating point.

    Raises:
        ModelError: As said.
    """
    if run.inputs.image.dtype != torch.float32:
        raise ModelError(
            f"The images are {run.inputs.image.dtype}, and files are written in 32-bit floating "
            "point. Pass model.float() and images.float()."
        )


def _check_reruns(method: Method, reading: ClassReading, batch: int | None) -> None:
    """Refuse methods that run the head where the file cannot run it for more rows.

    Raises:
        MethodError: As said.
    """
    if "head" not in method.needs:
        return
    if batch is not None or reading.kind != "classes":
        raise MethodError(
            f"{method.name!r} runs the head once for each cell, all in one batch, which goes with "
            "an open number of images and a classifier alone. Leave batch out, or take 'gradcam'."
        )


class _Explained(nn.Module):
    """The body, and the captured head: what becomes the file."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.head(target, *self.body(image)))


def _program(plan: _Plan) -> torch.export.ExportedProgram:
    """Return the network with its maps as a program, from images and targets to outputs.

    1. Split the network at the layers.
    2. Capture the head, its gradient and the maps.
    3. Join body and head.
    """
    inputs, batch = plan.run.inputs, plan.batch
    count = batch or max(2, len(inputs.image))
    rows = torch.arange(count, device="cpu") % len(inputs.image)
    sample = inputs.take(rows)
    # 1. The network in two.
    split = split_network(
        plan.run.model, sample, plan.layers, plan.reading.logits, dynamic=batch is None
    )
    # 2. The head with its maps.
    size = tuple(sample.image.shape[2:])
    explained = ExplainedHead(split, plan.layouts, plan.maps, plan.reading.score, size)
    head = capture(explained, split.values, batch=split.batch)
    # 3. All of it.
    return export_program(_Explained(split.body, head), sample.image, dynamic=batch is None)


def _describe(model: Model, plan: _Plan) -> Description:
    """Return what the file says of itself."""
    network = model if isinstance(model, Network) else None
    classes = plan.run.spec.classes
    return Description(
        network=network.name if network else type(plan.run.model).__name__,
        weights=network.weights if network else "",
        output=plan.reading.kind,
        no_object=plan.reading.no_object,
        classes=None if classes is None else tuple(classes),
        maps=plan.described,
        input_shape=tuple(plan.run.inputs.image.shape[1:]),
        batch=plan.batch,
        preprocess=asdict(network.preprocess) if network else None,
        version=__version__,
    )
