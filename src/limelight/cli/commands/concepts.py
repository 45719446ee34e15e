"""`limelight concepts`: what the features of photos are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.cli.map_options import OneLayer
from limelight.cli.messages import print_errors
from limelight.cli.network_options import NetworkOptions
from limelight.cli.option_groups import out_option
from limelight.cli.output_options import Colormap, FigureOptions, PictureFiles
from limelight.cli.photo_options import Photos, load_input, photo_paths
from limelight.cli.run_record import RunRecord
from limelight.concepts import factorize
from limelight.errors import PhotoError
from limelight.photo_pipeline import pictures_of
from limelight.photos.crops import CroppedPhoto


def concepts(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="How many concepts to look for.")
    ] = 5,
    layer: OneLayer = None,
    out: Annotated[Path, out_option("A folder, or a file; its suffix says as what.")] = Path(
        "limelight-out"
    ),
    colormap: Colormap = None,
    figure_options: FigureOptions,
) -> None:
    """Find what the features of all PHOTOs are made of, where, and what the network calls it.

    The activations are factorized into a few concepts (deep feature factorization). All photos are
    taken together, so that the same concept can be found in several of them.
    """
    style, paths = figure_options.style, photo_paths(photos)
    files = PictureFiles.plan(out, single=True)
    network = network_options.load()
    paths = pictures_of(paths, network)
    run, inputs = RunRecord(paths), list[tuple[Tensor, list[CroppedPhoto] | None]]()
    for path in paths:
        try:
            inputs.append(load_input(path, network))
        except PhotoError as error:
            if len(paths) == 1:
                raise
            run.fail(path, error)
    if not inputs:
        print_errors(run.failed)
        raise typer.Exit(1)
    factorized = factorize(
        network.model,
        torch.cat([images for images, _ in inputs]),
        concepts=count,
        layer=layer,
        classes=network.classes,
    )
    file = files.next(paths[0].stem, "concepts")
    with run.photo(paths[0]):  # the concepts are still reported
        views = tuple(crop.view() for _, crops in inputs for crop in crops or ())
        replace(factorized, photos=views or None).save(file, colormap=colormap, style=style)
    table = Table("concept", "what the network calls it", box=None, padding=(0, 1))
    for number, labels in enumerate(factorized.labels, start=1):
        table.add_row(str(number), escape("; ".join(labels)))
    run.console.print(table)
    picture = "" if run.unwritten else f" The picture is {escape(str(file))}"
    run.console.print(
        f"At {escape(factorized.layer)}, {factorized.error:.0%} of the activations is left "
        f"unexplained.{picture}"
    )
    print_errors(run.failed + run.unwritten)
    run.leave()
