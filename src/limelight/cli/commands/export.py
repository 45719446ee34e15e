"""`limelight export`: a network and its explanation as one file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli.map_options import layers_option, split_layers
from limelight.cli.messages import network_title, warn_of_random_weights
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.option_groups import path_argument
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.cli.photo_options import Photos, photo_paths
from limelight.cli.progress import Bar
from limelight.cli.words import under_option
from limelight.deployed.description import Description
from limelight.exporting.pipeline import FORMATS, Export
from limelight.exporting.pipeline import export as export_file
from limelight.files import known_suffix
from limelight.models.network import Network
from limelight.photos.pictures import photo_size
from limelight.photos.preprocess import Preprocess
from limelight.registry import split_names


def export(
    *,
    file: Annotated[
        Path, path_argument("FILE", help="The file to write: .onnx, or .pt2 for torch.export.")
    ],
    photos: Photos = None,
    network_options: NetworkOptions,
    layer: Annotated[
        list[str] | None,
        layers_option("A dotted path; chosen when not given; repeat it for several maps."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method that is a closed formula of activations and gradients: gradcam when not "
            "given, or hirescam for a detector; repeat it, or put commas between, for several maps."
        ),
    ] = None,
    output: LogitsPart = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="The number of images that the file takes; any when not given."),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option(
            "--preprocessing",
            help="Let the file take a photo as bytes, in any size, and prepare it itself.",
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Let the network compute in 8 bits up to the layer; give a few dozen photos, half "
            "of which calibrate it.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a network and its explanation to FILE, which returns logits and heatmap at once.

    The gradient is written out as operators, so FILE needs no autograd, and no torch, to run:
    `limelight run`, or onnxruntime in any language. Before it is written, it is compared with the
    network on the PHOTOs (without any, on a sample) and on random images.

    [bold]Examples[/]

    limelight export net.onnx

    limelight export resnet.onnx --model resnet50 --layer layer4 --method gradcam,layercam

    limelight export net.onnx cat.jpg dog.jpg --preprocessing

    limelight export small.onnx photos/ --int8
    """
    known_suffix(file, FORMATS)
    started, console = time.perf_counter(), Console(stderr=as_json)
    paths = photo_paths(photos)
    for path in paths:
        photo_size(path)  # a file that is not there is told before the network is loaded
    network = network_options.load()
    if not as_json:
        warn_of_random_weights(console, network.weights)
    bar = Bar(console, "exporting", 1)
    for _ in bar.over([file]):
        with under_option("FILE"):
            exported = export_file(
                network,
                [network.load_photo(path) for path in paths],
                file,
                method=[name for text in method for name in split_names(text)] if method else None,
                layer=split_layers(layer) or None,
                output=output,
                batch=batch,
                preprocessing=preprocessing,
                int8=int8,
                progress=bar.show_runs,
            )
    seconds = time.perf_counter() - started
    if as_json:
        document(_as_dict(exported, seconds))
    else:
        _print(console, network, exported, seconds)


#: Fewer photos than this, besides those that are compared, do not calibrate a network.
_FEW_PHOTOS = 8


def _as_dict(exported: Export, seconds: float) -> dict[str, Any]:
    """Return what is said of a file, as plain values."""
    return {
        "file": str(exported.path),
        "bytes": exported.path.stat().st_size,
        "seconds": round(seconds, 3),
        **asdict(exported.description),
    }


def _print(console: Console, network: Network, exported: Export, seconds: float) -> None:
    """Print what was written, and how exact it is."""
    about, size = exported.description, exported.path.stat().st_size / 1e6
    console.print(f"[bold]{network_title(network)}[/]")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("map", "method", "layer", "grid"):
        table.add_column(heading)
    for each in about.maps:
        grid = " x ".join(map(str, each.grid))
        table.add_row(each.heatmap, escape(each.method), escape(each.layer), grid)
    console.print(table)
    for line in (_taken(about), _prepared(network.preprocess), *_differences(about)):
        console.print(escape(line), soft_wrap=True, highlight=False)
    written = escape(str(exported.path))
    console.print(f"[green]{written}[/]: {size:.1f} MB, in {seconds:.1f} s", soft_wrap=True)
    if exported.path.suffix == ".onnx":
        console.print(f"Try it: limelight run {written} PHOTO", soft_wrap=True, highlight=False)


def _taken(about: Description) -> str:
    """Return what the file takes, in words."""
    if about.preprocessing_inside:
        return f"takes image [height, width, {about.input_shape[0]}] in bytes, and target [1]"
    batch = "batch" if about.batch is None else str(about.batch)
    shape = ", ".join(map(str, about.input_shape))
    return f"takes image [{batch}, {shape}] in 32-bit floats, and target [{batch}]"


def _prepared(preprocess: Preprocess) -> str:
    """Return how a photo becomes what the file takes, in words."""
    resize, size = preprocess.resize, preprocess.size
    steps = list[str]()
    if isinstance(resize, int):
        steps.append(f"its shorter side to {resize}")
    elif resize is not None:
        steps.append(f"to {' x '.join(map(str, resize))}")
    if size is not None and size != resize:
        steps.append(f"its centre of {' x '.join(map(str, size))}")
    mean, std = (
        ", ".join(f"{each:g}" for each in each_of) for each_of in (preprocess.mean, preprocess.std)
    )
    return f"a photo becomes it by {', '.join([*steps, f'mean {mean}, deviation {std}'])}"


def _differences(about: Description) -> Sequence[str]:
    """Return how much the file differs from the network, in words."""
    parity, lines = about.parity, list[str]()
    lines.append(
        f"differs from the network by at most {parity['logits']:.1g} (logits) and "
        f"{parity['raw']:.1g} (raw map) of the largest value, in {parity['comparisons']:.0f} "
        "comparisons"
    )
    if not parity["shown"]:
        lines.append(
            "no map shows anything on these images, so maps were hardly compared: give photos of "
            "what the network knows, or another layer"
        )
    if parity["rounding"]:
        lines.append(
            f"the network's own map changes by {parity['rounding']:.1g} when rounding changes the "
            "image"
        )
    if "photo_raw" in parity:
        lines.append(
            f"preparing the photo inside changes {parity['photo_logits']:.1g} (logits) and "
            f"{parity['photo_raw']:.1g} (raw map)"
        )
    if about.quantised is not None:
        lines += _lost(about.quantised)
    return lines


def _lost(lost: Mapping[str, float | None]) -> Sequence[str]:
    """Return what 8 bits change, in words."""
    lines, images = list[str](), lost["images"] or 0
    if images < _FEW_PHOTOS:
        lines.append("the ranges come from too few photos: give a few dozen, like those to come")
    lines.append(f"in 8 bits {lost['same_class']:.0%} of {images:.0f} images keep their class")
    mean, lowest = lost["raw_correlation"], lost["lowest_raw_correlation"]
    if mean is not None and lowest is not None:
        lines.append(
            f"in 8 bits raw maps correlate by {mean:.3f} with those in floats, at least "
            f"{lowest:.3f}"
        )
    return lines
