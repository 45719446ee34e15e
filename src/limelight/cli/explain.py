"""`limelight explain`: heatmaps of photos."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from limelight.ahead import Room, ahead
from limelight.cli import options
from limelight.cli.ending import Ending
from limelight.cli.output import Console
from limelight.cli.progress import (
    Bar,
    called,
    complain,
    counted,
    status,
    tell_untried,
    tell_weights,
    untried,
)
from limelight.cli.words import worded
from limelight.errors import OutputError
from limelight.explanation import Explanation, PictureKind
from limelight.files import refuses_all
from limelight.methods.fusing import Fusion
from limelight.methods.views import find_views
from limelight.models.network import DEFAULT, Network
from limelight.photo_pipeline import PhotoResult, explain_photos
from limelight.photos.memory import PHOTO_BYTES, is_large
from limelight.targets.class_names import label_of
from limelight.targets.outputs import answers


@dataclass
class _Run:
    """What has been done so far."""

    console: Console
    network: Network
    photos: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    unwritten: list[dict[str, Any]] = field(default_factory=list)
    ending: Ending = field(default_factory=Ending)
    code: int = 0  # of what was told of photos
    used: set[Path] = field(default_factory=set)
    full: bool = False  # no further picture can be written
    drawing: float = 0.0  # seconds
    explaining: float = 0.0

    def timed(self, results: Iterator[PhotoResult]) -> Iterator[PhotoResult]:
        """Go through results, and note how long they take to come, and what broke them off."""
        while True:
            started, result = time.perf_counter(), None
            with self.ending.noted():  # what was explained is still drawn
                result = next(results, None)
            self.explaining += time.perf_counter() - started
            if result is None or self.full:
                return
            handed = [result]
            del result  # its photo may be large, and the next is long in coming
            yield handed.pop()


def explain(
    photos: options.Photos = None,
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    target: options.Targets = None,
    topk: options.TopK = None,
    against: options.Against = None,
    counterfactual: options.Counter = False,
    box: options.AtBox = None,
    pixel: options.AtPixel = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer", "-l", help="A dotted path; chosen when not given; repeat it to fuse several."
        ),
    ] = None,
    fuse: Annotated[
        Fusion, typer.Option("--fuse", help="How the maps of several layers become one.")
    ] = "mean",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="A name that `limelight methods` lists, with options if any: rise:masks=1000.",
        ),
    ] = "gradcam",
    views: options.Look = None,
    eigen: options.Eigen = False,
    chunk: options.Chunk = None,
    compile: options.Compile = False,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="A folder; or a file, for one picture.")
    ] = Path("limelight-out"),
    form: options.Form = None,
    picture: Annotated[
        PictureKind, typer.Option("--picture", "-p", help="What to draw.")
    ] = "figure",
    colormap: options.Colormap = "inferno",
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Photos that go through the network together.")
    ] = 8,
    as_json: options.AsJson = False,
) -> None:
    """Show what a network looked at in PHOTO: its predicted class, or any other.

    Without a photo it takes a sample. Pictures are written to --out, whole or not at all; a photo
    that cannot be read is reported at the end, and the others are done.

    [bold]Examples[/]

    limelight explain cat.jpg

    limelight explain cat.jpg --model vgg16 --target tabby --layer features --out cat.pdf

    limelight explain street.jpg --model fasterrcnn_resnet50_fpn --topk 3

    limelight explain holiday/ --topk 3 --picture overlay --out maps/
    """
    classes_meant = options.targets(target, topk, against, counterfactual)
    looks = find_views(views) if views else None
    paths = options.photos(photos or ["chelsea"])
    one = len(paths) == 1 and len(classes_meant) <= 1
    form_name, place = options.place(out, form, one)

    started = time.perf_counter()
    console = Console(stderr=as_json)
    with console.status("loading the network") if console.is_terminal else nullcontext():
        network = options.load(model, weights, classes, size, mean, std, device, dtype)
    targets = options.placed(classes_meant, box, pixel, network.preprocess, paths)
    run = _Run(console, network)
    loaded = time.perf_counter()
    room = Room(PHOTO_BYTES)
    with run.ending.noted():
        bar = Bar(console, "explaining", len(paths))
        results = explain_photos(
            network,
            paths,
            targets,
            method=method,
            layer=layer if layer and len(layer) > 1 else layer[0] if layer else None,
            fuse=fuse,
            views=looks,
            eigen=eigen,
            chunk=chunk,
            compile=compile,
            progress=bar.named,
            batch=batch,
            room=room,
        )

        def write(result: PhotoResult) -> None:
            if result.error:
                run.failed.append({"photo": str(result.path), "error": worded(result.error)})
                run.code = max(run.code, result.error.exit_code if one else 1)
            if result.view is None:
                return
            started = time.perf_counter()
            try:
                if not run.full:
                    _write(run, result, place or out, form_name, picture, colormap, fixed=not place)
            except OutputError as error:  # what was written before is still reported
                run.unwritten.append({"photo": str(result.path), "error": worded(error)})
                run.code, run.full = max(run.code, error.exit_code), refuses_all(error)
            finally:
                room.give(result.taken)
            run.drawing += time.perf_counter() - started

        # One thread alone draws, while the next photos are explained: matplotlib is made for one.
        drawn = ahead(write, run.timed(results), threads=1, count=batch, alone=_is_large)
        for _ in bar.over(drawn):
            pass
    run.ending.check(run.photos, run.failed, run.unwritten)
    seconds = {
        "load": round(loaded - started, 3),
        "explain": round(run.explaining, 3),
        "draw": round(run.drawing, 3),
    }
    _report(run, paths, seconds, as_json=as_json)
    run.ending.leave(run.code)


def _is_large(result: PhotoResult) -> bool:
    return is_large(result.taken)


def _write(
    run: _Run,
    result: PhotoResult,
    place: Path,
    form: str,
    picture: PictureKind,
    colormap: str,
    *,
    fixed: bool,
) -> None:
    """Write the pictures of one photo and note what was found."""
    assert result.view is not None
    explained: list[dict[str, Any]] = []
    for explanation in result.explanations:
        label = re.sub(r"[^\w-]+", "-", explanation.label[0]).strip("-").lower()
        method = re.sub(r"[^\w+.-]+", "-", explanation.method)
        parts = (result.path.stem, method, label)
        path = place if fixed else options.free(place, parts, form, run.used)
        explanation.save(path, photos=[result.view], picture=picture, colormap=colormap)
        if not explained:  # noted with its first picture: a later one may fail
            best = _best(explanation, run.network)
            told = {"photo": str(result.path), "top5": best, "explanations": explained}
            run.photos.append(told)
        explained.append(_as_dict(explanation) | {"picture": str(path)})
        if explanation.status[0].name == "not-finite":
            run.code = max(run.code, 1)


def _as_dict(explanation: Explanation) -> dict[str, Any]:
    index = explanation.index
    return {
        "target": explanation.label[0],
        "index": None if index is None else int(index[0]),
        "score": float(explanation.score[0]),
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": explanation.reason,
        "status": explanation.status[0].name,
        "message": explanation.status[0].message,
        "gap": None
        if explanation.completeness_gap is None
        else float(explanation.completeness_gap[0]),
    }


def _best(explanation: Explanation, network: Network) -> list[dict[str, Any]]:
    """Return the network's five first answers."""
    return [
        {"index": i, "class": label_of(i, network.classes), "probability": p}
        for i, p in answers(explanation.output)
    ]


def _report(run: _Run, paths: Sequence[Path], seconds: dict[str, float], *, as_json: bool) -> None:
    asked, left = len(paths), untried(paths, [*run.photos, *run.failed, *run.unwritten])
    broken_off = f"{len(left)} photos not done, the others are written."
    if as_json:
        report = {
            "model": run.network.name,
            "weights": run.network.weights,
            "photos": run.photos,
            "failed": run.failed,
            "unwritten": run.unwritten,
            "untried": left,
            "seconds": seconds,
        }
        run.ending.document(report, f"Interrupted: {broken_off}")
        return
    tell_weights(run.console, run.network.weights)
    if asked == 1 and run.photos:
        _report_one(run, run.photos[0], seconds)
    elif run.photos:
        _report_many(run, seconds)
    if run.ending.stopped:
        run.console.print(f"[yellow]Interrupted:[/] {broken_off}")
    complain(run.failed + run.unwritten)
    errors = Console(stderr=True)
    for some, doing in ((run.failed, "read"), (run.unwritten, "written")):
        if some and asked > 1:
            errors.print(f"{len(some)} of {asked} photos could not be {doing}.")
    if not run.ending.stopped:
        tell_untried(left)


def _report_one(run: _Run, photo: dict[str, Any], seconds: dict[str, float]) -> None:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for best in photo["top5"]:
        bar = run.console.bar(best["probability"])
        table.add_row(f"{best['probability']:7.2%}", f"[cyan]{bar}[/]", escape(best["class"]))
    run.console.print(f"[bold]{escape(photo['photo'])}[/]  {called(run.network)}")
    run.console.print(table)
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for one in photo["explanations"]:
        index = "" if one["index"] is None else f" ({one['index']})"
        facts.add_row("target", f"{escape(one['target'])}{index}, score {one['score']:.4g}")
        facts.add_row("status", status(one))
        if one["gap"] is not None:
            facts.add_row("gap", f"{one['gap']:.2%}: how far the map is from summing to its due")
        facts.add_row("picture", escape(one["picture"]))
    facts.add_row("layer", f"{escape(one['layer'])}: {escape(one['reason'])}")
    facts.add_row("method", escape(one["method"]))
    facts.add_row("time", _times(seconds))
    run.console.print(facts)


def _times(seconds: dict[str, float]) -> str:
    return (
        f"{seconds['explain']:.2f} s to explain, {seconds['draw']:.2f} s to draw, "
        f"{seconds['load']:.2f} s to load the network"
    )


def _report_many(run: _Run, seconds: dict[str, float]) -> None:
    table = Table(box=None, padding=(0, 1))
    for heading in ("photo", "target", "score", "status", "picture"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("score", "status"))
    for photo in run.photos:
        for one in photo["explanations"]:
            table.add_row(
                escape(Path(photo["photo"]).name),
                escape(one["target"]),
                f"{one['score']:.3g}",
                f"[{'green' if one['status'] == 'ok' else 'yellow'}]{one['status']}[/]",
                escape(Path(one["picture"]).name),
            )
    run.console.print(table)
    first = run.photos[0]["explanations"][0]
    run.console.print(
        f"{counted(run.photos)} with {called(run.network)}, "
        f"{escape(first['method'])} at {escape(first['layer'])} ({escape(first['reason'])}). "
        f"{_times(seconds)}. The pictures are in {escape(str(Path(first['picture']).parent))}."
    )
