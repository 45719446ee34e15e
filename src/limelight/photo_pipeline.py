"""Explanations of photo files, a batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from limelight import fusion
from limelight.ahead import Room
from limelight.errors import PhotoError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.sites import Layer
from limelight.methods import Method, find_method
from limelight.methods.fusing import Fusion
from limelight.methods.views import Views
from limelight.models.network import Network
from limelight.options import Options
from limelight.photos.batches import Prepared, prepared
from limelight.photos.memory import PHOTO_BYTES, PhotoSize, bytes_to_draw
from limelight.photos.preprocess import bytes_of_input
from limelight.pipeline import as_layers, explain_layers
from limelight.progress import ProgressCallback
from limelight.runtime.memory_format import suits_channels_last
from limelight.targets import LogitsKey, Target, as_target


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        path: The file.
        view: The part of the photo that the network saw; None when it could not be read.
        explanations: One per target, each of this one image.
        error: Why there is none, if so.
        taken: The bytes that are taken for it in the room of `explain_photos`.
    """

    path: Path
    view: Image | None
    explanations: tuple[Explanation, ...]
    error: PhotoError | None = None
    taken: int = 0


#: How many photos are worth two runs, to find out how their images should lie in memory.
MANY_PHOTOS = 32


def explain_photos(
    network: Network,
    paths: Sequence[str | Path],
    targets: Sequence[Target] = (None,),
    *,
    method: str | Method = "gradcam",
    layer: Layer | Sequence[Layer] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    fuse: Fusion = "mean",
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
    batch: int = 8,
    room: Room | None = None,
) -> Iterator[PhotoResult]:
    """Explain photo files, a batch at a time, one forward pass per batch.

    The next photos are decoded meanwhile, in threads. Many photos of one size lie channels last in
    memory on a CPU, if the network gives the same of them, which is tried once.

    Photos in work and the inputs made of them take at most `PHOTO_BYTES` (1.2 GB) of memory,
    whatever their sizes: of large ones fewer go through the network together, and fewer are decoded
    beforehand. One that takes more with its input is worked on alone.

    A photo that cannot be read yields a result with its error, and the others go on. Anything else
    that is wrong (a class, a layer, the model) concerns all photos and is raised at once.

    Args:
        network: From `load_model`, or a `Network` around your own model.
        paths: The photos.
        targets: What to explain of each photo.
        method: A name in METHODS, with options if any, or a row of it.
        layer: A dotted path; several, whose maps are fused; None to have it chosen.
        output, grid, fuse, views, eigen, chunk, compile, progress: As in `explain`.
        batch: How many photos go through the network together.
        room: The bytes that photos may take, if the caller still works on results when asking for
            the next; what each has `taken` of them is to be given back. Without it, a result is
            taken to be done with when the next is asked for.

    Yields:
        One PhotoResult per path, in order.
    """
    chosen = find_method(method)
    options = Options.read(
        classes=network.classes,
        output=output,
        grid=grid,
        views=views,
        eigen=eigen,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    rules, several = list(map(as_target, targets)), isinstance(layer, list | tuple)
    layers = as_layers(layer)
    worth_a_trial = network.preprocess.size is not None and len(paths) >= MANY_PHOTOS
    shared = room is not None
    room = room or Room(PHOTO_BYTES)

    def explain_batch(images: Tensor) -> Iterator[tuple[Explanation, ...]]:
        given = ModelInputs.of(images.to(next(network.model.parameters(), images)))
        if worth_a_trial and suits_channels_last(network.model, given):
            given = given.on(given.image.contiguous(memory_format=torch.channels_last))
        found = explain_layers(network.model, given, rules, chosen, layers, options)
        by_target = [
            fusion.fuse(of_one, fuse) if several else of_one[0]
            for of_one in zip(*found, strict=True)
        ]
        return (tuple(one[row] for one in by_target) for row in range(len(images)))

    for loaded in prepared(map(Path, paths), network.preprocess, batch=batch, room=room):
        done = deque(each for images in _batches(loaded) for each in explain_batch(images))
        while loaded:  # nothing here keeps a photo whose result is out
            result = [_result(network, loaded.pop(0), done, room)]
            taken = result[0].taken
            yield result.pop()
            if not shared:
                room.give(taken)


def _batches(loaded: Sequence[Prepared]) -> Iterator[Tensor]:
    """Yield the inputs of photos in batches, taken off them: an input may be large.

    Those that are not cropped to one size go through the network one by one.
    """
    inputs = deque[Tensor]()
    for one in loaded:
        if one.image is not None:
            inputs.append(one.image)
            one.image = None
    if len({image.shape for image in inputs}) == 1:
        images = torch.stack(tuple(inputs))
        inputs.clear()
        yield images
    while inputs:
        yield torch.stack((inputs.popleft(),))


def _result(
    network: Network, one: Prepared, done: deque[tuple[Explanation, ...]], room: Room
) -> PhotoResult:
    """Cut out what the network saw of a photo, and give back what the rest of it took."""
    if one.photo is None:
        room.give(one.taken)
        return PhotoResult(one.path, None, (), one.error)
    view, size = network.preprocess.view(one.photo), PhotoSize.of(one.photo)
    one.photo = None
    taken = min(one.taken, bytes_to_draw(view) + bytes_of_input(network.preprocess, size))
    room.give(one.taken - taken)
    return PhotoResult(one.path, view, done.popleft(), None, taken)
