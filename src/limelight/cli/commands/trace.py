"""`limelight trace`: activations and gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from limelight.cli.map_options import layers_option, split_layers
from limelight.cli.messages import network_title, print_errors
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.option_groups import out_option
from limelight.cli.output import document
from limelight.cli.output_options import AsJson, FigureOptions
from limelight.cli.photo_options import OnePhoto, one_photo_path
from limelight.cli.run_record import RunRecord
from limelight.cli.target_options import OneTargetOptions, PlaceOptions
from limelight.explanation_pictures import FORMATS
from limelight.files import file_name, known_suffix, make_folder
from limelight.photos.pictures import photo_size
from limelight.registry import split_names
from limelight.tracing import trace as trace_gradient


def trace(
    *,
    photo: OnePhoto = "chelsea",
    network_options: NetworkOptions,
    layer: Annotated[
        list[str] | None,
        layers_option("A dotted path, of any layer; repeat it for several; chosen when not given."),
    ] = None,
    target_options: OneTargetOptions,
    place_options: PlaceOptions,
    values: Annotated[
        int, typer.Option(min=1, help="How many values along each axis are printed.")
    ] = 5,
    channel: Annotated[
        int | None,
        typer.Option(
            min=0, help="The channel to print; without it, that which adds most, |alpha| mean |A|."
        ),
    ] = None,
    output: LogitsPart = None,
    save: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(FORMATS),
            help="Also write the arrays (npz), or a picture; repeat it for several.",
        ),
    ] = None,
    out: Annotated[Path, out_option("The folder that --save writes to.")] = Path("limelight-out"),
    figure_options: FigureOptions,
    as_json: AsJson = False,
) -> None:
    """Follow the gradient of a score back through the network: activations A, gradients dy/dA.

    One pass forward and one back. For each layer, and for the input, it prints shape and range of
    what the layer put out and of the gradient there, and a window of values of both.

    [bold]Examples[/]

    limelight trace cat.jpg --layer blocks.4 --layer bn2

    limelight trace cat.jpg --model resnet50 --layer layer4 --layer fc --target tabby

    limelight trace cat.jpg --layer conv_stem --save npz --save png --out traces/
    """
    class_meant = target_options.only_target()
    path, style = one_photo_path(photo), figure_options.style
    photo_size(path)  # a file that is not there is told before the network is loaded
    files = _trace_files(save or [], out, path)
    network = network_options.load()
    (placed,) = place_options.place([class_meant], network.preprocess, [path])
    images = network.images(network.load_photo(path))
    traced = trace_gradient(
        network.model,
        images,
        split_layers(layer) or None,
        target=placed,
        classes=network.classes,
        output=output,
    )
    text = traced.text(window=values, channel=channel)
    run, written = RunRecord([path]), list[str]()
    for file in files:
        with run.file(file):  # the numbers are still reported
            written.append(str(traced.save(file, style=style)))
    if as_json:
        numbers = [
            traced.numbers(number, size=values, channel=channel)
            for number in range(len(traced.layers))
        ]
        report: dict[str, Any] = {
            "photo": str(path),
            "model": network.name,
            "weights": network.weights,
            "target": traced.label[0],
            "score": float(traced.score[0]),
            "layers": numbers,
            "files": written,
            "unwritten": run.unwritten,
        }
        document(report)
        run.leave()
    run.console.print(f"[bold]{escape(str(path))}[/]  {network_title(network)}")
    run.console.print(text, markup=False, highlight=False, soft_wrap=True)
    for name in written:
        run.console.print(f"Written: {escape(name)}")
    print_errors(run.unwritten)
    run.leave()


def _trace_files(formats: Sequence[str], out: Path, photo: Path) -> list[Path]:
    """Return the files to write, one for each format; fail before any work is done."""
    if formats:
        make_folder(out)
    names = dict.fromkeys(name for text in formats for name in split_names(text))
    files = [out / file_name([photo.stem, "trace"], name) for name in names]
    for file in files:
        known_suffix(file, FORMATS)
    return files
