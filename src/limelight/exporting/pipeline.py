"""`export`: a network and its explanation as one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from limelight import files
from limelight.deployed.description import Description, MapDescription
from limelight.errors import OptionError, OutputError
from limelight.exporting import formats
from limelight.exporting.explained import ExplainedHead
from limelight.exporting.onnx_variants import computing_in_int8, photo_differences
from limelight.exporting.parity import measure_parity
from limelight.exporting.plan import ExportPlan, Layers, Methods, plan_export
from limelight.exporting.preprocessing_graph import with_preprocessing
from limelight.finish import resize_matrices
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Network, read_subject, with_own_input
from limelight.options import Options
from limelight.progress import ProgressCallback
from limelight.runtime.exported import capture, export_program, split_network
from limelight.targets import LogitsKey
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
    method: Methods = None,
    layer: Layers = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    batch: int | None = None,
    preprocessing: bool = False,
    int8: bool = False,
    progress: ProgressCallback | None = None,
) -> Export:
    """Write a network and its explanation to one file, which needs no autograd to run.

    The file is the network cut at a layer, `A = body(x)`, `y = head(A)`, with the gradient
    `dy_c/dA` of the head written out as operators, the method's formula, and the steps from the raw
    map to the heatmap. Its inputs are `image` `[B, C, *image]` and `target` `[B]`, a class for each
    image, or -1 for the predicted one. Its outputs are `logits`; `heatmap` `[B, *image]` in [0, 1];
    `raw` `[B, *grid]`, signed; and `status` `[B]`, 0 for ok (`limelight.deployed.STATUS_NAMES` has
    the others). A second map has the outputs `heatmap_2`, `raw_2` and `status_2`.

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
        preprocessing: Let the file take a photo as bytes `[H, W, C]`, in any size, and resize, crop
            and normalise it itself. It then also returns `crop` `[4]`, the left, top, right and
            bottom of what the network sees, and `size` `[2]`, height and width, in pixels of the
            photo. It goes with a `Network`, photos, and ONNX.
        int8: Let the body compute in 8 bits; the head, the gradient and the map stay in floating
            point. Every second image calibrates it, so pass a few dozen, and what is lost is
            measured on the others. It goes with ONNX.
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
    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a folder; the path of a file was expected.")
    _check_options(form, batch, preprocessing=preprocessing, int8=int8)
    tell = _Steps(progress, 4 + preprocessing + int8)
    tell("explain")
    model = with_own_input(model)
    subject = read_subject(model, inputs, classes)
    photos = subject.crops if preprocessing else None
    if preprocessing and photos is None:
        raise OptionError(
            "preprocessing=True puts a Network's preprocessing into the file, and there is no "
            "photo to try it on. Pass a Network, as limelight.load_model returns it, and photos."
        )
    options = Options.read(classes=subject.classes, output=output, grid=grid)
    plan = plan_export(subject, options, method, layer, batch)
    description = _describe(model, plan)
    files.make_folder(path.parent)  # before the work, so that it is not in vain
    tell("write the network down")
    program = _program(plan, with_layers=int8)
    names = ["logits", *(name for each in plan.described for name in _outputs(each))]
    if form == "pt2":
        tell("compare")
        parity = measure_parity(formats.run_program(program, names), plan, description)
        tell("write")
        description = replace(description, parity=parity.figures())
        return Export(formats.write_program(path, program, description), description)
    tell("write it as ONNX")
    shown = len(program.graph_signature.user_outputs) - len(names)
    layer_values = [f"layer_{number}" for number in range(shown)]
    onnx_model = formats.to_onnx(program, [*names, *layer_values])
    tell("compare")
    parity = measure_parity(formats.run_onnx(onnx_model), plan, description)
    description = replace(description, parity=parity.figures())
    if photos is not None:
        tell("prepare photos")
        assert isinstance(model, Network)
        figures = photo_differences(onnx_model, plan, model.preprocess, photos)
        description = replace(description, parity={**description.parity, **figures})
    if int8:
        tell("compute in 8 bits")
        onnx_model, lost = computing_in_int8(onnx_model, plan, layer_values)
        description = replace(description, quantised=lost)
    if photos is not None:
        assert isinstance(model, Network)
        onnx_model = with_preprocessing(onnx_model, model.preprocess)
        description = replace(description, batch=1, preprocessing_inside=True)
    return Export(formats.write_onnx(path, onnx_model, description), description)


def _check_options(form: str, batch: int | None, *, preprocessing: bool, int8: bool) -> None:
    """Refuse options that have a wrong value, or do not go together.

    Raises:
        OptionError: As said, or a package is not installed.
    """
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise OptionError(f"batch is {batch!r}; a number of images from 1 was expected, or None.")
    if form == "onnx":
        formats.check_packages()
    elif preprocessing or int8:
        raise OptionError(
            "preprocessing=True and int8=True change an ONNX file, and a .pt2 file was asked for. "
            "Name a file that ends in .onnx, or leave them out."
        )
    if preprocessing and batch not in (None, 1):
        raise OptionError(
            f"batch is {batch}, and with preprocessing=True the file takes one photo at a time, as "
            "photos differ in size. Leave one of them out."
        )


class _Steps:
    """Reports the steps of an export."""

    def __init__(self, progress: ProgressCallback | None, count: int) -> None:
        self._progress, self._count, self._done = progress, count, 0

    def __call__(self, step: str) -> None:
        if self._progress:
            self._progress(step, self._done, self._count)
        self._done += 1


def _outputs(each: MapDescription) -> tuple[str, str, str]:
    """Return the names of a map's outputs, in the order of the file."""
    return each.heatmap, each.raw, each.status


class _Explained(nn.Module):
    """The body, and the captured head: what becomes the file.

    After its outputs stand those of the layers if they are `shown`.
    """

    def __init__(self, body: nn.Module, head: nn.Module, shown: int) -> None:
        super().__init__()
        self.body, self.head, self.shown = body, head, shown

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        values = self.body(image)
        return (*self.head(target, *values), *values[: self.shown])


def _program(plan: ExportPlan, *, with_layers: bool) -> torch.export.ExportedProgram:
    """Return the network with its maps as a program, from images and targets to outputs.

    1. Split the network at the layers.
    2. Capture the head, its gradient and the maps.
    3. Join body and head.
    """
    inputs, is_open = plan.run.inputs, plan.batch is None
    count = plan.batch or 2  # a single image would be taken for a constant
    sample = inputs.take(torch.arange(count, device="cpu") % inputs.batch)
    # 1. The network in two.
    split = split_network(plan.run.model, sample, plan.layers, plan.reading.logits, dynamic=is_open)
    # 2. The head with its maps.
    size = tuple(sample.image.shape[2:])
    explained = ExplainedHead(
        split,
        plan.layouts,
        plan.maps,
        plan.reading.score,
        plan.reading.count(plan.run.output),
        tuple(resize_matrices(layout.grid, size, layout.span) for layout in plan.layouts),
        size,
    )
    head = capture(explained, split.values, batch=split.batch)
    # 3. All of it.
    shown = len(split.first) if with_layers else 0
    return export_program(_Explained(split.body, head, shown), sample.image, dynamic=is_open)


def _describe(model: Model, plan: ExportPlan) -> Description:
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
        input_shape=tuple(plan.images.shape[1:]),
        batch=plan.batch,
        preprocess=asdict(network.preprocess) if network else None,
        version=__version__,
    )
