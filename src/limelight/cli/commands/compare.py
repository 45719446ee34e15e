"""`limelight compare`: many maps of one photo, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.cli.heatmap_report import explanation_as_dict
from limelight.cli.map_options import MapOptions, layers_option, methods_option, split_layers
from limelight.cli.measurement_tables import print_measurement
from limelight.cli.messages import (
    network_title,
    print_errors,
    print_untried,
    status_text,
    warn_of_random_weights,
)
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.output import Console
from limelight.cli.output_options import (
    AsJson,
    FigureOptions,
    PictureFiles,
    PictureOptions,
    check_methods_of_scale,
)
from limelight.cli.photo_options import Photos, load_input, photo_paths
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.table_option import TablePath, plan_table, write_table
from limelight.cli.target_options import TargetOptions
from limelight.cli.words import worded
from limelight.comparison import Comparison
from limelight.errors import OptionError, PhotoError
from limelight.explanation import Explanation
from limelight.figure_style import FigureStyle
from limelight.inputs import ModelInputs
from limelight.methods import Method, chosen_methods
from limelight.metrics import Metric
from limelight.metrics.measurement import Measurement
from limelight.metrics.run import chosen_metrics, measure_all, needing_objects
from limelight.models.network import Network
from limelight.options import Options
from limelight.photo_pipeline import pictures_of
from limelight.pipeline import Skipped, explain_many, sort_results
from limelight.tables import EXPLANATION_COLUMNS, TableFile, failed_row
from limelight.targets import Target, as_target

_QUICK_METRICS = "insertion:steps=25 deletion:steps=25 road:steps=5"


def compare(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    methods: Annotated[
        list[str] | None, methods_option("That takes minutes; without it, nine quick ones.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also measure how far each map can be trusted, beside chance, and rank them.",
        ),
    ] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure by these: names that `limelight metrics` lists, with spaces or commas "
            f"between them. With --measure alone {_QUICK_METRICS}."
        ),
    ] = None,
    target_options: TargetOptions,
    layer: Annotated[
        list[str] | None,
        layers_option("A dotted path; repeat it to compare several."),
    ] = None,
    output: LogitsPart = None,
    map_options: MapOptions,
    picture_options: PictureOptions,
    figure_options: FigureOptions,
    table: TablePath = None,
    as_json: AsJson = False,
) -> None:
    """Explain PHOTO in many ways, side by side: methods, targets and layers on one sheet.

    All of it comes from one pass through the body of the network. What the network cannot do is
    skipped, with the reason; when interrupted, what is done is still drawn.

    [bold]Examples[/]

    limelight compare cat.jpg

    limelight compare cat.jpg --measure

    limelight compare cat.jpg --methods all --out sheet.png

    limelight compare cat.jpg --methods "gradcam rise:masks=500" --layer layer3 --layer layer4
    """
    targets, rows = target_options.targets(), chosen_methods(methods or None)
    measured_by = _metrics_without_objects(metrics or _QUICK_METRICS) if measure or metrics else []
    check_methods_of_scale(picture_options.scale, rows)
    paths = photo_paths(photos)
    style, files = figure_options.style, picture_options.plan(single=len(paths) == 1)
    table_rows = plan_table(table, EXPLANATION_COLUMNS)
    run = RunRecord(paths, as_json)
    network = network_options.load()
    run.paths = pictures_of(paths, network)
    if len(run.paths) > len(paths):
        files = picture_options.plan(single=False)
    sheets = _Sheets(
        run=run,
        network=network,
        methods=rows,
        targets=targets,
        layers=split_layers(layer) or [None],
        options=map_options.options(network, output),
        metrics=measured_by,
        files=files,
        pictures=picture_options,
        style=style,
        table=table_rows,
    )
    with run.work():
        for path in run.paths:
            sheets.compare_photo(path)
            if run.stopped or run.full:
                break
    run.raise_if_nothing_is_done()
    write_table(table_rows, run)
    _report_sheets(sheets)
    run.leave()


def _metrics_without_objects(names: str | Sequence[str]) -> list[Metric]:
    """Return the metrics that are named.

    Raises:
        OptionError: One of them has to know where the objects are.
    """
    rows = chosen_metrics(names, with_objects=False)
    if needing := needing_objects(rows):
        raise OptionError(
            f"{', '.join(needing)}: a sheet does not know where the objects are. Call `limelight "
            "measure` with --boxes or --masks."
        )
    return rows


@dataclass(kw_only=True)
class _Sheets:
    """Draws a sheet of every photo, and adds up what is measured."""

    run: RunRecord
    network: Network
    methods: Sequence[Method]
    targets: Sequence[Target]
    layers: Sequence[str | None]
    options: Options
    metrics: Sequence[Metric]
    files: PictureFiles
    pictures: PictureOptions
    style: FigureStyle
    table: TableFile | None
    total: Measurement = field(default_factory=Measurement)

    def compare_photo(self, path: Path) -> None:
        """Explain one photo in all ways, draw the sheet, and note what became of it."""
        started = time.perf_counter()
        try:
            images, crops = load_input(path, self.network)
        except PhotoError as error:  # the others are still done
            self.run.fail(path, error)
            if self.table is not None:
                number = self.run.paths.index(path)
                self.table.rows.append(failed_row(str(path), worded(error), image=number))
            return
        comparison = self._compared(path, images)
        if comparison is None:
            return
        if any(explanation.status[0].name == "not-finite" for explanation in comparison):
            self.run.code = max(self.run.code, 1)
        comparison = comparison.drawn_on(crops)
        if self.table is not None:
            self.table.rows += comparison.rows([str(path)], first=self.run.paths.index(path))
        photo = _comparison_as_dict(path, comparison)
        self.run.done.append(photo)
        with self.run.photo(path):  # what was explained is still reported
            file = self.files.next(path.stem, "compare")
            comparison.save(
                file,
                whole=bool(self.pictures.whole),
                colormap=self.pictures.colormap,
                scale=self.pictures.scale,
                style=self.style,
            )
            photo["sheet"] = str(file)
        photo["seconds"] = round(time.perf_counter() - started, 3)
        if not self.run.as_json:
            _print_comparison(self.run.console, photo, self.network)

    def _compared(self, path: Path, images: Tensor) -> Comparison | None:
        """Explain one photo, and measure its maps if asked; None when broken off before any."""
        inputs, results = ModelInputs.of(images), list[Explanation | Skipped]()
        by_method = (len(self.layers) if row.place == "layer" else 1 for row in self.methods)
        bar = Bar(self.run.console, path.name, len(self.targets) * sum(by_method))
        each = explain_many(
            self.network.model,
            inputs,
            methods=self.methods,
            targets=list(map(as_target, self.targets)),
            layers=self.layers,
            options=replace(self.options, progress=bar.show_runs),
        )
        try:
            for result in bar.over(each):
                results.append(result)
        except KeyboardInterrupt:
            self.run.stopped = True
            if not any(isinstance(result, Explanation) for result in results):
                return None
        comparison = Comparison(*sort_results(results))
        if not self.metrics or self.run.stopped:
            return comparison
        return self._measured(path, inputs, comparison)

    def _measured(self, path: Path, inputs: ModelInputs, comparison: Comparison) -> Comparison:
        """Return a comparison with its maps measured; as it is when that is broken off."""
        bar = Bar(self.run.console, f"measuring {path.name}", 1)
        options = replace(self.options, progress=bar.show_runs)
        try:
            for maps in bar.over([comparison.explanations]):
                measured = measure_all(
                    self.network.model, inputs, maps, options, metrics=self.metrics
                )
        except KeyboardInterrupt:
            self.run.stopped = True
            return comparison
        self.total = self.total + measured
        return replace(comparison, measured=measured)


def _comparison_as_dict(path: Path, comparison: Comparison) -> dict[str, Any]:
    return {
        "photo": str(path),
        "sheet": None,
        "seconds": None,
        "explanations": [_map_as_dict(explanation) for explanation in comparison],
        "skipped": [skipped._asdict() for skipped in comparison.skipped],
    }


def _map_as_dict(explanation: Explanation) -> dict[str, Any]:
    said = explanation_as_dict(explanation)
    names = ("method", "layer", "target", "score", "status", "message", "gap")
    return {name: said[name] for name in names}


def _report_sheets(sheets: _Sheets) -> None:
    """Print what was compared, for a machine; or what is left to tell when each photo was told."""
    run, total = sheets.run, sheets.total
    drawn = sum(photo["sheet"] is not None for photo in run.done)
    if run.as_json:
        report = {"model": sheets.network.name, "photos": run.done, **run.shortfall}
        if sheets.metrics:
            report |= {"measured": total.rows(), "verdict": total.verdict().sentence}
        without = len(run.paths) - drawn
        run.print_document(report, f"Interrupted: {without} photos have no sheet.")
        return
    print_measurement(run.console, total)
    print_errors(run.failed + run.unwritten)
    print_untried(run.untried)
    if run.stopped:
        outcome = "the sheet shows what was done." if drawn else "there is no sheet."
        run.console.print(f"[yellow]Interrupted:[/] {outcome}")


def _print_comparison(console: Console, photo: dict[str, Any], network: Network) -> None:
    """Print what was compared, what was skipped and why."""
    warn_of_random_weights(console, network.weights)
    table = Table(box=None, padding=(0, 1))
    for heading in ("method", "layer", "target", "status"):
        table.add_column(heading, overflow="fold")
    for each in photo["explanations"]:
        gap = "" if each["gap"] is None else f", {each['gap']:.2%} from summing to its due"
        names = (escape(each[name]) for name in ("method", "layer", "target"))
        table.add_row(*names, status_text(each) + gap)
    console.print(f"[bold]{escape(photo['photo'])}[/]  {network_title(network)}")
    console.print(table)
    for skipped in photo["skipped"]:
        console.print(
            f"[yellow]skipped[/] {escape(skipped['method'])}: {escape(skipped['reason'])}"
        )
    sheet = f" The sheet is {escape(photo['sheet'])}" if photo["sheet"] else ""
    console.print(f"{photo['seconds']:.1f} s.{sheet}")
