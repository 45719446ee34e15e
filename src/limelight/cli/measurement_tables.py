"""The tables that a measurement is printed as."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from limelight.cli.output import Console
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.measurement import Measurement
from limelight.metrics.statistics import Estimate


def print_measurement(console: Console, measurement: Measurement) -> None:
    """Print for each metric a table of methods beside chance, best first; then the verdict."""
    for metric in measurement.metrics:
        console.print(_metric_table(measurement, metric))
    print_unmeasured(console, measurement)
    for (method, _layer), counts in measurement.status.items():
        worthless = [f"{count} {name}" for name, count in counts.items() if name != "ok"]
        if worthless:
            console.print(f"[yellow]worthless maps[/] {escape(method)}: {', '.join(worthless)}")
    if measurement.readings:
        console.print(f"[bold]{escape(measurement.verdict().sentence)}[/]")


def _metric_table(measurement: Measurement, metric: str) -> Table:
    ranking = measurement.ranking(metric)
    counts = {count_readings(estimate.own) for estimate in ranking}
    shared = f", n = {counts.pop()}" if len(counts) == 1 else ""
    table = Table(
        box=None,
        padding=(0, 1),
        title=f"{escape(metric)} ({ranking[0].better} is better{shared})",
        title_justify="left",
        title_style="bold",
    )
    headings = ["method", "mean, 95 % interval", "random", "centre", *(["n"] if counts else []), ""]
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("method", ""))
    for estimate in ranking:
        table.add_row(
            escape(measurement.names[estimate.method, estimate.layer]),
            escape(str(estimate.own)),
            *(f"[dim]{control.value:.3f}[/]" for control in (estimate.random, estimate.centre)),
            *([count_readings(estimate.own)] if counts else []),
            _beside_chance(estimate),
        )
    return table


def print_unmeasured(console: Console, measurement: Measurement) -> None:
    """Print which metrics could not be measured for which methods, and why."""
    for method, metric, reason in measurement.unmeasured:
        subject = f"{metric} of {method}" if metric else method
        console.print(f"[yellow]skipped[/] {escape(subject)}: {escape(reason)}")


def count_readings(estimate: Estimate) -> str:
    """Return the number of readings in an estimate, and how many were left out, in words."""
    images = "" if estimate.images in (estimate.n, 0) else f" of {estimate.images} images"
    left_out = f", {estimate.left_out} left out" if estimate.left_out else ""
    return f"{estimate.n}{images}{left_out}"


def _beside_chance(estimate: MetricEstimate) -> str:
    if not estimate.judged:
        return ""
    if estimate.beats_chance is None:
        return "ahead" if estimate.ahead else "[yellow]not ahead[/]"
    return "[green]beats chance[/]" if estimate.beats_chance else "[yellow]does not[/]"
