"""`limelight doctor`: whether the installation works, and whether a network is read well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli.network_options import LogitsPart, ModelName, NetworkOptions
from limelight.cli.output import INTERRUPTED, Console, document, interrupted
from limelight.cli.output_options import AsJson
from limelight.cli.progress import TaskBar
from limelight.cli.words import in_options
from limelight.examination.installation import examine_installation
from limelight.examination.observations import Examination, Observation, summary
from limelight.models.defaults import DEFAULT
from limelight.progress import ProgressCallback

if TYPE_CHECKING:
    from limelight.models.network import Network


@dataclass(frozen=True, kw_only=True)
class _ExaminedNetwork(NetworkOptions):
    """The network to examine, if one is named."""

    model: ModelName = ""

    @property
    def is_given(self) -> bool:
        """Whether any of the options is given."""
        return self != type(self)()

    def load(self) -> Network:
        """Load the network that is named, else the embedded one."""
        return super().load() if self.model else replace(self, model=DEFAULT).load()


def doctor(
    *,
    network_options: _ExaminedNetwork,
    photo: Annotated[
        list[str] | None,
        typer.Option(
            "--photo",
            metavar="PHOTO",
            help="Examine the network with this photo, or with a sample; repeat it for several. A "
            "sample without it.",
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Examine this layer of the network; the chosen one without.")
    ] = None,
    output: LogitsPart = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long the test with random weights may take, about.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Examine the installation, or with --model your own network, and say what to mend.

    Without a network: versions, packages with what each is for, devices, whether torch, numpy and
    torchvision fit together, and a map of the embedded network, which has to be that of its
    equation. With one: what it takes and returns, which layer is chosen and why, whether the cells
    of that layer look where they lie, a first map, whether that is the same again, whether random
    weights change it, and whether the network is left as it was. The exit code is 1 if something
    is broken. Where the command itself cannot start: python -m limelight.examination.

    [bold]Examples[/]

    limelight doctor

    limelight doctor --model resnet50

    limelight doctor --model mynets:build --weights mine.pth --photo cat.jpg --layer features
    """
    console = Console(stderr=as_json)
    has_network = network_options.is_given or bool(photo or layer or output)
    seen, stopped = list[Observation](), False
    bar = TaskBar(console)
    try:
        with bar:
            if has_network:
                bar.show("loading the network", 0, 0)
                network = network_options.load()
                found = _network_observations(
                    network, photo, layer, output, seconds=seconds, progress=bar.show
                )
            else:
                found = examine_installation(bar.show)
            for part, together in groupby(found, lambda each: each.part):
                observations = list(together)
                seen += observations
                _print_part(console, part, observations)
    except KeyboardInterrupt:
        stopped = True
    examination = Examination(tuple(seen))
    said = "Interrupted: the rest was not examined." if stopped else summary(seen)
    if as_json:
        report = {"ok": examination.ok, "observations": examination.rows()}
        document(report | (interrupted(said) if stopped else {}))
    else:
        colour = "yellow" if stopped else "green" if examination.ok else "red"
        console.print(f"[{colour}]{escape(said)}[/]")
    raise typer.Exit(INTERRUPTED if stopped else int(not examination.ok))


def _network_observations(
    network: Network,
    photos: list[str] | None,
    layer: str | None,
    output: str | None,
    *,
    seconds: float,
    progress: ProgressCallback,
) -> Iterator[Observation]:
    """Return what is found in a network, with the photos that are named or else with a sample."""
    from limelight.cli.photo_options import photo_paths
    from limelight.examination.own_network import examine_network

    images = photo_paths(photos) if photos else None
    return examine_network(
        network, images, layer=layer, output=output, seconds=seconds, progress=progress
    )


_COLOURS = {"ok": "green", "absent": "dim", "note": "yellow", "broken": "bold red"}


def _print_part(console: Console, part: str, observations: list[Observation]) -> None:
    """Print what was found in one part, and what to do about it."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in observations:
        colour = _COLOURS[each.verdict]
        said = "\n".join(filter(None, (each.found, each.advice)))
        table.add_row(
            f"[{colour}]{each.verdict}[/]", escape(each.subject), escape(in_options(said))
        )
    console.print(f"[bold]{part}[/]")
    console.print(table)
