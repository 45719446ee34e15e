"""The tables that a measurement is printed as."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from limelight.cli.output import Console
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import FEWEST_IMAGES_OF_A_PAIR, Estimate
from limelight.metrics.measurement import Measurement

#: With so many columns a terminal has room for the intervals of the means as well.
_WIDE = 110


def print_measurement(console: Console, measurement: Measurement) -> None:
    """Print for each metric a table of methods beside chance, best first; then the verdict."""
    for metric in measurement.metrics:
        console.print(_metric_table(measurement, metric, wide=console.width >= _WIDE))
    if measurement.readings:
        console.print(f"[dim]{_explanation(measurement)}[/]")
    print_unmeasured(console, measurement)
    for (method, _layer), counts in measurement.status.items():
        worthless = [f"{count} {name}" for name, count in counts.items() if name != "ok"]
        if worthless:
            console.print(f"[yellow]worthless maps[/] {escape(method)}: {', '.join(worthless)}")
    if measurement.readings:
        console.print(f"[bold]{escape(measurement.verdict().sentence)}[/]")


def _metric_table(measurement: Measurement, metric: str, *, wide: bool) -> Table:
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
    letters = measurement.letters(metric) if _has_letters(measurement) else {}
    headings = [
        "method",
        "mean, 95 % interval" if wide else "mean",
        "random",
        "centre",
        "lead, 95 % interval",
        *(["n"] if counts else []),
        *(["alike"] if letters else []),
        "beats chance",
    ]
    for heading in headings:
        table.add_column(
            heading, overflow="fold", no_wrap=heading not in ("method", "beats chance")
        )
    for estimate in ranking:
        name = measurement.names[estimate.method, estimate.layer]
        table.add_row(
            escape(name),
            escape(str(estimate.own)) if wide else f"{estimate.own.value:.3f}",
            *(f"[dim]{control.value:.3f}[/]" for control in (estimate.random, estimate.centre)),
            escape(str(estimate.lead)),
            *([count_readings(estimate.own)] if counts else []),
            *([letters[name]] if letters else []),
            _beside_chance(estimate),
        )
    return table


def _has_letters(measurement: Measurement) -> bool:
    """Return whether there are several methods, and images enough to tell them apart."""
    enough = any(row.own.images >= FEWEST_IMAGES_OF_A_PAIR for row in measurement.estimates())
    return len(measurement.names) > 1 and enough


def _explanation(measurement: Measurement) -> str:
    """Return what the columns mean."""
    words = (
        "lead: by how much the maps are better than the better of random and centre, image by "
        "image."
    )
    if _has_letters(measurement):
        words += " alike: these images cannot tell methods apart that share a letter."
    return words


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
        return "too few" if estimate.own.n else ""
    return "[green]yes[/]" if estimate.beats_chance else "[yellow]no[/]"
