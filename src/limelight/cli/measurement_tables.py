"""The tables of what was measured."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from limelight.cli.output import Console
from limelight.metrics.measurement import Measurement
from limelight.metrics.statistics import Estimate
from limelight.metrics.verdict import Measured


def print_measurement(console: Console, measurement: Measurement) -> None:
    """Print a table for each metric, best method first, chance beside it, and the verdict."""
    for metric in measurement.metrics:
        console.print(_metric_table(measurement, metric))
    print_unmeasured(console, measurement)
    for (method, _layer), counts in measurement.status.items():
        worthless = [f"{count} {name}" for name, count in counts.items() if name != "ok"]
        if worthless:
            console.print(f"[yellow]worthless maps[/] {escape(method)}: {', '.join(worthless)}")
    if measurement.samples:
        console.print(f"[bold]{escape(measurement.verdict().sentence)}[/]")


def _metric_table(measurement: Measurement, metric: str) -> Table:
    ranking = measurement.ranking(metric)
    counts = {count_readings(figure.own) for figure in ranking}
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
    for figure in ranking:
        table.add_row(
            escape(measurement.names[figure.method, figure.layer]),
            escape(str(figure.own)),
            *(f"[dim]{control.value:.3f}[/]" for control in (figure.random, figure.centre)),
            *([count_readings(figure.own)] if counts else []),
            _beside_chance(figure),
        )
    return table


def print_unmeasured(console: Console, measurement: Measurement) -> None:
    """Print what could not be measured, and why."""
    for method, metric, reason in measurement.unmeasured:
        subject = f"{metric} of {method}" if metric else method
        console.print(f"[yellow]skipped[/] {escape(subject)}: {escape(reason)}")


def count_readings(estimate: Estimate) -> str:
    """Return how many readings an estimate is made of, and how many were left out."""
    images = "" if estimate.images in (estimate.n, 0) else f" of {estimate.images} images"
    left_out = f", {estimate.left_out} left out" if estimate.left_out else ""
    return f"{estimate.n}{images}{left_out}"


def _beside_chance(figure: Measured) -> str:
    if not figure.judged:
        return ""
    if figure.beats_chance is None:
        return "ahead" if figure.ahead else "[yellow]not ahead[/]"
    return "[green]beats chance[/]" if figure.beats_chance else "[yellow]does not[/]"
