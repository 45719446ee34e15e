"""`limelight measure`, `sanity` and `metrics`: how far maps can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli import options
from limelight.cli.ending import Ending
from limelight.cli.output import Console, document
from limelight.cli.progress import Bar, called, complain, note, tell_untried, untried
from limelight.cli.words import worded
from limelight.errors import OptionError, OutputError, PhotoError
from limelight.files import make_folder, refuses_all
from limelight.lock import only_run
from limelight.metrics import METRICS
from limelight.metrics.annotation_files import Annotations, read_matches, read_names
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.journal import Journal
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import MeasureSpec, PhotoMeasured, measure_photos
from limelight.metrics.sanity import sanity as find_sanity
from limelight.metrics.sanity import verdict_of, verdicts
from limelight.metrics.statistics import Estimate
from limelight.models.network import DEFAULT, Network

#: So many reasons why photos were left out are shown.
_SHOWN = 5


_QUICK = "gradcam layercam gradcam++ hirescam eigencam saliency"


_SANE = "gradcam layercam saliency guided-backprop"


Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        help="Names that `limelight methods` lists, with spaces between them, with options if any; "
        f"or 'all'. Without it {_QUICK}; for sanity {_SANE}.",
    ),
]


Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        help="Names that `limelight metrics` lists, with spaces between them, with options if "
        "any: 'insertion deletion:steps=50'; or 'all'. Without it insertion, deletion and road, "
        "and with boxes or masks energy-pointing and pointing-game.",
    ),
]


def measure(
    photos: options.Photos = None,
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    methods: Methods = None,
    metrics: Metrics = None,
    boxes: Annotated[
        Path | None,
        options.a_path(
            "--boxes",
            help="Where the objects are: a CSV file (photo, x1, y1, x2, y2 in pixels, and class if "
            "you like), or a folder with a YOLO text file per photo.",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        options.a_path(
            "--masks",
            help="The same as masks: a folder with a picture per photo (NAME.png or NAME_mask.png, "
            "black where nothing is), or YOLO text files with polygons. Photos without one are "
            "left out.",
        ),
    ] = None,
    mask_value: Annotated[
        int | None,
        typer.Option(
            "--mask-value",
            min=0,
            help="Where masks hold numbers of classes: the number of the object.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        options.a_path(
            "--names", help="The names of the class numbers in YOLO files, one per line."
        ),
    ] = None,
    match: Annotated[
        Path | None,
        options.a_path(
            "--match",
            help="Which of the network's classes go with an annotated one: a CSV file with a line "
            "'annotated, class, class, ...' for each. Then each such class in a photo is explained "
            "by the most probable of its classes, and its objects alone count.",
        ),
    ] = None,
    target: options.OneTarget = None,
    layer: options.OneLayer = None,
    chunk: options.Chunk = None,
    compile: options.Compile = False,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="A folder for table, figure and readings.")
    ] = Path("limelight-measured"),
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
    as_json: options.AsJson = False,
) -> None:
    """Measure how far the maps of PHOTOS can be trusted, method by method, beside chance.

    Every figure is a mean over the photos with its 95 % bootstrap interval, beside those of a
    random map and of a blob in the centre. Into --out go table.csv, table.json, curves.png and
    readings.jsonl. The last is written photo by photo: the same command again goes on where it was
    broken off.

    [bold]Examples[/]

    limelight measure holiday/ --methods "gradcam layercam saliency"

    limelight measure val/ --boxes val.csv --metrics "energy-pointing pointing-game insertion"

    limelight measure coco/images --boxes coco/labels --names coco.names --match coco-imagenet.csv
    """
    for wrong, says in (
        (boxes and masks, "give --boxes or --masks, not both"),
        (match and not (boxes or masks), "--match goes with --boxes or --masks"),
        (names and not (boxes or masks), "--names goes with --boxes or --masks"),
        (mask_value is not None and not masks, "--mask-value goes with --masks"),
        (match and target, "give --match or --target, not both"),
    ):
        if wrong:
            raise typer.BadParameter(says)
    marked = boxes is not None or masks is not None
    named = None if names is None else read_names(names)
    asked = MeasureSpec(
        methods=options.methods(methods or [_QUICK]),
        metrics=options.metrics(metrics, with_objects=marked),
        target=None if target is None else options.class_of(target),
        layer=layer,
        annotations=Annotations(boxes=boxes, masks=masks, names=named, mask_value=mask_value)
        if marked
        else None,
        matches=None if match is None else read_matches(match),
        chunk=chunk,
        compile=compile,
    )
    _refuse_objects(asked)
    paths = options.photos(photos or ["chelsea"])
    make_folder(out)
    console = Console(stderr=as_json)
    question = asked.question(
        model=model,
        weights=weights,
        classes=None if classes is None else read_names(Path(classes)),
        target=target,
        preprocessing=[size, mean, std, str(dtype)],
    )
    with only_run(out / "readings.jsonl"):
        journal = Journal(out / "readings.jsonl", question, paths, asked)
        wanted = [path for path in paths if str(path) not in journal.done]
        if len(wanted) < len(paths):
            console.print(
                f"{len(paths) - len(wanted)} of {len(paths)} photos were measured before."
            )
        failed, lost, unwritten = (list[dict[str, str]]() for _ in range(3))
        code = 0
        ending = Ending()
        with ending.noted():
            network = options.load(model, weights, classes, size, mean, std, device, dtype)
            bar = Bar(console, "measuring", len(wanted))
            for result in bar.over(measure_photos(network, wanted, asked, progress=bar.named)):
                try:
                    kept = _keep(result, journal, failed)
                except OutputError as error:  # what was measured before is still told
                    lost.append({"photo": str(result.path)})
                    unwritten.append({"file": str(journal.path), "error": worded(error)})
                    break
                code = max(code, kept if len(paths) == 1 else min(kept, 1))
        total = journal.total
        ending.check(failed, unwritten, any(str(path) in journal.done for path in wanted))
        with ending.noted():
            _save(total, out, unwritten)
        if unwritten:
            code = OutputError.exit_code
        measured = [{"photo": one} for one in journal.done]
        left = untried(paths, [*failed, *lost, *measured])
        if as_json:
            report = {
                "figures": total.rows(),
                "verdict": total.verdict().sentence,
                "unmeasured": [one._asdict() for one in total.unmeasured],
                "status": total.counts(),
                "failed": failed,
                "unwritten": unwritten,
                "untried": left,
            }
            ending.document(report, f"Interrupted: {_AGAIN}")
        else:
            tell(console, total)
            _complain(failed, len(paths))
            complain(unwritten)
            tell_untried(left)
            if total.readings and not unwritten and not ending.early:
                console.print(f"Table, figure and readings are in {escape(str(out))}.")
        if ending.stopped:
            console.print(f"[yellow]Interrupted:[/] {_AGAIN}")
    ending.leave(code if total.readings else code or 1)


_AGAIN = "the same command again goes on from here."


def _save(total: Measurement, out: Path, unwritten: list[dict[str, str]]) -> None:
    """Write table and figure, if anything was measured; note what could not be written."""
    for name in ("table.csv", "table.json", "curves.png") if total.readings else ():
        try:
            total.save(out / name)
        except OutputError as error:  # the figures are still told
            unwritten.append({"file": str(out / name), "error": worded(error)})


def sanity(
    photos: options.Photos = None,
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    methods: Methods = None,
    target: options.OneTarget = None,
    layer: options.OneLayer = None,
    steps: Annotated[
        int, typer.Option("--steps", min=2, help="Stages of the cascade, from the logits down.")
    ] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the new weights.")] = 0,
    chunk: options.Chunk = None,
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
    """Draw the network's weights anew, layer by layer, and see whether the maps of PHOTO go away.

    A map that random weights leave as it is shows edges, not what the network learned. For each
    photo a strip per method is drawn: its map, then those of the stages, from random logits to an
    all random network. A method passes if its likeness, Spearman's correlation with the map of the
    trained network, averaged over stages, stays below 0.5.

    [bold]Examples[/]

    limelight sanity cat.jpg

    limelight sanity photos/ --methods "gradcam guided-backprop" --steps 10
    """
    rows = options.methods(methods or [_SANE])
    wanted = None if target is None else options.class_of(target)
    paths = options.photos(photos or ["chelsea"])
    form_name, place = options.place(out, form, len(paths) == 1)
    console = Console(stderr=as_json)
    network = options.load(model, weights, classes, size, mean, std, device, dtype)
    total, used, code = Measurement(), set[Path](), 0
    drawn, failed, unwritten = (list[dict[str, str]]() for _ in range(3))
    bar = Bar(console, "randomising", len(paths))
    ending = Ending()
    with ending.noted():
        for path in bar.over(paths):
            try:
                images, panel = options.as_seen(path, network)
                found = find_sanity(
                    network.model,
                    images,
                    methods=rows,
                    target=wanted,
                    layer=layer,
                    steps=steps,
                    seed=seed,
                    classes=network.classes,
                    chunk=chunk,
                    progress=bar.named,
                )
                total, file = total + found.measurement, out
                if place is not None:
                    file = options.free(place, (path.stem, "sanity"), form_name, used)
                picture = found.save(file, photos=[panel], colormap=colormap)
                drawn.append({"photo": str(path), "picture": str(picture)})
            except PhotoError as error:
                code = max(code, note(failed, path, error, alone=len(paths) == 1))
            except OutputError as error:  # what was found is still told
                code = max(code, note(unwritten, path, error, alone=len(paths) == 1))
                if refuses_all(error):
                    break
    ending.check(drawn, failed, unwritten)
    pictures = [one["picture"] for one in drawn]
    left = untried(paths, [*drawn, *failed, *unwritten])
    said = "Interrupted: the strips of the photos that were done are drawn."
    if as_json:
        told = {
            "verdicts": verdicts(total),
            "figures": total.rows(),
            "unmeasured": [one._asdict() for one in total.unmeasured],
            "pictures": pictures,
            "failed": failed,
            "unwritten": unwritten,
            "untried": left,
        }
        ending.document(told, said)
    else:
        _tell_sanity(console, total, network, pictures)
        _complain(failed, len(paths))
        complain(unwritten)
        tell_untried(left)
    if ending.stopped:
        console.print(f"[yellow]{said}[/]")
    ending.leave(code)


def metrics(as_json: options.AsJson = False) -> None:
    """List the metrics: what each computes, which way is better, and when to use it."""
    if as_json:
        rows = [options.described(row) | {"better": row.better} for row in METRICS.values()]
        document(rows)
        return
    console = Console()
    console.print(options.listing(METRICS.values(), lambda row: f"{row.better} is better"))
    console.print(
        "f = the probability of the explained class (the score, where there is none), M the "
        "heatmap, x the image, B the object, phi the raw map, y the score."
    )


def _keep(result: PhotoMeasured, journal: Journal, failed: list[dict[str, str]]) -> int:
    """Write down what was measured of a photo, or note why nothing was; return the exit code."""
    if result.error is None:
        journal.keep(result)
        return 0
    failed.append({"photo": str(result.path), "error": worded(result.error)})
    return result.error.exit_code


def _refuse_objects(asked: MeasureSpec) -> None:
    needing = [row.name for row in asked.metrics if "objects" in row.needs]
    if needing and asked.annotations is None:
        raise OptionError(
            f"{', '.join(needing)} need{'s' if len(needing) == 1 else ''} to be told where the "
            "objects are: pass --boxes or --masks."
        )


def _complain(failed: Sequence[dict[str, str]], asked: int) -> None:
    errors = Console(stderr=True)
    for one in failed[:_SHOWN]:
        errors.print(f"[yellow]left out[/] {escape(one['error'])}", soft_wrap=True, highlight=False)
    if len(failed) > _SHOWN:
        errors.print(f"... and {len(failed) - _SHOWN} more; --json lists them")
    if failed and asked > 1:
        errors.print(f"{len(failed)} of {asked} photos were not measured.")


def tell(console: Console, total: Measurement) -> None:
    """Print a table for each metric, best method first, chance beside it, and the verdict."""
    names = total.names
    for metric in total.metrics:
        ranked = total.ranking(metric)
        sizes = {_count(one.own) for one in ranked}
        n = f", n = {sizes.pop()}" if len(sizes) == 1 else ""
        table = Table(
            box=None,
            padding=(0, 1),
            title=f"{escape(metric)} ({ranked[0].better} is better{n})",
            title_justify="left",
            title_style="bold",
        )
        head = ["method", "mean, 95 % interval", "random", "centre", *(["n"] if sizes else []), ""]
        for heading in head:
            table.add_column(heading, overflow="fold", no_wrap=heading not in ("method", ""))
        for one in ranked:
            table.add_row(
                escape(names[one.method, one.layer]),
                escape(str(one.own)),
                *(f"[dim]{control.value:.3f}[/]" for control in (one.random, one.centre)),
                *([_count(one.own)] if sizes else []),
                _chance(one),
            )
        console.print(table)
    _tell_skipped(console, total)
    for (method, _layer), counts in total.status.items():
        worthless = {name: count for name, count in counts.items() if name != "ok"}
        if worthless:
            told = ", ".join(f"{count} {name}" for name, count in worthless.items())
            console.print(f"[yellow]worthless maps[/] {escape(method)}: {told}")
    if total.readings:
        console.print(f"[bold]{escape(total.verdict().sentence)}[/]")


def _tell_skipped(console: Console, total: Measurement) -> None:
    """Print what could not be measured, and why."""
    for method, metric, reason in total.unmeasured:
        doing = f"{metric} of {method}" if metric else method
        console.print(f"[yellow]skipped[/] {escape(doing)}: {escape(reason)}")


def _count(one: Estimate) -> str:
    of = "" if one.images in (one.n, 0) else f" of {one.images} images"
    return f"{one.n}{of}" + (f", {one.left_out} left out" if one.left_out else "")


def _chance(one: MetricEstimate) -> str:
    if not one.judged:
        return ""
    beats = one.beats_chance
    if beats is None:
        return "ahead" if one.ahead else "[yellow]not ahead[/]"
    return "[green]beats chance[/]" if beats else "[yellow]does not[/]"


def _tell_sanity(
    console: Console, total: Measurement, network: Network, pictures: Sequence[str]
) -> None:
    if not total.readings:
        return
    table = Table(box=None, padding=(0, 1))
    for heading in ("method", "likeness", "of absolute values", "ssim", "n", "verdict"):
        table.add_column(heading, overflow="fold")
    colours = {"passes": "green", "fails": "red", "unclear": "yellow"}
    for one in total.ranking("parameter-randomisation"):
        parts = [
            total.estimate(one.method, one.metric, layer=one.layer, part=part).own
            for part in ("absolute", "ssim")
        ]
        said = verdict_of(one)
        table.add_row(
            escape(one.method),
            *(escape(str(part)) for part in (one.own, *parts)),
            _count(one.own),
            f"[{colours[said]}]{said}[/]",
        )
    console.print(f"[bold]{called(network)}[/], weights drawn anew")
    console.print(table)
    _tell_skipped(console, total)
    if math.isnan(total.ranking("parameter-randomisation")[0].own.low):
        console.print("One photo has no interval: take several to be sure.")
    if pictures:
        more = " ..." if len(pictures) > 3 else ""
        console.print(f"The strips are {escape(', '.join(pictures[:3]))}{more}")
