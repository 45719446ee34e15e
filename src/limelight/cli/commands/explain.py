"""`limelight explain`: heatmaps of photos."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from limelight.ahead import Room, ahead
from limelight.cli.map_options import DEFAULT_METHOD, MapOptions, layers_option, split_layers
from limelight.cli.messages import (
    count_photos,
    method_text,
    network_title,
    print_errors,
    print_untried,
    status_text,
    warn_of_random_weights,
)
from limelight.cli.network_options import NetworkOptions
from limelight.cli.option_groups import out_option
from limelight.cli.output import Console
from limelight.cli.output_options import AsJson, PictureFiles, PictureOptions, whole_option
from limelight.cli.photo_options import Every, Photos, photo_paths, pictures_of
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.target_options import PlaceOptions, TargetOptions
from limelight.explanation import Explanation, PictureKind
from limelight.inputs import ModelInputs
from limelight.methods.fusing import Fusion
from limelight.models.network import Network
from limelight.photo_pipeline import PhotoResult, explain_photos
from limelight.photos.crops import CroppedPhoto
from limelight.photos.memory import PHOTO_BYTES, is_large
from limelight.runtime.detectors import read_detected
from limelight.targets.class_names import label_of
from limelight.targets.outputs import LogitsKey, answers


@dataclass(frozen=True, kw_only=True)
class _HeatmapOptions(PictureOptions):
    """The pictures of a photo, one for each target."""

    out: Annotated[Path, out_option("A folder; or a file, for one picture.")] = Path(
        "limelight-out"
    )
    picture: Annotated[PictureKind, typer.Option("--picture", "-p", help="What to draw.")] = (
        "figure"
    )
    whole: Annotated[bool | None, whole_option("the whole photo, but not in npz")] = None


def explain(
    *,
    photos: Photos = None,
    network_options: NetworkOptions,
    target_options: TargetOptions,
    place_options: PlaceOptions,
    layer: Annotated[
        list[str] | None,
        layers_option("A dotted path; chosen when not given; repeat it to fuse several."),
    ] = None,
    fuse: Annotated[
        Fusion, typer.Option(help="How the maps of several layers become one.")
    ] = "mean",
    method: Annotated[
        str | None,
        typer.Option(
            help="A name that `limelight methods` lists, with options if any: rise:masks=1000. "
            f"{DEFAULT_METHOD}"
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Which part of what the network returns holds the logits: a key, an attribute or "
            "a number, or several joined by dots.",
        ),
    ] = None,
    map_options: MapOptions,
    picture_options: _HeatmapOptions,
    every: Every = 1,
    batch: Annotated[
        int, typer.Option(min=1, help="Photos that go through the network together.")
    ] = 8,
    as_json: AsJson = False,
) -> None:
    """Show what a network looked at in PHOTO: its predicted class, or any other.

    PHOTO may be an array, too; of a file that holds several pictures each is explained. Without a
    photo it takes a sample. Pictures are written to --out, whole or not at all; a photo that cannot
    be read is reported at the end, and the others are done.

    [bold]Examples[/]

    limelight explain cat.jpg

    limelight explain cat.jpg --model vgg16 --target tabby --layer features --out cat.pdf

    limelight explain street.jpg --model fasterrcnn_resnet50_fpn --topk 3

    limelight explain street.jpg --model yolo:yolo11n.pt --target dog

    limelight explain holiday/ --topk 3 --picture overlay --out maps/
    """
    classes = target_options.targets()
    paths = photo_paths(photos)
    files = picture_options.plan(single=len(paths) == 1 and len(classes) <= 1)
    run = RunRecord(paths, as_json)
    started = time.perf_counter()
    terminal = run.console.is_terminal
    with run.console.status("loading the network") if terminal else nullcontext():
        network = network_options.load()
    run.paths = pictures_of(paths, network, every)
    if len(run.paths) > len(paths):
        files = picture_options.plan(single=False)
    targets = place_options.place(classes, network.preprocess, run.paths)
    heatmaps = _Heatmaps(
        run,
        network,
        files,
        picture_options,
        loading=time.perf_counter() - started,
        method=method,
        key=output,
    )
    layers = split_layers(layer)
    with run.work():
        bar = Bar(run.console, "explaining", len(run.paths))
        results = explain_photos(
            network,
            run.paths,
            targets,
            method=method,
            layer=layers if len(layers) > 1 else layers[0] if layers else None,
            output=output,
            fuse=fuse,
            views=map_options.read_views(),
            eigen=map_options.eigen,
            chunk=map_options.chunk,
            compile=map_options.compile,
            progress=bar.show_runs,
            batch=batch,
            room=heatmaps.room,
        )
        # One thread alone draws, while the next photos are explained: matplotlib is made for one.
        drawn = ahead(
            heatmaps.write, heatmaps.timed(results), threads=1, count=batch, alone=_is_large
        )
        for _ in bar.over(drawn):
            pass
    run.raise_if_nothing_is_done()
    _report_heatmaps(heatmaps)
    run.leave()


class _Heatmaps:
    """The work of the command: explanations come in, pictures go out, both are timed."""

    def __init__(
        self,
        run: RunRecord,
        network: Network,
        files: PictureFiles,
        pictures: _HeatmapOptions,
        *,
        loading: float,
        method: str | None,
        key: LogitsKey | None,
    ) -> None:
        """Begin with nothing explained.

        Args:
            run, network, files, pictures: The run, and what its options say.
            loading: How long the network took to load.
            method: The method that was named; None for the default.
            key: Which part of what it returns holds the logits; None to find it.
        """
        self.run, self.network, self.files, self.pictures = run, network, files, pictures
        self.room = Room(PHOTO_BYTES)
        self.explaining = self.drawing = 0.0
        self.loading, self.method, self.key = loading, method, key

    @property
    def seconds(self) -> dict[str, float]:
        """How long each part of the work took."""
        parts = {"load": self.loading, "explain": self.explaining, "draw": self.drawing}
        return {name: round(seconds, 3) for name, seconds in parts.items()}

    def timed(self, results: Iterator[PhotoResult]) -> Iterator[PhotoResult]:
        """Go through results, and note how long they take to come, and what broke them off."""
        while True:
            started, result = time.perf_counter(), None
            with self.run.work():  # what was explained is still drawn
                result = next(results, None)
            self.explaining += time.perf_counter() - started
            if result is None or self.run.full:
                return
            handed = [result]
            del result  # its photo may be large, and the next is long in coming
            yield handed.pop()

    def write(self, result: PhotoResult) -> None:
        """Write the pictures of one photo, and note what became of it."""
        if result.error:
            self.run.fail(result.path, result.error)
        if not result.explanations:
            return
        started = time.perf_counter()
        try:
            if not self.run.full:
                with self.run.photo(result.path):
                    self._draw(result)
        finally:
            self.room.give(result.taken)
        self.drawing += time.perf_counter() - started

    def _draw(self, result: PhotoResult) -> None:
        noted: list[dict[str, Any]] = []
        asked = self.pictures.whole
        whole = self.files.format != "npz" if asked is None else asked
        whole = whole and result.crop is not None  # a volume is drawn as slices of the input
        digits = len(str(len(result.explanations)))
        for number, explanation in enumerate(result.explanations, start=1):
            # The labels of boxes and regions are places, whose order says nothing.
            several_places = explanation.region is not None and len(result.explanations) > 1
            rank = f"{number:0{digits}}" if several_places else ""
            label = re.sub(r"[^\w-]+", "-", explanation.label[0]).strip("-").lower()
            method = re.sub(r"[^\w+.-]+", "-", explanation.method)
            path = self.files.next(result.path.stem, method, rank, label)
            explanation.save(
                path,
                whole=whole,
                picture=self.pictures.picture,
                colormap=self.pictures.colormap,
            )
            if not noted:  # noted with its first picture: a later one may fail
                best = _best_classes(explanation, self.network, self.key)
                self.run.done.append(
                    {
                        "photo": str(result.path),
                        "size": None if result.crop is None else list(result.crop.photo.size),
                        "box": None if result.crop is None else list(result.crop.box),
                        "top5": best,
                        "explanations": noted,
                    }
                )
            crop = result.crop
            place = None if crop is None else _place_on_photo(explanation, crop)
            noted.append(_explanation_as_dict(explanation) | {"place": place, "picture": str(path)})
            if explanation.status[0].name == "not-finite":
                self.run.code = max(self.run.code, 1)


def _is_large(result: PhotoResult) -> bool:
    return is_large(result.taken)


def _place_on_photo(explanation: Explanation, crop: CroppedPhoto) -> list[int] | None:
    """Return the box around what the score is about, x1 y1 x2 y2 in pixels of the photo.

    It is None for a score about the whole photo.
    """
    if explanation.region is None or explanation.region.ndim != 3:
        return None
    rows, columns = (explanation.region[0].bool().any(axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return None
    left, top, right, bottom = crop.box
    height, width = explanation.region.shape[1:]
    across, down = (right - left) / width, (bottom - top) / height
    corners = [
        left + int(columns[0]) * across,
        top + int(rows[0]) * down,
        left + (int(columns[-1]) + 1) * across,
        top + (int(rows[-1]) + 1) * down,
    ]
    return [round(corner) for corner in corners]


def _explanation_as_dict(explanation: Explanation) -> dict[str, Any]:
    index, gap = explanation.index, explanation.completeness_gap
    return {
        "target": explanation.label[0],
        "index": None if index is None else int(index[0]),
        "score": float(explanation.score[0]),
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": explanation.reason,
        "status": explanation.status[0].name,
        "message": explanation.status[0].message,
        "gap": None if gap is None else float(gap[0]),
    }


def _best_classes(
    explanation: Explanation, network: Network, key: LogitsKey | None
) -> list[dict[str, Any]]:
    """Return the network's five first answers."""
    inputs = ModelInputs.of(explanation.image)
    output = read_detected(explanation.output, inputs, network.model)
    return [
        {"index": index, "class": label_of(index, network.classes), "probability": probability}
        for index, probability in answers(output, key=key)
    ]


def _report_heatmaps(heatmaps: _Heatmaps) -> None:
    """Print what was explained, for a machine or for people."""
    run, network, total = heatmaps.run, heatmaps.network, len(heatmaps.run.paths)
    untried = run.untried
    interruption = f"{len(untried)} photos not done, the others are written."
    if run.as_json:
        report = {
            "model": network.name,
            "weights": network.weights,
            "photos": run.done,
            **run.shortfall,
            "seconds": heatmaps.seconds,
        }
        run.print_document(report, f"Interrupted: {interruption}")
        return
    warn_of_random_weights(run.console, network.weights)
    if total == 1 and run.done:
        _print_heatmaps_of_one(run.console, run.done[0], heatmaps)
    elif run.done:
        _print_heatmaps(run.console, run.done, heatmaps)
    if run.stopped:
        run.console.print(f"[yellow]Interrupted:[/] {interruption}")
    print_errors(run.failed + run.unwritten)
    errors = Console(stderr=True)
    for photos, verb in ((run.failed, "read"), (run.unwritten, "written")):
        if photos and total > 1:
            errors.print(f"{len(photos)} of {total} photos could not be {verb}.")
    if not run.stopped:
        print_untried(untried)


def _print_heatmaps_of_one(console: Console, photo: dict[str, Any], heatmaps: _Heatmaps) -> None:
    """Print all that is known of one photo."""
    answers_table = Table(box=None, padding=(0, 1), show_header=False)
    for best in photo["top5"]:
        bar = console.bar(best["probability"])
        answers_table.add_row(
            f"{best['probability']:7.2%}", f"[cyan]{bar}[/]", escape(best["class"])
        )
    console.print(f"[bold]{escape(photo['photo'])}[/]  {network_title(heatmaps.network)}")
    console.print(answers_table)
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for each in photo["explanations"]:
        index = "" if each["index"] is None else f" ({each['index']})"
        facts.add_row("target", f"{escape(each['target'])}{index}, score {each['score']:.4g}")
        if each["place"] is not None:
            facts.add_row("place", f"{','.join(map(str, each['place']))} of the photo")
        facts.add_row("status", status_text(each))
        if each["gap"] is not None:
            facts.add_row("gap", f"{each['gap']:.2%}: how far the map is from summing to its due")
        facts.add_row("picture", escape(each["picture"]))
    last = photo["explanations"][-1]
    facts.add_row("layer", f"{escape(last['layer'])}: {escape(last['reason'])}")
    facts.add_row("method", method_text(last["method"], heatmaps.method))
    facts.add_row("time", _times(heatmaps.seconds))
    console.print(facts)


def _print_heatmaps(console: Console, photos: list[dict[str, Any]], heatmaps: _Heatmaps) -> None:
    """Print a line for each picture of several photos."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("photo", "target", "score", "status", "picture"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("score", "status"))
    for photo in photos:
        for each in photo["explanations"]:
            table.add_row(
                escape(Path(photo["photo"]).name),
                escape(each["target"]),
                f"{each['score']:.3g}",
                f"[{'green' if each['status'] == 'ok' else 'yellow'}]{each['status']}[/]",
                escape(Path(each["picture"]).name),
            )
    console.print(table)
    first = photos[0]["explanations"][0]
    console.print(
        f"{count_photos(photos)} with {network_title(heatmaps.network)}, "
        f"{method_text(first['method'], heatmaps.method)} at {escape(first['layer'])} "
        f"({escape(first['reason'])}). {_times(heatmaps.seconds)}. "
        f"The pictures are in {escape(str(Path(first['picture']).parent))}."
    )


def _times(seconds: dict[str, float]) -> str:
    return (
        f"{seconds['explain']:.2f} s to explain, {seconds['draw']:.2f} s to draw, "
        f"{seconds['load']:.2f} s to load the network"
    )
