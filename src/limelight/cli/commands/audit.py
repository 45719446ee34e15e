"""`limelight audit`: where a network looks on a data set, and whether it should."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from limelight.audits.pipeline import Engine, audit_again, compare_audits
from limelight.audits.pipeline import audit as audit_photos
from limelight.audits.rows.looking import Explained
from limelight.cli.audit_report import print_audit, print_difference
from limelight.cli.map_options import DEFAULT_METHOD, OneLayer
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.object_options import ObjectOptions
from limelight.cli.option_groups import name_option, path_option
from limelight.cli.output import INTERRUPTED, Console, document, interrupted
from limelight.cli.output_options import AsJson
from limelight.cli.progress import TaskBar
from limelight.metrics.annotation_files import read_matches, read_names

_GOES_ON = "Interrupted: the same command again goes on from here."


@dataclass(frozen=True, kw_only=True)
class _MatchOptions(ObjectOptions):
    """Where the objects of the photos are, and which classes go with what people wrote."""

    match: Annotated[
        Path | None,
        path_option(
            help="Which of the network's classes go with a label or a marked class: a CSV file "
            "with a line 'written, class, class, ...' for each. Photos without a label are then "
            "right if the answer goes with a marked object."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _RunOptions:
    """How the rows are made."""

    method: Annotated[
        str | None,
        typer.Option(help=f"A name that `limelight methods` lists. {DEFAULT_METHOD}"),
    ] = None
    layer: OneLayer = None
    target: Annotated[
        Explained, typer.Option(help="Explain the predicted class, or the label.")
    ] = "predicted"
    output: LogitsPart = None
    features_layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="The early layer whose activations describe what is under the heat; chosen when "
            "not given.",
        ),
    ] = None
    batch: Annotated[
        int, typer.Option(min=1, help="Photos that go through the network together.")
    ] = 8
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many threads decode photos; with --engine ray, how many processes run the "
            "network.",
        ),
    ] = None
    engine: Annotated[
        Engine,
        typer.Option(help="This process, or a cluster of Ray: pip install 'limelight\\[ray]'."),
    ] = "local"
    address: Annotated[
        str | None,
        name_option(
            "--address",
            metavar="ADDRESS",
            help="The address of a Ray cluster; without it one is started.",
        ),
    ] = None
    no_removal: Annotated[
        bool,
        typer.Option(
            "--no-removal", help="Do not paint evidence over to see which answers change."
        ),
    ] = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `limelight.audit` that these options stand for."""
        given = asdict(self)
        return {"removal": not given.pop("no_removal"), **given}


def audit(
    *,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA]...",
            help="Folders, photos, patterns as in 'photos/*.jpg', or URLs that fsspec reads. "
            "Without it, the rows in --out are searched again, without the network.",
            show_default=False,
        ),
    ] = None,
    network_options: NetworkOptions,
    labels: Annotated[
        str | None,
        name_option(
            "--labels",
            metavar="CSV|folders",
            help="The true classes: a CSV file with the columns photo and label, or the names of "
            "the photos' folders. Without it those, if all are classes of the network.",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        name_option(
            "--groups",
            metavar="CSV",
            help="Which photos belong together (a patient, a film): a CSV file with the columns "
            "photo and group.",
        ),
    ] = None,
    object_options: _MatchOptions,
    run_options: _RunOptions,
    out: Annotated[
        str,
        name_option(
            "--out", "-o", metavar="PATH|URL", help="The folder of the rows and of the report."
        ),
    ] = "limelight-audit",
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff",
            metavar="RUN RUN",
            help="Compare two audits of the same photos by two networks; difference.html goes to "
            "--out.",
        ),
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Write findings.json alone: no page, no lists.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find out where a network looks on a data set, whether it should, and what to mend.

    Every photo becomes a row in --out: prediction, map, and what the network saw under the heat.
    Then the rows are searched: which evidence wrong answers share, what lies at one place, which
    marks the pixels of a class have. report.html shows it. The same command again goes on where it
    was broken off.

    [bold]Examples[/]

    limelight audit photos/ --model resnet50 --labels labels.csv --out audit

    limelight audit photos/ --boxes boxes/ --names coco.names

    limelight audit scans/ --model mine:network --labels folders --groups patients.csv

    limelight audit --out audit --labels corrected.csv

    limelight audit --diff before after --out compared
    """
    object_options.check()
    _refuse_unused(data, diff, object_options, labels=labels, groups=groups)
    console = Console(stderr=as_json)
    bar = TaskBar(console)
    matches = None if object_options.match is None else read_matches(object_options.match)
    names = None if object_options.names is None else read_names(object_options.names)
    shared: dict[str, Any] = {
        "labels": labels,
        "groups": groups,
        "matches": matches,
        "report": not no_report,
        "seed": seed,
        "progress": bar.show,
    }
    try:
        with bar:
            if diff is not None:
                difference = compare_audits(*diff, out, progress=bar.show)
            elif data:
                found = audit_photos(
                    network_options.load(),
                    data,
                    out,
                    boxes=object_options.boxes,
                    masks=object_options.masks,
                    names=names,
                    mask_value=object_options.mask_value,
                    **run_options.arguments,
                    **shared,
                )
            else:
                found = audit_again(out, **shared)
    except KeyboardInterrupt:
        _say_how_to_go_on(console, as_json=as_json)
        raise typer.Exit(INTERRUPTED) from None
    if diff is not None:
        print_difference(console, difference, out, as_json=as_json)
    else:
        print_audit(console, found, out, as_json=as_json, report=not no_report)


def _refuse_unused(
    data: list[str] | None,
    diff: tuple[str, str] | None,
    object_options: _MatchOptions,
    **truth: str | None,
) -> None:
    """Refuse what would be passed over: photos or labels beside --diff, objects without photos.

    Raises:
        typer.BadParameter: There is such an option.
    """
    objects = [name for name in ("boxes", "masks") if getattr(object_options, name) is not None]
    given = [f"--{name}" for name, value in truth.items() if value is not None]
    given += [f"--{name}" for name in objects]
    if diff is not None and (data or given):
        other = given[0] if given else "photos"
        raise typer.BadParameter(
            f"--diff compares two audits that are done, and takes no {other}. Audit the photos, or "
            "search again with other labels, before."
        )
    if diff is None and not data and objects:
        raise typer.BadParameter(
            f"--{objects[0]} is read when photos are explained: pass the photos too, and a new "
            "--out."
        )


def _say_how_to_go_on(console: Console, *, as_json: bool) -> None:
    if as_json:
        document(interrupted(_GOES_ON))
    head, tail = _GOES_ON.split(":", 1)
    console.print(f"[yellow]{head}:[/]{tail}")
