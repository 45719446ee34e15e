"""`limelight sanity`: whether maps go away when the network's weights do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli.map_options import Chunk, OneLayer, methods_option
from limelight.cli.measurement_tables import count_readings, print_unmeasured
from limelight.cli.messages import network_title, print_errors, print_left_out, print_untried
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.output import Console
from limelight.cli.output_options import (
    AsJson,
    FigureOptions,
    PictureOptions,
    check_methods_of_scale,
)
from limelight.cli.photo_options import Photos, load_input, photo_paths
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.target_options import OneTarget, read_class
from limelight.methods import chosen_methods
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.measurement import Measurement
from limelight.metrics.sanity import sanity as find_sanity
from limelight.metrics.sanity import verdict_of, verdicts
from limelight.models.network import Network
from limelight.photo_pipeline import pictures_of

_CHECKED_METHODS = "gradcam layercam saliency guided-backprop"

_STRIPS_ARE_DRAWN = "Interrupted: the strips of the photos that were done are drawn."


def sanity(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    methods: Annotated[list[str] | None, methods_option(f"Without it {_CHECKED_METHODS}.")] = None,
    target: OneTarget = None,
    layer: OneLayer = None,
    output: LogitsPart = None,
    steps: Annotated[
        int, typer.Option(min=2, help="Stages of the cascade, from the logits down.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the new weights.")] = 0,
    chunk: Chunk = None,
    picture_options: PictureOptions,
    figure_options: FigureOptions,
    as_json: AsJson = False,
) -> None:
    """Draw the network's weights anew, layer by layer, and see whether the maps of PHOTO go away.

    A map that random weights leave as it is shows edges, not what the network learned. For each
    photo a strip per method is drawn: its map, then those of the stages, from random logits to an
    all random network. A method passes if its likeness, Spearman's correlation with the map of the
    trained network, averaged over stages, stays below 0.5 with its whole interval. That takes at
    least 8 photos.

    [bold]Examples[/]

    limelight sanity photos/

    limelight sanity photos/ --methods "gradcam guided-backprop" --steps 10

    limelight sanity cat.jpg
    """
    rows = chosen_methods(methods or _CHECKED_METHODS)
    class_meant = None if target is None else read_class(target)
    paths = photo_paths(photos)
    check_methods_of_scale(picture_options.scale, rows)
    style, files = figure_options.style, picture_options.plan(single=len(paths) == 1)
    run, total = RunRecord(paths, as_json), Measurement()
    network = network_options.load()
    run.paths = pictures_of(paths, network)
    if len(run.paths) > len(paths):
        files = picture_options.plan(single=False)
    bar = Bar(run.console, "randomising", len(run.paths))
    with run.work():
        for path in bar.over(run.paths):
            with run.photo(path):
                images, crops = load_input(path, network)
                checked = find_sanity(
                    network.model,
                    images,
                    methods=rows,
                    target=class_meant,
                    layer=layer,
                    steps=steps,
                    seed=seed,
                    classes=network.classes,
                    output=output,
                    chunk=chunk,
                    progress=bar.show_runs,
                )
                total = total + checked.measurement
                file = files.next(path.stem, "sanity")
                picture = checked.drawn_on(crops).save(
                    file,
                    whole=bool(picture_options.whole),
                    colormap=picture_options.colormap,
                    scale=picture_options.scale,
                    style=style,
                )
                run.done.append({"photo": str(path), "picture": str(picture)})
            if run.full:
                break
    run.raise_if_nothing_is_done()
    _report_sanity(run, total, network)
    run.leave()


def _report_sanity(run: RunRecord, total: Measurement, network: Network) -> None:
    """Print which methods pass, for a machine or for people."""
    strips = [photo["picture"] for photo in run.done]
    if run.as_json:
        report = {
            "verdicts": verdicts(total),
            "figures": total.rows(),
            "unmeasured": [unmeasured._asdict() for unmeasured in total.unmeasured],
            "pictures": strips,
            **run.shortfall,
        }
        run.print_document(report, _STRIPS_ARE_DRAWN)
    else:
        if total.readings:
            _print_verdicts(run.console, total, network)
            _print_strips(run.console, strips)
        print_left_out(run.failed, len(run.paths))
        print_errors(run.unwritten)
        print_untried(run.untried)
    if run.stopped:
        run.console.print(f"[yellow]{_STRIPS_ARE_DRAWN}[/]")


def _print_verdicts(console: Console, total: Measurement, network: Network) -> None:
    """Print a table of the methods: how alike their maps stay, and whether they pass."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("method", "likeness", "of absolute values", "ssim", "n", "verdict"):
        table.add_column(heading, overflow="fold")
    ranking = total.ranking("parameter-randomisation")
    for estimate in ranking:
        table.add_row(*_verdict_row(total, estimate))
    console.print(f"[bold]{network_title(network)}[/], weights drawn anew")
    console.print(table)
    print_unmeasured(console, total)
    images = max(estimate.own.images for estimate in ranking)
    if images < FEWEST_IMAGES:
        console.print(
            f"{images} photo{' is' if images == 1 else 's are'} too few for a verdict, which takes "
            f"{FEWEST_IMAGES}."
        )


def _verdict_row(total: Measurement, estimate: MetricEstimate) -> list[str]:
    colours = {"passes": "green", "fails": "red", "unclear": "yellow"}
    parts = [
        total.estimate(estimate.method, estimate.metric, layer=estimate.layer, part=part).own
        for part in ("absolute", "ssim")
    ]
    verdict = verdict_of(estimate)
    return [
        escape(estimate.method),
        *(escape(str(part)) for part in (estimate.own, *parts)),
        count_readings(estimate.own),
        f"[{colours[verdict]}]{verdict}[/]",
    ]


def _print_strips(console: Console, strips: list[str]) -> None:
    if strips:
        more = " ..." if len(strips) > 3 else ""
        console.print(f"The strips are {escape(', '.join(strips[:3]))}{more}")
