"""`limelight choose`: which map to trust on a network."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli.map_options import (
    Chunk,
    Compile,
    layers_option,
    methods_option,
    metrics_option,
    split_layers,
)
from limelight.cli.messages import network_title, print_errors, print_left_out
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.object_options import ObjectOptions, refuse_without_objects
from limelight.cli.option_groups import out_option
from limelight.cli.output import Console
from limelight.cli.output_options import AsJson, FigureOptions
from limelight.cli.photo_options import Photos, photo_paths
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.table_option import TablePath, plan_table, write_summary
from limelight.cli.target_options import OneTarget, read_class
from limelight.errors import PhotoError
from limelight.figure_style import FigureStyle
from limelight.files import make_folder, remove_file
from limelight.methods import chosen_methods
from limelight.metrics.candidate_maps import ChoiceSpec
from limelight.metrics.choose import CANDIDATE_METHODS, CHOICE_METRICS, CHOICE_OBJECT_METRICS
from limelight.metrics.choosing import Choosing
from limelight.metrics.photo_sources import photo_source
from limelight.metrics.recommendation import RankedCandidate, Recommendation
from limelight.metrics.run import chosen_metrics
from limelight.models.network import Network
from limelight.options import Options
from limelight.photo_pipeline import pictures_of
from limelight.photos.pictures import photo_size
from limelight.targets import as_target

#: How many candidates are printed.
_MOST_ROWS = 12

_CHOICE_IS_OPEN = "Interrupted: what was measured until then is reported; nothing is recommended."


def choose(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    methods: Annotated[list[str] | None, methods_option(f"Without it {CANDIDATE_METHODS}.")] = None,
    layer: Annotated[
        list[str] | None,
        layers_option(
            "A layer to try; repeat it for several. Without it four stages, early to late. With "
            "several, each method is also fused over all of them."
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        metrics_option(f"Without it {CHOICE_METRICS}, and with boxes or masks energy-pointing."),
    ] = None,
    object_options: ObjectOptions,
    target: OneTarget = None,
    output: LogitsPart = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="How long it may take. When time is short, the worse half of the candidates is "
            "given up.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of shuffled and random weights.")] = 0,
    chunk: Chunk = None,
    compile: Compile = False,
    out: Annotated[Path, out_option("A folder for report, table and figure.")] = Path(
        "limelight-chosen"
    ),
    figure_options: FigureOptions,
    table: TablePath = None,
    as_json: AsJson = False,
) -> None:
    """Find out which method, at which layer, makes the maps of PHOTOS to trust on a network.

    Candidates are measured on one half of the photos, at least 16 in all. The winner has to pass
    the test of sanity, and to beat random maps and a blob in the centre on the other half, which
    had no part in the choice. Else nothing is recommended. Into --out go choice.json,
    candidates.csv and choice.png.

    [bold]Examples[/]

    limelight choose holiday/

    limelight choose val/ --model torchvision:resnet18 --budget 600

    limelight choose val/ --boxes val.csv --methods "gradcam layercam" --layer layer3 --layer layer4
    """
    object_options.check()
    style = figure_options.style
    names = CHOICE_OBJECT_METRICS if object_options.given else CHOICE_METRICS
    spec = ChoiceSpec(
        methods=chosen_methods(methods or CANDIDATE_METHODS),
        metrics=chosen_metrics(metrics or names, with_objects=object_options.given),
        layers=list(dict.fromkeys(split_layers(layer))),
        budget=budget,
        seed=seed,
    )
    refuse_without_objects(spec.metrics, given=object_options.given)
    explained = as_target(None if target is None else read_class(target))
    annotations = object_options.annotations()
    paths = photo_paths(photos)
    if len(paths) == 1:
        photo_size(paths[0])  # the name of a folder that is not there, most likely
    make_folder(out)
    table_rows = plan_table(table)
    run = RunRecord(paths, as_json)
    network = network_options.load()
    run.paths = paths = pictures_of(paths, network)
    sources = [photo_source(path, network, explained, annotations) for path in paths]
    bar = Bar(run.console, "choosing", len(paths))
    options = Options.read(
        classes=network.classes,
        output=output,
        chunk=chunk,
        compile=compile,
        progress=bar.show_runs,
    )
    choosing = Choosing(network.model, sources, spec, options)
    with run.work():
        for _ in bar.over(choosing.run()):
            pass
    found = choosing.recommendation()
    for name, error in found.failed:
        run.fail(Path(name), PhotoError(error))
    run.done += [{"photo": str(path)} for path in paths if str(path) not in dict(found.failed)]
    if run.error is not None and not found.ranking:
        raise run.error
    _save(run, found, out, style)
    write_summary(table_rows, found.rows(), run)
    _report(run, found, network, _command(found, network_options, target, output), out)
    run.leave()


def _save(run: RunRecord, found: Recommendation, out: Path, style: FigureStyle) -> None:
    """Write what was found; without figures there is a report alone, and no older table stays."""
    if run.ended_early and not found.ranking:
        return
    for name in ("choice.json", "candidates.csv", "choice.png"):
        with run.file(out / name):
            if found.ranking or name == "choice.json":
                found.save(out / name, style=style)
            else:
                remove_file(out / name)


def _report(
    run: RunRecord, found: Recommendation, network: Network, command: str, out: Path
) -> None:
    """Print what was found, for a machine or for people."""
    if run.as_json:
        run.print_document(
            found.as_dict() | {"command": command, "unwritten": run.unwritten}, _CHOICE_IS_OPEN
        )
        return
    console = run.console
    console.print(f"[bold]{network_title(network)}[/]")
    if found.learned is not None:
        console.print(escape(found.learned.sentence))
    if found.ranking:
        _print_ranking(console, found)
    _print_skipped(console, found)
    if found.evidence:
        console.print("[bold]On the other photos, which had no part in the choice[/]")
    for sentence in found.evidence:
        console.print(f"  {escape(sentence)}")
    colour = "yellow" if found.best is None else "green"
    console.print(f"[bold {colour}]{escape(found.sentence)}[/]")
    if found.best is not None:
        console.print(f"In Python: [bold]{escape(found.python)}[/]", soft_wrap=True)
        console.print(f"As a command: [bold]{escape(command)}[/]", soft_wrap=True)
    print_left_out(run.failed, len(run.paths))
    print_errors(run.unwritten)
    if not run.unwritten and (found.ranking or not run.ended_early):
        what = "Report, table and figure are" if found.ranking else "The report is"
        console.print(f"{what} in {escape(str(out))}.")
    if run.stopped:
        console.print(f"[yellow]{_CHOICE_IS_OPEN}[/]")


def _print_ranking(console: Console, found: Recommendation) -> None:
    """Print the candidates on the photos that they were chosen on, best first."""
    metrics = found.chosen_on.metrics
    n = max(row.own.images for row in found.chosen_on.estimates())
    table = Table(
        box=None,
        padding=(0, 1),
        title=f"{len(found.ranking)} candidates, on the {n} photos to choose on",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("candidate", overflow="fold")
    better = {row.metric: row.better for row in found.chosen_on.estimates() if row.part == "value"}
    headings = (f"{metric}\n({better[metric]} is better)" for metric in metrics)
    for heading in (*headings, "seconds\na map", "ahead of\nchance", "sanity"):
        table.add_column(heading, overflow="fold")
    for row in found.ranking[:_MOST_ROWS]:
        table.add_row(*_cells(row, metrics))
    console.print(table)
    more = len(found.ranking) - _MOST_ROWS
    if more > 0:
        console.print(f"{more} more are in candidates.csv.")


def _print_skipped(console: Console, found: Recommendation) -> None:
    """Print each reason why candidates could not be made, with their methods."""
    methods = dict[str, list[str]]()
    for skipped in found.skipped:
        methods.setdefault(skipped.reason, []).append(skipped.method)
    for reason, names in methods.items():
        listed = escape(", ".join(dict.fromkeys(names)))
        console.print(f"[yellow]skipped[/] {listed}: {escape(reason)}")


def _cells(row: RankedCandidate, metrics: Sequence[str]) -> list[str]:
    values = {estimate.metric: estimate.own.value for estimate in row.estimates}
    colours = {"passes": "green", "fails": "red", "unclear": "yellow"}
    verdict = "" if row.sanity is None else f"[{colours[row.sanity]}]{row.sanity}[/]"
    dropped = " [dim](given up)[/]" if row.dropped else ""
    return [
        escape(row.candidate.name) + dropped,
        *(f"{values[metric]:.3f}" if metric in values else "" for metric in metrics),
        "" if math.isnan(row.seconds) else f"{row.seconds:.2g}",
        "yes" if row.ahead else "[yellow]no[/]",
        verdict,
    ]


def _command(
    found: Recommendation, options: NetworkOptions, target: str | None, output: str | None
) -> str:
    """Return the command that makes the recommended map; "" without one."""
    if found.best is None:
        return ""
    words = ["limelight", "explain", "PHOTO", "--model", options.model]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name != "model" and value != field.default:
            words.append(f"--{field.name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    if target is not None:
        words += ["--target", target]
    if output is not None:
        words += ["--output", output]
    arguments = found.arguments
    layers = arguments.get("layer", [])
    words += ["--method", arguments["method"]]
    for layer in [layers] if isinstance(layers, str) else layers:
        words += ["--layer", layer]
    if "fuse" in arguments:
        words += ["--fuse", arguments["fuse"]]
    return shlex.join(words)
