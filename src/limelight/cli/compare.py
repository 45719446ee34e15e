"""`limelight compare` and `concepts`: many maps of one photo, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL.Image import Image
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.cli import options
from limelight.cli.ending import Ending
from limelight.cli.measure import tell
from limelight.cli.output import Console
from limelight.cli.progress import (
    Bar,
    called,
    complain,
    note,
    status,
    tell_untried,
    tell_weights,
    untried,
)
from limelight.cli.words import worded
from limelight.comparison import Comparison
from limelight.concepts import factorize
from limelight.errors import OptionError, OutputError, PhotoError
from limelight.explanation import Explanation
from limelight.files import file_name, refuses_all
from limelight.inputs import ModelInputs
from limelight.methods import QUICK_METHODS, Method
from limelight.methods.views import find_views
from limelight.metrics import Metric
from limelight.metrics.measurement import Measurement
from limelight.metrics.run import measure_all
from limelight.models.network import DEFAULT, Network
from limelight.options import Options
from limelight.pipeline import Skipped, explain_many, sort_results
from limelight.targets import Target, as_target

_METRICS = "insertion:steps=25 deletion:steps=25 road:steps=5"


def compare(
    photos: options.Photos = None,
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            help="Names that `limelight methods` lists, with spaces between them, with options if "
            "any; or 'all', which takes minutes. Without it, nine quick ones.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also measure how far each map can be trusted, beside chance, and rank them.",
        ),
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Measure by these: names that `limelight metrics` lists, with spaces between "
            f"them. With --measure alone {_METRICS}.",
        ),
    ] = None,
    target: options.Targets = None,
    topk: options.TopK = None,
    against: options.Against = None,
    counterfactual: options.Counter = False,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", help="A dotted path; repeat it to compare several."),
    ] = None,
    views: options.Look = None,
    eigen: options.Eigen = False,
    chunk: options.Chunk = None,
    compile: options.Compile = False,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="A folder; or a file, for one photo.")
    ] = Path("limelight-out"),
    form: options.Form = None,
    colormap: options.Colormap = "inferno",
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
    as_json: options.AsJson = False,
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
    targets = options.targets(target, topk, against, counterfactual)
    rows = options.methods(methods or QUICK_METHODS)
    measure = measure or metrics is not None
    asked = options.metrics([metrics or _METRICS], with_objects=False) if measure else []
    if needing := [row.name for row in asked if "objects" in row.needs]:
        raise OptionError(
            f"{', '.join(needing)}: a sheet does not know where the objects are. Call `limelight "
            "measure` with --boxes or --masks."
        )
    looks = find_views(views) if views else None
    paths = options.photos(photos or ["chelsea"])
    form_name, place = options.place(out, form, len(paths) == 1)
    console = Console(stderr=as_json)
    network = options.load(model, weights, classes, size, mean, std, device, dtype)
    call = Options.read(
        classes=network.classes, views=looks, eigen=eigen, chunk=chunk, compile=compile
    )
    run = _Run(
        console,
        network,
        rows,
        targets,
        layer or [None],
        call,
        asked,
        len(paths) == 1,
        not as_json,
    )
    used = set[Path]()

    def draw(comparison: Comparison, path: Path, panel: Image) -> Path:
        file = out
        if place is not None:
            file = options.free(place, (path.stem, "compare"), form_name, used)
        comparison.save(file, photos=[panel], colormap=colormap)
        return file

    with run.ending.noted():
        for path in paths:
            _explain(run, path, draw)
            if run.ending.stopped or run.full:
                break
    run.ending.check(run.photos, run.failed)
    _report(run, paths, as_json=as_json)
    run.ending.leave(run.code)


@dataclass
class _Run:
    """What is done with every photo, and what was done so far."""

    console: Console
    network: Network
    methods: Sequence[Method]
    targets: Sequence[Target]
    layers: Sequence[str | None]
    call: Options
    metrics: Sequence[Metric]
    alone: bool  # there is one photo
    aloud: bool  # each photo is told of in words when it is done
    total: Measurement = field(default_factory=Measurement)
    photos: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    unwritten: list[dict[str, str]] = field(default_factory=list)
    code: int = 0  # of what was told of photos
    full: bool = False  # no further sheet can be written
    ending: Ending = field(default_factory=Ending)


def _explain(run: _Run, path: Path, draw: Callable[[Comparison, Path, Image], Path]) -> None:
    """Explain one photo in all ways, draw the sheet, and note what became of it."""
    started = time.perf_counter()
    try:
        images, panel = options.as_seen(path, run.network)
    except PhotoError as error:  # the others are still done
        run.code = max(run.code, note(run.failed, path, error, alone=run.alone))
        return
    comparison = _compared(run, path, images)
    if comparison is None:
        return
    if any(one.status[0].name == "not-finite" for one in comparison):
        run.code = max(run.code, 1)
    told = _as_dict(path, comparison)
    run.photos.append(told)
    try:
        told["sheet"] = str(draw(comparison, path, panel))
    except OutputError as error:  # what was explained is still reported
        run.code = max(run.code, note(run.unwritten, path, error, alone=run.alone))
        run.full = refuses_all(error)
    told["seconds"] = round(time.perf_counter() - started, 3)
    if run.aloud:
        _tell(run.console, told, run.network)


def _compared(run: _Run, path: Path, images: Tensor) -> Comparison | None:
    """Explain one photo in all ways, and measure them if asked; None when broken off before any."""
    network = run.network
    by_row = (len(run.layers) if row.place == "layer" else 1 for row in run.methods)
    bar = Bar(run.console, path.name, len(run.targets) * sum(by_row))
    found: list[Explanation | Skipped] = []
    inputs, call = ModelInputs.of(images), replace(run.call, progress=bar.named)
    try:
        results = explain_many(
            network.model,
            inputs,
            methods=run.methods,
            targets=list(map(as_target, run.targets)),
            layers=run.layers,
            options=call,
        )
        for one in bar.over(results):
            found.append(one)
    except KeyboardInterrupt:
        run.ending.stopped = True
        if not any(isinstance(one, Explanation) for one in found):
            return None
    comparison = Comparison(*sort_results(found))
    if not run.metrics or run.ending.stopped:
        return comparison
    bar = Bar(run.console, f"measuring {path.name}", 1)
    call = replace(run.call, progress=bar.named)
    try:
        for maps in bar.over([comparison.explanations]):
            measured = measure_all(network.model, inputs, maps, call, metrics=run.metrics)
    except KeyboardInterrupt:
        run.ending.stopped = True
        return comparison
    run.total = run.total + measured
    return replace(comparison, measured=measured)


def _as_dict(path: Path, comparison: Comparison) -> dict[str, Any]:
    return {
        "photo": str(path),
        "sheet": None,
        "seconds": None,
        "explanations": [
            {
                "method": one.method,
                "layer": one.layer,
                "target": one.label[0],
                "score": float(one.score[0]),
                "status": one.status[0].name,
                "message": one.status[0].message,
                "gap": None if one.completeness_gap is None else float(one.completeness_gap[0]),
            }
            for one in comparison
        ],
        "skipped": [one._asdict() for one in comparison.skipped],
    }


def _report(run: _Run, paths: Sequence[Path], *, as_json: bool) -> None:
    """Print what was compared, for a machine; or what is left to tell when each photo was told."""
    drawn = sum(one["sheet"] is not None for one in run.photos)
    left = untried(paths, [*run.photos, *run.failed])
    if as_json:
        told = {
            "model": run.network.name,
            "photos": run.photos,
            "failed": run.failed,
            "unwritten": run.unwritten,
            "untried": left,
        }
        if run.metrics:
            told |= {"measured": run.total.rows(), "verdict": run.total.verdict().sentence}
        run.ending.document(told, f"Interrupted: {len(paths) - drawn} photos have no sheet.")
        return
    tell(run.console, run.total)
    complain(run.failed + run.unwritten)
    tell_untried(left)
    if run.ending.stopped:
        shown = "the sheet shows what was done." if drawn else "there is no sheet."
        run.console.print(f"[yellow]Interrupted:[/] {shown}")


def _tell(console: Console, photo: dict[str, Any], network: Network) -> None:
    """Print what was compared, what was skipped and why."""
    tell_weights(console, network.weights)
    table = Table(box=None, padding=(0, 1))
    for heading in ("method", "layer", "target", "status"):
        table.add_column(heading, overflow="fold")
    for one in photo["explanations"]:
        gap = "" if one["gap"] is None else f", {one['gap']:.2%} from summing to its due"
        table.add_row(
            escape(one["method"]), escape(one["layer"]), escape(one["target"]), status(one) + gap
        )
    console.print(f"[bold]{escape(photo['photo'])}[/]  {called(network)}")
    console.print(table)
    for one in photo["skipped"]:
        console.print(f"[yellow]skipped[/] {escape(one['method'])}: {escape(one['reason'])}")
    sheet = f" The sheet is {escape(photo['sheet'])}" if photo["sheet"] else ""
    console.print(f"{photo['seconds']:.1f} s.{sheet}")


def concepts(
    photos: options.Photos = None,
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="How many concepts to look for.")
    ] = 5,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", help="A dotted path; chosen when not given.")
    ] = None,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="A folder, or a file; its suffix says as what.")
    ] = Path("limelight-out"),
    colormap: options.Colormap = "inferno",
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
) -> None:
    """Find what the features of all PHOTOs are made of, where, and what the network calls it.

    The activations are factorized into a few concepts (deep feature factorization). All photos are
    taken together, so that the same concept can be found in several of them.
    """
    paths = options.photos(photos or ["chelsea"])
    form_name, place = options.place(out, None, one=True)
    network = options.load(model, weights, classes, size, mean, std, device, dtype)
    loaded, failed = list[tuple[Tensor, Image]](), list[dict[str, str]]()
    for path in paths:
        try:
            loaded.append(options.as_seen(path, network))
        except PhotoError as error:
            failed.append({"photo": str(path), "error": worded(error)})
            if len(paths) == 1:
                raise
    if not loaded:
        complain(failed)
        raise typer.Exit(1)
    found = factorize(
        network.model,
        torch.cat([images for images, _ in loaded]),
        concepts=count,
        layer=layer,
        classes=network.classes,
    )
    file = out
    if place is not None:
        file = place / file_name((paths[0].stem, "concepts"), form_name)
    code = 1 if failed else 0
    try:
        found.save(file, photos=[panel for _, panel in loaded], colormap=colormap)
        picture = f" The picture is {escape(str(file))}"
    except OutputError as error:  # what was found is still told
        failed.append({"photo": str(paths[0]), "error": worded(error)})
        picture, code = "", error.exit_code
    console = Console()
    table = Table("concept", "what the network calls it", box=None, padding=(0, 1))
    for number, labels in enumerate(found.labels, start=1):
        table.add_row(str(number), escape("; ".join(labels)))
    console.print(table)
    console.print(
        f"At {escape(found.layer)}, {found.error:.0%} of the activations is left unexplained."
        + picture
    )
    complain(failed)
    raise typer.Exit(code)
