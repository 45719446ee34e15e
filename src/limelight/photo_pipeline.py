"""Explanations of photo files, a batch at a time."""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL.Image import Image, new
from torch import Tensor

from limelight import fusion
from limelight.ahead import Room
from limelight.deprecations import old_arguments
from limelight.errors import PhotoError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.resolved import Layer
from limelight.map_views import targets_html
from limelight.methods import Method
from limelight.methods.fusing import Fusion
from limelight.methods.tiles import Tiles
from limelight.methods.views import Views
from limelight.misnamed import checked_arguments
from limelight.models.network import Network
from limelight.options import Options
from limelight.photos.batches import Prepared, input_batches, prepared
from limelight.photos.crops import CroppedPhoto
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.pictures import each_picture
from limelight.photos.preprocess import bytes_of_input, bytes_to_draw_on
from limelight.photos.windowed import open_windows
from limelight.pipeline import as_layers, explain_layers, explain_pictures, named_method
from limelight.progress import ProgressCallback
from limelight.provenance import Provenance
from limelight.runtime.memory_format import suits_channels_last
from limelight.targets import LogitsKey, ScoreTarget, Target, as_target
from limelight.tiling.inputs import PhotoWindows


@dataclass(frozen=True, slots=True, repr=False)
class PhotoResult:
    """The result of explaining one photo.

    Attributes:
        path: The file.
        crop: The photo, with the box of it that the network saw; None for a volume, and when it
            could not be read.
        explanations: One per target, each of this one image, to be drawn on this photo.
        error: Why there is no explanation; None if there is one.
        taken: The bytes that it occupies in the `room` of `explain_photos`.
    """

    path: Path
    crop: CroppedPhoto | None
    explanations: tuple[Explanation, ...]
    error: PhotoError | None = None
    taken: int = 0

    @property
    def view(self) -> Image | None:
        """The part of the photo that the network saw; None where `crop` is."""
        return None if self.crop is None else self.crop.view()

    def __repr__(self) -> str:
        """Return the file, and what was explained or why nothing was."""
        labels = ", ".join(each.label[0] for each in self.explanations)
        return f"PhotoResult({str(self.path)!r}: {labels if self.error is None else self.error})"

    def without_pixels(self) -> PhotoResult:
        """Return the result without what is as large as the photo, to be kept for many photos.

        The photo is a blank of its size; inputs and heatmaps are empty, as they follow from the raw
        maps. Those of a volume, which has no photo, are kept.
        """
        explanations = tuple(map(_without_pixels, self.explanations))
        if self.crop is None:
            return replace(self, explanations=explanations)
        crop = replace(self.crop, photo=new("1", self.crop.photo.size))
        nothing = [each.image.new_empty((1, each.image.shape[1], 1, 1)) for each in explanations]
        explanations = tuple(
            replace(each, image=empty, heatmap=empty[:, 0])
            for each, empty in zip(explanations, nothing, strict=True)
        )
        return replace(self, crop=crop, explanations=explanations)

    def _repr_html_(self) -> str:
        """Show the maps of the photo in a notebook, with target and opacity to choose."""
        if not self.explanations:
            return f"<p>{html.escape(repr(self))}</p>"
        return targets_html(self.explanations, str(self.path))


def _without_pixels(explanation: Explanation) -> Explanation:
    """Return an explanation without its photo, and without what the network returned."""
    raw = explanation.raw.detach().cpu()
    return replace(explanation, raw=raw, output=None, recipe=None, crops=None)


#: From this many photos on, two runs are spent to find out which memory format is faster.
MANY_PHOTOS = 32


@old_arguments
@checked_arguments
def explain_photos(
    network: Network,
    photos: Sequence[str | Path],
    targets: Sequence[Target] = (None,),
    *,
    method: str | Method | None = None,
    layer: Layer | Sequence[Layer] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    fuse: Fusion = "mean",
    views: Views | Tiles | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
    batch: int = 8,
    room: Room | None = None,
) -> Iterator[PhotoResult]:
    """Explain photo files, a batch at a time, one forward pass per batch.

    1. Decode the next photos in threads, while a batch is in work.
    2. Explain the batch: several layers, if named, are fused for each target.
    3. Yield the results, each with its photo and the box of it that the network saw.

    Many photos of one size are run in channels-last memory format on a CPU, if the network returns
    the same for them, which is tried once.

    Photos in work and the inputs made from them take at most `PHOTO_BYTES` (1.2 GB) of memory,
    whatever their sizes: of large photos fewer go through the network together, and fewer are
    decoded in advance. A photo that takes more with its input is worked on alone.

    A photo that cannot be read yields a result with its error, and the others go on. Any other
    error (a class, a layer, the model) concerns all photos and is raised at once.

    Args:
        network: From `load_model`, or a `Network` around your own model.
        photos: The files, and what else `load_photo` reads. Of a file that holds several pictures,
            each is explained by itself; a network of volumes takes it as a whole.
        targets: What to explain of each photo.
        method: A name in METHODS, with options if any, or a row of METHODS; None for the default
            of `explain`.
        layer: A dotted path; a list of them, whose maps are fused; None to let limelight choose.
        output, grid, fuse, views, eigen, chunk, compile, progress: As in `explain`. With `tiles`,
            photos may be of any size, and are explained one by one: see `limelight.tiles`. TIFF and
            .npy files are then read window by window, too.
        batch: How many photos go through the network together.
        room: The bytes that photos may take, if the caller still works on results while asking for
            the next one; the caller then gives back what each result has `taken`. Without it, a
            result counts as done with when the next one is asked for.

    Yields:
        One PhotoResult per picture, in order.
    """
    method_row = named_method(method)
    options = Options.read(
        classes=network.classes,
        output=output,
        grid=grid,
        views=None if isinstance(views, Tiles) else views,
        eigen=eigen,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    rules, several = list(map(as_target, targets)), isinstance(layer, list | tuple)
    layers, made_by = as_layers(layer), Provenance.of(network)
    if isinstance(views, Tiles):
        how = fuse if several else None
        yield from _explain_by_tiles(
            network, made_by, photos, rules, method_row, layers, how, views, options
        )
        return
    worth_a_trial = network.preprocess.size is not None and len(photos) >= MANY_PHOTOS
    caller_gives_back = room is not None
    room = room or Room(PHOTO_BYTES)

    def explain_batch(images: Tensor) -> Iterator[tuple[Explanation, ...]]:
        inputs = ModelInputs.of(images.to(next(network.model.parameters(), images)))
        if worth_a_trial and suits_channels_last(network.model, inputs):
            inputs = inputs.on(inputs.image.contiguous(memory_format=torch.channels_last))
        by_layer = explain_layers(network.model, inputs, rules, method_row, layers, options)
        by_target = [
            replace(fusion.fuse(at_layers, fuse) if several else at_layers[0], provenance=made_by)
            for at_layers in zip(*by_layer, strict=True)
        ]
        return (tuple(explanation[row] for explanation in by_target) for row in range(len(images)))

    # 1. Photos are decoded while the loop's body works on the batch before.
    for loaded in prepared(
        pictures_of(photos, network), network.preprocess, batch=batch, room=room
    ):
        # 2. The explanations of the batch.
        done = deque(found for images in input_batches(loaded) for found in explain_batch(images))
        # 3. The results, one by one.
        while loaded:  # nothing here keeps a photo whose result was yielded
            result = [_result(network, loaded.pop(0), done, room)]
            taken = result[0].taken
            yield result.pop()
            if not caller_gives_back:
                room.give(taken)


def pictures_of(paths: Sequence[str | Path], network: Network, every: int = 1) -> list[Path]:
    """Return the pictures that a network takes of these files, as `each_picture` does."""
    preprocess = network.preprocess
    return each_picture(
        list(map(Path, paths)),
        channels=preprocess.channels,
        volumes=preprocess.takes_volumes,
        every=every,
    )


def _explain_by_tiles(
    network: Network,
    made_by: Provenance,
    paths: Sequence[str | Path],
    targets: Sequence[ScoreTarget],
    method: Method | None,
    layers: Sequence[Layer | None],
    fuse: Fusion | None,
    tiles: Tiles,
    options: Options,
) -> Iterator[PhotoResult]:
    """Explain photo files one by one, each window by window; `fuse` is None for a single layer."""
    preprocess = network.preprocess
    for path in pictures_of(paths, network):
        try:
            picture = open_windows(path, preprocess.channels)
            windows = PhotoWindows(network, picture, tiles)
            by_layer = explain_pictures(windows, targets, method, layers, options)
        except PhotoError as error:
            yield PhotoResult(path, None, (), error)
            continue
        by_target = [
            at_layers[0] if fuse is None else fusion.fuse(at_layers, fuse)
            for at_layers in zip(*by_layer, strict=True)
        ]
        explanations = tuple(
            replace(each, provenance=made_by.with_windows_of(each.provenance)) for each in by_target
        )
        crop = None
        if windows.crops is not None:
            crop = replace(windows.crops[0], name=path.name)
            explanations = tuple(each.drawn_on([crop]) for each in explanations)
        del picture, windows, by_layer  # they keep the photo, and the caller may take long
        yield PhotoResult(path, crop, explanations)


def _result(
    network: Network, decoded: Prepared, done: deque[tuple[Explanation, ...]], room: Room
) -> PhotoResult:
    """Return the result of one photo, and give back the memory that it no longer takes."""
    if decoded.photo is None:
        room.give(decoded.taken)
        return PhotoResult(decoded.path, None, (), decoded.error)
    preprocess, explanations = network.preprocess, done.popleft()
    crop, needed = None, decoded.taken
    if preprocess.takes_volumes:
        geometry = (preprocess.geometry(decoded.photo),)
        explanations = tuple(explanation.drawn_on(None, geometry) for explanation in explanations)
    else:
        crop = replace(preprocess.crop(decoded.photo), name=decoded.path.name)
        explanations = tuple(explanation.drawn_on([crop]) for explanation in explanations)
        needed = bytes_to_draw_on(preprocess, crop.photo) + bytes_of_input(preprocess, crop.photo)
    decoded.photo = None
    taken = min(decoded.taken, needed)
    room.give(decoded.taken - taken)
    return PhotoResult(decoded.path, crop, explanations, None, taken)
