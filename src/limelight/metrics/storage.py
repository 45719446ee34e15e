"""Measurements as plain values and as CSV.

The names of the values are part of the files: what was written before has to stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from limelight import files
from limelight.metrics import find_metric
from limelight.metrics.comparisons import MapsDifference
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import Estimate, PairedDifference
from limelight.metrics.metric import Readings
from limelight.metrics.readings import MAP_SOURCES, MapReadings, ReadingsKey
from limelight.plain import as_json, from_json_number, to_json_number
from limelight.tables import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASUREMENT_FORMATS = ("json", "csv", "png", "jpg", "pdf", "svg", "webp")


def estimate_row(estimate: MetricEstimate) -> dict[str, Any]:
    """Return an estimate as plain values: a row of the table."""
    sources = (("", estimate.own), ("random_", estimate.random), ("centre_", estimate.centre))
    means = {f"{prefix}{name}": value for prefix, mean in sources for name, value in _ends(mean)}
    leads = {
        f"over_{control}_{name}": value
        for control, lead in (("random", estimate.over_random), ("centre", estimate.over_centre))
        for name, value in (*_ends(lead), ("share", lead.above))
    }
    return {
        "method": estimate.method,
        "layer": estimate.layer,
        "metric": estimate.metric,
        "part": estimate.part,
        "better": estimate.better,
        "n": estimate.own.n,
        "images": estimate.own.images,
        "left_out": estimate.own.left_out,
        **means,
        **leads,
        "p": estimate.p if estimate.judged else None,
        "beats_chance": estimate.beats_chance if estimate.judged else None,
        "sentence": estimate.sentence if estimate.judged else None,
    }


def difference_row(pair: MapsDifference) -> dict[str, Any]:
    """Return the difference of two methods as plain values."""
    return {
        "first": pair.first,
        "second": pair.second,
        "metric": pair.metric,
        "n": pair.lead.n,
        "images": pair.lead.images,
        **dict(_ends(pair.lead)),
        "share": pair.lead.above,
        "p": pair.p,
        "is_real": pair.is_real,
        "sentence": pair.sentence,
    }


def _ends(mean: Estimate | PairedDifference) -> tuple[tuple[str, float], ...]:
    return ("value", mean.value), ("low", mean.low), ("high", mean.high)


def save(
    path: str | Path,
    report: Callable[[], Mapping[str, Any]],
    rows: Callable[[], Sequence[Mapping[str, Any]]],
    figure: Callable[[], Figure],
) -> Path:
    """Write a result: all of it (.json), its table (.csv), or a picture.

    Args:
        path: Where to; its suffix is the format.
        report: Returns all of the result as plain values.
        rows: Returns the rows of its table.
        figure: Draws it.

    Raises:
        OutputError: The format is unknown, or the file cannot be written there.
    """
    path = Path(path)
    form = files.known_suffix(path, MEASUREMENT_FORMATS)
    if form == "json":
        return files.write_whole(path, as_json(report(), indent=1).encode())
    if form == "csv":
        return files.write_whole(path, _csv(rows()).encode())
    from limelight import render

    return render.save_figure(path, figure)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    return csv_text(rows, None if rows else {"method": str})


def plain_readings(readings: Mapping[ReadingsKey, MapReadings]) -> list[dict[str, Any]]:
    """Return readings as plain values, which `parse_readings` reads."""
    return [
        {
            **key._asdict(),
            "groups": list(maps.groups),
            "images": list(maps.images),
            "numbers": {source: _plain(maps.values[source]) for source in MAP_SOURCES},
            "curves": {source: _plain(maps.curve_sums[source]) for source in MAP_SOURCES},
            "counted": {source: dict(maps.curve_counts[source]) for source in MAP_SOURCES},
        }
        for key, maps in readings.items()
    ]


def parse_readings(plain: Iterable[Mapping[str, Any]]) -> dict[ReadingsKey, MapReadings]:
    """Return the readings that `plain_readings` wrote.

    Raises:
        UnknownNameError, OptionError: A metric does not exist in METRICS.
        KeyError, TypeError, ValueError, AttributeError: The values are something else.
    """
    return {
        ReadingsKey(entry["method"], entry["layer"], entry["metric"]): MapReadings(
            find_metric(entry["metric"]),
            {source: _tensors(entry["numbers"][source]) for source in MAP_SOURCES},
            {source: _tensors(entry["curves"][source]) for source in MAP_SOURCES},
            entry["counted"],
            tuple(entry["groups"]),
            tuple(entry["images"]),
        )
        for entry in plain
    }


def _plain(readings: Readings) -> dict[str, Any]:
    return {name: list(map(to_json_number, values.tolist())) for name, values in readings.items()}


def _tensors(plain: Mapping[str, Sequence[float | str | None]]) -> Readings:
    return {
        name: torch.tensor(list(map(from_json_number, values)), dtype=torch.float64, device="cpu")
        for name, values in plain.items()
    }
