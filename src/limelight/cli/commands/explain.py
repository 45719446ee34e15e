"""`limelight explain`: heatmaps of photos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from limelight.ahead import Room, ahead
from limelight.cli.aligned_options import AlignedFile, AlignedOptions
from limelight.cli.explanation_table import ExplanationTable
from limelight.cli.film_options import FilmFile, FilmOptions
from limelight.cli.heatmap_report import (
    HeatmapRun,
    best_classes,
    explanation_as_dict,
    report_heatmaps,
)
from limelight.cli.manifest_option import ManifestFile, ManifestPath
from limelight.cli.map_options import DEFAULT_METHOD, TiledMapOptions, layers_option, split_layers
from limelight.cli.messages import network_title
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.object_options import ObjectOptions
from limelight.cli.output_options import (
    AsJson,
    FigureOptions,
    HeatmapOptions,
    PictureFiles,
)
from limelight.cli.photo_options import Every, Photos, photo_paths
from limelight.cli.places import place_on_photo, size_and_box
from limelight.cli.progress import Bar
from limelight.cli.region_options import RegionFiles, RegionOptions
from limelight.cli.run_record import RunRecord
from limelight.cli.table_option import TablePath, plan_table, write_table
from limelight.cli.target_options import PlaceOptions, TargetOptions
from limelight.explanation_pictures import check_picture
from limelight.figure_style import FigureStyle
from limelight.methods.fusing import Fusion
from limelight.models.network import Network
from limelight.photo_pipeline import PhotoResult, explain_photos, pictures_of
from limelight.photos.memory import PHOTO_BYTES, is_large
from limelight.tables import EXPLANATION_COLUMNS
from limelight.targets.outputs import LogitsKey


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
    output: LogitsPart = None,
    map_options: TiledMapOptions,
    picture_options: HeatmapOptions,
    figure_options: FigureOptions,
    region_options: RegionOptions,
    film_options: FilmOptions,
    aligned_options: AlignedOptions,
    every: Every = 1,
    batch: Annotated[
        int, typer.Option(min=1, help="Photos that go through the network together.")
    ] = 8,
    object_options: ObjectOptions,
    table: TablePath = None,
    manifest: ManifestPath = None,
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

    limelight explain slide.tif --target 3 --tiles 512,0.25

    limelight explain holiday/ --topk 3 --picture overlay --out maps/

    limelight explain scan.png --picture signed --width 85mm --dpi 300 --out figure.pdf

    limelight explain walk.mp4 --target pug --every 5 --film pug.mp4

    limelight explain holiday/ --table holiday.csv --regions regions.json --threshold 0.5

    limelight explain cat.jpg --out cat.pdf --manifest cat.json
    """
    classes = target_options.targets()
    paths = photo_paths(photos)
    style = figure_options.style
    check_picture(picture_options.picture, picture_options.scale, style)
    single = len(paths) == 1 and len(classes) <= 1
    files = film_options.plan(picture_options, single=single)
    rows = plan_table(table, EXPLANATION_COLUMNS)
    manifests = None if manifest is None else ManifestFile.plan(manifest)
    regions = region_options.plan(paths)
    film_options.check()
    aligned_options.check(paths)
    object_options.check()
    if object_options.given and table is None:
        raise typer.BadParameter("--boxes and --masks go with --table")
    annotations = object_options.annotations()
    run = RunRecord(paths, as_json)
    started = time.perf_counter()
    terminal = run.console.is_terminal
    with run.console.status("loading the network") if terminal else nullcontext():
        network = network_options.load()
    run.paths = pictures_of(paths, network, every)
    if len(run.paths) > len(paths):
        files = film_options.plan(picture_options, single=False)
    if run.paths != paths:
        regions = region_options.plan(run.paths)  # of each frame or slice, not of the file
    targets = place_options.place(classes, network.preprocess, run.paths)
    heatmaps = _Heatmaps(
        run,
        network,
        files,
        picture_options,
        style,
        loading=time.perf_counter() - started,
        method=method,
        key=output,
        regions=regions,
        film=film_options.begin(
            network, picture_options.colormap, whole=picture_options.whole is not False
        ),
        aligned=aligned_options.begin(network, paths),
        manifests=manifests,
        table=None
        if rows is None
        else ExplanationTable(
            file=rows,
            run=run,
            preprocess=network.preprocess,
            annotations=annotations,
        ),
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
    heatmaps.write_summaries(paths, every)
    report_heatmaps(run, heatmaps.in_common, {"model": network.name, "weights": network.weights})
    run.leave()


class _Heatmaps:
    """The work of the command: explanations come in, pictures go out, both are timed."""

    def __init__(
        self,
        run: RunRecord,
        network: Network,
        files: PictureFiles,
        pictures: HeatmapOptions,
        style: FigureStyle,
        *,
        loading: float,
        method: str | None,
        key: LogitsKey | None,
        table: ExplanationTable | None,
        regions: RegionFiles | None,
        film: FilmFile | None,
        aligned: AlignedFile | None,
        manifests: ManifestFile | None,
    ) -> None:
        """Begin with nothing explained.

        Args:
            run, network, files, pictures, style: The run, and what its options say.
            loading: How long the network took to load.
            method: The method that was named; None for the default.
            key: Which part of what it returns holds the logits; None to find it.
            table, regions, film, aligned, manifests: Where rows, regions, overlays, heat and what
                made the maps go; None when they are not asked for.
        """
        self.run, self.network, self.files, self.pictures = run, network, files, pictures
        self.style, self.room = style, Room(PHOTO_BYTES)
        self.explaining = self.drawing = 0.0
        self.loading, self.method, self.key = loading, method, key
        self.table, self.regions, self.film, self.aligned = table, regions, film, aligned
        self.manifests = manifests
        if regions is not None:
            regions.export.categories.names = network.classes

    @property
    def seconds(self) -> dict[str, float]:
        """How long each part of the work took."""
        parts = {"load": self.loading, "explain": self.explaining, "draw": self.drawing}
        return {name: round(seconds, 3) for name, seconds in parts.items()}

    @property
    def in_common(self) -> HeatmapRun:
        """What all photos of the run have in common."""
        return HeatmapRun(network_title(self.network), self.method, self.seconds)

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
        if self.table is not None:
            self.table.add(result)
        if result.error:
            self.run.fail(result.path, result.error)
        if not result.explanations:
            return
        started = time.perf_counter()
        try:
            if not self.run.full:
                with self.run.photo(result.path):
                    if self.regions is not None:
                        self.regions.add(result.path, result.explanations)
                    if self.aligned is not None:
                        self.aligned.maps.add(result)
                    if self.manifests is not None:
                        self.manifests.add(result)
                    self._draw(result)
        finally:
            self.room.give(result.taken)
        self.drawing += time.perf_counter() - started

    def write_summaries(self, paths: Sequence[Path], every: int) -> None:
        """Write the files over all photos, of which every n-th of a video, with what was done."""
        if self.film is not None:
            self.film.write(self.run, paths, every)
        if self.aligned is not None:
            self.aligned.write(self.run)
        if self.table is not None:
            write_table(self.table.file, self.run)
        if self.regions is not None:
            self.regions.write(self.run)
        if self.manifests is not None:
            self.manifests.write(self.run)

    def _draw(self, result: PhotoResult) -> None:
        noted: list[dict[str, Any]] = []
        if self.film is not None:
            self.film.film.add(result)
        asked = self.pictures.whole
        whole = self.files.format != "npz" if asked is None else asked
        whole = whole and result.crop is not None  # a volume is drawn as slices of the input
        for number, explanation in enumerate(result.explanations, start=1):
            if self.film is not None:
                path = self.film.path
            else:
                path = self.files.of_map(
                    result.path,
                    explanation.method,
                    explanation.label[0],
                    number,
                    len(result.explanations),
                )
                explanation.save(
                    path,
                    whole=whole,
                    picture=self.pictures.picture,
                    colormap=self.pictures.colormap,
                    scale=self.pictures.scale,
                    style=self.style,
                )
            if not noted:  # noted with its first picture: a later one may fail
                best = best_classes(explanation, self.network, self.key)
                self.run.done.append(
                    {
                        "photo": str(result.path),
                        **size_and_box(result.crop),
                        "top5": best,
                        "explanations": noted,
                    }
                )
            place = None if result.crop is None else place_on_photo(explanation, result.crop)
            noted.append(explanation_as_dict(explanation) | {"place": place, "picture": str(path)})
            if explanation.status[0].name == "not-finite":
                self.run.code = max(self.run.code, 1)


def _is_large(result: PhotoResult) -> bool:
    return is_large(result.taken)
