"""`limelight measure`: how far maps can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from limelight.cli.map_options import Chunk, Compile, OneLayer, methods_option, metrics_option
from limelight.cli.measurement_tables import print_measurement
from limelight.cli.messages import print_errors, print_left_out, print_untried
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.object_options import ObjectOptions, refuse_without_objects
from limelight.cli.option_groups import out_option, path_option
from limelight.cli.output_options import AsJson, FigureOptions
from limelight.cli.photo_options import Photos, photo_paths
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.table_option import TablePath, plan_table, write_summary
from limelight.cli.target_options import OneTarget, read_class
from limelight.figure_style import FigureStyle
from limelight.files import make_folder
from limelight.lock import only_run
from limelight.methods import chosen_methods
from limelight.metrics.annotation_files import read_matches, read_names
from limelight.metrics.journal import Journal
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import MeasureSpec, measure_photos
from limelight.metrics.run import chosen_metrics
from limelight.photos.pictures import each_picture

_MEASURED_METHODS = "gradcam layercam gradcam++ hirescam eigencam saliency"

_GOES_ON = "Interrupted: the same command again goes on from here."


@dataclass(frozen=True, kw_only=True)
class _MatchOptions(ObjectOptions):
    """Where the objects of the photos are, and which classes go with them."""

    match: Annotated[
        Path | None,
        path_option(
            help="Which of the network's classes go with an annotated one: a CSV file with a line "
            "'annotated, class, class, ...' for each. Then each such class in a photo is explained "
            "by the most probable of its classes, and its objects alone count."
        ),
    ] = None

    def check_match(self, target: str | None) -> None:
        """Refuse options that do not go together."""
        self.check()
        if self.match and not self.given:
            raise typer.BadParameter("--match goes with --boxes or --masks")
        if self.match and target:
            raise typer.BadParameter("give --match or --target, not both")


def measure(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    methods: Annotated[list[str] | None, methods_option(f"Without it {_MEASURED_METHODS}.")] = None,
    metrics: Annotated[
        list[str] | None,
        metrics_option(
            "Without it insertion, deletion and road, and with boxes or masks energy-pointing and "
            "pointing-game."
        ),
    ] = None,
    object_options: _MatchOptions,
    target: OneTarget = None,
    layer: OneLayer = None,
    output: LogitsPart = None,
    chunk: Chunk = None,
    compile: Compile = False,
    out: Annotated[Path, out_option("A folder for table, figure and readings.")] = Path(
        "limelight-measured"
    ),
    figure_options: FigureOptions,
    table: TablePath = None,
    as_json: AsJson = False,
) -> None:
    """Measure how far the maps of PHOTOS can be trusted, method by method, beside chance.

    Every figure is a mean over the photos with its 95 % interval, beside those of a random map and
    of a blob in the centre, with which it is compared photo by photo. Into --out go table.csv,
    table.json, curves.png and readings.jsonl. The last is written photo by photo: the same command
    again goes on where it was broken off.

    [bold]Examples[/]

    limelight measure holiday/ --methods "gradcam layercam saliency"

    limelight measure val/ --boxes val.csv --metrics "energy-pointing pointing-game insertion"

    limelight measure coco/images --boxes coco/labels --names coco.names --match coco-imagenet.csv
    """
    object_options.check_match(target)
    style = figure_options.style
    spec = MeasureSpec(
        methods=chosen_methods(methods or _MEASURED_METHODS),
        metrics=chosen_metrics(metrics or None, with_objects=object_options.given),
        target=None if target is None else read_class(target),
        layer=layer,
        output=output,
        annotations=object_options.annotations(),
        matches=None if object_options.match is None else read_matches(object_options.match),
        chunk=chunk,
        compile=compile,
    )
    refuse_without_objects(spec.metrics, given=object_options.given)
    paths = each_picture(photo_paths(photos))
    make_folder(out)
    table_rows = plan_table(table)
    classes, dtype = network_options.classes, str(network_options.dtype)
    question = spec.question(
        model=network_options.model,
        weights=network_options.weights,
        classes=None if classes is None else read_names(Path(classes)),
        target=target,
        preprocessing=[*network_options.preprocessing, dtype],
    )
    run = RunRecord(paths, as_json)
    journal_path = out / "readings.jsonl"
    with only_run(journal_path):
        journal = Journal(journal_path, question, paths, spec)
        _measure_rest(run, journal, network_options, spec)
        total = journal.total
        with run.work():
            _save(total, out, run, style)
            write_summary(table_rows, total.rows(), run)
        # Photos that were measured before count as done.
        run.done += [{"photo": name} for name in journal.done]
        _report_measurement(run, total, out)
    if not total.readings:
        run.code = run.code or 1
    run.leave()


def _measure_rest(
    run: RunRecord, journal: Journal, options: NetworkOptions, spec: MeasureSpec
) -> None:
    """Measure the photos that were not measured before, and write each down."""
    photos = [path for path in run.paths if str(path) not in journal.done]
    before = len(run.paths) - len(photos)
    if before:
        run.console.print(f"{before} of {len(run.paths)} photos were measured before.")
    with run.work():
        network = options.load()
        bar = Bar(run.console, "measuring", len(photos))
        for result in bar.over(measure_photos(network, photos, spec, progress=bar.show_runs)):
            if result.error is not None:
                run.fail(result.path, result.error)
                continue
            with run.file(journal.path):  # what was measured before is still reported
                journal.keep(result)
            run.done.append({"photo": str(result.path)})
            if run.unwritten:
                break
    run.raise_if_nothing_is_done()


def _save(total: Measurement, out: Path, run: RunRecord, style: FigureStyle) -> None:
    """Write table and figure, if anything was measured."""
    for name in ("table.csv", "table.json", "curves.png") if total.readings else ():
        with run.file(out / name):  # the figures are still reported
            total.save(out / name, style=style)


def _report_measurement(run: RunRecord, total: Measurement, out: Path) -> None:
    """Print what was measured, for a machine or for people."""
    if run.as_json:
        report = {
            "figures": total.rows(),
            "verdict": total.verdict().sentence,
            "unmeasured": [unmeasured._asdict() for unmeasured in total.unmeasured],
            "status": total.counts(),
            **run.shortfall,
        }
        run.print_document(report, _GOES_ON)
    else:
        print_measurement(run.console, total)
        print_left_out(run.failed, len(run.paths))
        print_errors(run.unwritten)
        print_untried(run.untried)
        if total.readings and not run.unwritten and not run.ended_early:
            run.console.print(f"Table, figure and readings are in {escape(str(out))}.")
    if run.stopped:
        head, tail = _GOES_ON.split(":", 1)
        run.console.print(f"[yellow]{head}:[/]{tail}")
