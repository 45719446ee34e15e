"""`limelight run`: heatmaps of photos by an exported file, without torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from limelight.cli.heatmap_report import HeatmapRun, report_heatmaps
from limelight.cli.option_groups import path_argument
from limelight.cli.output_options import AsJson, FigureOptions, HeatmapOptions, PictureFiles
from limelight.cli.photo_options import Every, found_photos
from limelight.cli.places import size_and_box
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.target_options import read_class
from limelight.deployed.explanation import DeployedExplanation
from limelight.deployed.images import PreparedPhoto
from limelight.deployed.network import DeployedNetwork, load
from limelight.deployed.scores import answers, ranked
from limelight.errors import TargetError
from limelight.explanation_pictures import check_picture
from limelight.figure_style import FigureStyle
from limelight.photos.pictures import each_picture
from limelight.targets.class_names import label_of


def run(
    *,
    file: Annotated[Path, path_argument("FILE", help="An .onnx file of `limelight export`.")],
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="A class by index or name; repeat it to explain several."
        ),
    ] = None,
    topk: Annotated[
        int | None, typer.Option("--topk", "-k", min=1, help="Explain the K highest classes.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Of a file with several maps, that of this method.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", "-l", help="Of a file with several maps, that at this layer."),
    ] = None,
    picture_options: HeatmapOptions,
    figure_options: FigureOptions,
    every: Every = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compute; one per core when not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain PHOTO with a FILE of `limelight export`: with onnxruntime, without torch.

    The pictures are those of `limelight explain`. They are written to --out, whole or not at all; a
    photo that cannot be read is reported at the end, and the others are done.

    [bold]Examples[/]

    limelight run net.onnx cat.jpg

    limelight run net.onnx cat.jpg --target tabby --out cat.pdf

    limelight run net.onnx holiday/ --topk 3 --picture overlay --out maps/
    """
    if target and topk:
        raise typer.BadParameter("give --target or --topk, not both")
    style = figure_options.style
    check_picture(picture_options.picture, picture_options.scale, style)
    paths = found_photos(photos)
    single = len(paths) == 1 and max(len(target or ()), topk or 1) == 1
    files = picture_options.plan(single=single)
    record = RunRecord(paths, as_json)
    started = time.perf_counter()
    network = load(file, threads=threads)
    number = network.map_number(method, layer)
    classes = [network.class_index(read_class(text)) for text in target or ()]
    count = network.class_count
    if topk and count is not None and topk > count:
        raise TargetError(f"The class of rank {topk} was asked for; the model has {count} classes.")
    preprocess = network.preprocess
    record.paths = each_picture(
        paths,
        channels=None if preprocess is None else preprocess.channels,
        volumes=preprocess is not None and preprocess.takes_volumes,
        every=every,
    )
    if len(record.paths) > len(paths):
        files = picture_options.plan(single=False)
    work = _Work(record, network, number, files, picture_options, style, classes, topk)
    work.seconds["load"] = time.perf_counter() - started
    with record.work():
        bar = Bar(record.console, "explaining", len(record.paths))
        for batch in work.batches(bar.over(record.paths)):
            work.explain(batch)
    record.raise_if_nothing_is_done()
    about = network.description
    shown = about.maps[number]
    title = escape(f"{about.network} ({about.weights})" if about.weights else about.network)
    facts = {"model": about.network, "weights": about.weights, "file": str(file)}
    report_heatmaps(record, HeatmapRun(title, shown.method, work.seconds), facts)
    record.leave()


class _Work:
    """The work of the command: photos come in, pictures go out, both are timed."""

    def __init__(
        self,
        run: RunRecord,
        network: DeployedNetwork,
        number: int,
        files: PictureFiles,
        pictures: HeatmapOptions,
        style: FigureStyle,
        classes: Sequence[int],
        topk: int | None,
    ) -> None:
        """Begin with nothing explained.

        Args:
            run, network, files, pictures, style: The run, and what its options say.
            number: Which map of the file is drawn.
            classes, topk: The classes to explain, or how many of the highest; else the predicted.
        """
        self.run, self.network, self.number = run, network, number
        self.files, self.pictures, self.style = files, pictures, style
        self.classes, self.topk = classes, topk
        self.seconds = {"load": 0.0, "explain": 0.0, "draw": 0.0}

    def batches(self, paths: Iterator[Path]) -> Iterator[dict[Path, PreparedPhoto]]:
        """Yield the photos that can be read, as many at a time as the file takes."""
        size, batch = self.network.description.batch or 1, dict[Path, PreparedPhoto]()
        for path in paths:
            with self.run.photo(path):
                batch[path] = self.network.prepare(path)
            if len(batch) == size:
                yield batch
                batch = {}
            if self.run.full:
                return
        if batch:
            yield batch

    def explain(self, batch: dict[Path, PreparedPhoto]) -> None:
        """Explain photos, draw them, and note what became of them."""
        started = time.perf_counter()
        by_target = list(self._explanations(list(batch.values())))
        done = time.perf_counter()
        self.seconds["explain"] += done - started
        for b, path in enumerate(batch):
            with self.run.photo(path):
                self._draw(path, [each[b] for each in by_target])
            if self.run.full:
                break
        self.seconds["draw"] += time.perf_counter() - done

    def _explanations(self, photos: Sequence[PreparedPhoto]) -> Iterator[DeployedExplanation]:
        """Yield the explanations of photos, one for each target."""
        if self.classes:
            for index in self.classes:
                yield self.network.explain(photos, index).maps[self.number]
            return
        predicted = self.network.explain(photos).maps[self.number]
        yield predicted
        if self.topk is not None and self.topk > 1:
            order = ranked(predicted.logits, self.network.description)
            for rank in range(1, self.topk):
                yield self.network.explain(photos, order[:, rank]).maps[self.number]

    def _draw(self, path: Path, explanations: Sequence[DeployedExplanation]) -> None:
        """Write the pictures of one photo, and note them."""
        asked, noted = self.pictures.whole, list[dict[str, Any]]()
        whole = self.files.format != "npz" if asked is None else asked
        whole = whole and explanations[0].crops is not None  # volumes have no whole photo
        for number, explanation in enumerate(explanations, start=1):
            # Pictures of other layers of the same file must not take each other's names.
            several = len({each.layer for each in self.network.description.maps}) > 1
            how = f"{explanation.method}-{explanation.layer}" if several else explanation.method
            picture = self.files.of_map(path, how, explanation.label[0], number, len(explanations))
            explanation.save(
                picture,
                whole=whole,
                picture=self.pictures.picture,
                colormap=self.pictures.colormap,
                scale=self.pictures.scale,
                style=self.style,
            )
            if not noted:  # noted with its first picture: a later one may fail
                self.run.done.append(self._photo(path, explanation) | {"explanations": noted})
            noted.append(_as_dict(explanation) | {"picture": str(picture)})
            if explanation.status[0].name == "not-finite":
                self.run.code = max(self.run.code, 1)

    def _photo(self, path: Path, explanation: DeployedExplanation) -> dict[str, Any]:
        """Return what is said of a photo, as plain values."""
        about = self.network.description
        best = answers(explanation.logits, about)
        return {
            "photo": str(path),
            **size_and_box(None if explanation.crops is None else explanation.crops[0]),
            "top5": [
                {"index": index, "class": label_of(index, about.classes), "probability": share}
                for index, share in best
            ],
        }


def _as_dict(explanation: DeployedExplanation) -> dict[str, Any]:
    """Return what is said of the explanation of one image, with the keys of `explain`."""
    return {
        "target": explanation.label[0],
        "index": int(explanation.index[0]),
        "score": float(explanation.score[0]),
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": "as exported",
        "status": explanation.status[0].name,
        "message": explanation.status[0].message,
        "gap": None,
        "place": None,
    }
