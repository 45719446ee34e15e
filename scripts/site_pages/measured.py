"""What was measured of each method and by each metric, read from the records and tables in docs.

* docs/choose.json: three networks, by `benchmarks/choose.py`.
* The tables of docs/measure.md: the embedded network on photos with annotated objects.
* docs/benchmarks.json and docs/page_pictures.json: how long maps take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from limelight.methods import METHODS

DOCS = Path(__file__).parent.parent.parent / "docs"

#: The networks of docs/choose.json that have learned something, and where they are described.
_CHOSEN = ("embedded", "squeezenet1_0", "transformer")
_CHOSEN_PAGE, _MEASURED_PAGE = "choose.md#decision-table", "measure.md#known-results"
_EMBEDDED = "EfficientNet-Lite0"

_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)


class MeasuredRow(NamedTuple):
    """What a metric said of a method on a network.

    Attributes:
        method: The method's name, with its options.
        metric: The metric's name, with its options.
        network: The network.
        place: Where it was cut: a layer, fused layers, or the input.
        n: How many maps, of how many images.
        own, random, centre: The means of the map and of the controls, as text.
        lead: By how much it is better than the better control, with its interval, as text.
        beats_chance: Whether it was shown to beat both controls: "yes", "no" or "not shown".
        page: The page of docs that has it, with its section.
    """

    method: str
    metric: str
    network: str
    place: str
    n: str
    own: str
    random: str
    centre: str
    lead: str
    beats_chance: str
    page: str


class SanityRow(NamedTuple):
    """How much the maps of a method stay the same when the weights are random.

    Attributes:
        method: The method's name, with its options.
        network: The network.
        likeness: The mean likeness, with its interval, as text.
        n: How many photos.
        verdict: Whether it passes.
        page: The page of docs that has it, with its section.
    """

    method: str
    network: str
    likeness: str
    n: str
    verdict: str
    page: str


class CostRow(NamedTuple):
    """How long a map takes.

    Attributes:
        method: The method's name, with its options.
        network: The network, and where it was cut.
        runs: As how many forward passes of the network it takes as long.
        page: The page of docs that has it; "" for what these pages measured themselves.
    """

    method: str
    network: str
    runs: float
    page: str


@cache
def record(name: str) -> Any:
    """Return a JSON file of docs."""
    path = DOCS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@cache
def text_of(name: str) -> str:
    """Return a page of docs."""
    return (DOCS / name).read_text(encoding="utf-8")


def tables(page: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a page of docs: rows of cells, the head first."""
    for found in _TABLE.findall(text_of(page)):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in found.splitlines()]
        yield [[cell.strip() for cell in row] for number, row in enumerate(rows) if number != 1]


def of_row(name: str, with_options: str) -> bool:
    """Return whether a name, perhaps with options, is that of a row."""
    return with_options.strip("`").partition(":")[0] == name


@cache
def measured_rows() -> tuple[MeasuredRow, ...]:
    """Return all that was measured by metrics that have controls."""
    return (*_of_measure_page(), *_of_choices())


def _of_measure_page() -> Iterator[MeasuredRow]:
    """Yield the rows of docs/measure.md: `insertion, n = 128 | mean, 95 % interval | ...`."""
    for head, *rows in tables("measure.md"):
        if len(head) != 8 or head[1] != "mean, 95 % interval":
            continue
        metric, _, n = head[0].partition(", n = ")
        metric = "energy-pointing:most=0.5" if metric == "energy-pointing" else metric
        metric = "insertion:steps=20" if metric == "insertion" else metric
        for method, own, random, centre, lead, _, beats, _ in rows:
            yield MeasuredRow(
                method.strip("`"),
                metric,
                _EMBEDDED,
                _usual_place(method.strip("`")),
                n.replace(" of ", " maps of "),
                own,
                random,
                centre,
                lead,
                beats,
                _MEASURED_PAGE,
            )


def _usual_place(method: str) -> str:
    """Return where a map is made if no layer is named."""
    place = METHODS[method.partition(":")[0]].place
    return "the last layer" if place == "layer" else "the input"


def _of_choices() -> Iterator[MeasuredRow]:
    """Yield what docs/choose.json has of each method, where it ranked best."""
    for network in _CHOSEN:
        known = record("choose.json")[network]
        for row in known["methods"]:
            for metric, found in row["metrics"].items():
                yield MeasuredRow(
                    method=row["method"],
                    metric=metric,
                    network=known["network"],
                    place=place_of(row["layers"]),
                    n=str(found["n"]),
                    own=f"{found['value']:.3f}",
                    random=f"{found['random']:.3f}",
                    centre=f"{found['centre']:.3f}",
                    lead=f"{found['lead']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]",
                    beats_chance="yes" if row["beats chance"] else "not shown",
                    page=_CHOSEN_PAGE,
                )


def place_of(layers: list[str]) -> str:
    """Return in words where a map was made."""
    if len(layers) > 1:
        return "fused"
    return f"`{layers[0]}`" if layers else "the input"


@cache
def sanity_rows() -> tuple[SanityRow, ...]:
    """Return the results of the test of sanity."""
    return (*_sanity_of_measure_page(), *_sanity_of_choices())


def _sanity_of_measure_page() -> Iterator[SanityRow]:
    for head, *rows in tables("measure.md"):
        if head[0].startswith("parameter randomisation, n = "):
            n = head[0].rpartition(" = ")[2]
            for method, likeness, _, _, verdict in rows:
                name = method.strip("`")
                where = f"{_EMBEDDED}, {_usual_place(name)}"
                yield SanityRow(name, where, likeness, n, verdict, _MEASURED_PAGE)


def _sanity_of_choices() -> Iterator[SanityRow]:
    for network in _CHOSEN:
        known = record("choose.json")[network]
        for row in known["methods"]:
            mean, low, high, n = row["likeness"]
            likeness = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            where = f"{known['network']}, {place_of(row['layers'])}"
            yield SanityRow(row["method"], where, likeness, str(n), row["sanity"], _CHOSEN_PAGE)


@cache
def cost_rows() -> tuple[CostRow, ...]:
    """Return how long maps of methods take."""
    return (*_costs_of_pictures(), *_costs_of_benchmarks(), *_costs_of_choices())


def _costs_of_pictures() -> Iterator[CostRow]:
    for found in record("page_pictures.json")["methods"].values():
        yield CostRow(
            found["method"], where_cut(found["network"], found["layer"]), found["runs"], ""
        )


def where_cut(network: str, layer: str) -> str:
    """Return the name of a network and where it is cut."""
    name = _EMBEDDED if network == "efficientnet-lite0" else network
    return f"{name}, the input" if layer == "<input>" else f"{name}, `{layer}`"


def _costs_of_benchmarks() -> Iterator[CostRow]:
    for table in record("benchmarks.json")["families"]["tables"]:
        name, runs = "resnet50 layer4", "over a plain forward"
        for row in table:
            if " " not in row[name]:  # neither the plain forward nor all together
                yield CostRow(
                    row[name], "resnet50, `layer4`", row[runs], "benchmarks.md#the-family"
                )


def _costs_of_choices() -> Iterator[CostRow]:
    for network in _CHOSEN:
        known = record("choose.json")[network]
        for row in known["methods"]:
            where = f"{known['network']}, {place_of(row['layers'])}"
            yield CostRow(row["method"], where, row["runs"], _CHOSEN_PAGE)


def departures(page: str, name: str) -> list[dict[str, str]]:
    """Return the rows of a page's table of departures from the papers that are of a row.

    An empty first cell, in the table of metrics, repeats the one above.
    """
    found = []
    for head, *rows in tables(page):
        if head[-1] != "why" or len(head) != 4:
            continue
        names = ""
        for row in rows:
            names = row[0] or names
            if f"`{name}`" in names:
                cells = dict(zip(("names", "paper", "here", "why"), [names, *row[1:]], strict=True))
                found.append(cells)
    return found
