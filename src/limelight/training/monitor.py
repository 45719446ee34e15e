"""A monitor: the maps of a few photos, epoch by epoch, while a network learns."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.errors import OptionError, describe_error
from limelight.explanation import Explanation
from limelight.figure_style import MapScale
from limelight.film import check_fps
from limelight.layers.resolved import Layer
from limelight.map_scales import highest_value
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Network, read_subject
from limelight.pipeline import explain
from limelight.runtime.unwrap import unwrap
from limelight.targets import LogitsKey, Target
from limelight.targets.outputs import class_probabilities
from limelight.training.losses import heat_shares, mask_shares
from limelight.training.records import MapRecord, draw_record, film_frames
from limelight.training.writers import FolderWriter, MapWriter

#: How many pictures of a film are shown in a second: epochs are few.
_FPS = 2.0

#: The longer side of a picture that is written, in pixels.
_LONGEST = 512


class MapMonitor:
    """Makes the maps of a few photos after each epoch, and writes them.

        monitor = MapMonitor(model, images, target=labels, masks=masks, folder="maps")
        for epoch in range(1, epochs + 1):
            train(model)
            monitor(epoch)
        monitor.film("attention.gif")

    The maps are those of `explain`: of the network in evaluation mode, whatever mode it is in. The
    network stays as it is: its mode, gradients, flags and running statistics, and torch's random
    numbers. It may be called in inference mode and under autocast, and the network may be wrapped
    by DistributedDataParallel or `torch.compile`; of several processes only the first does
    anything.

    The maps are made once at the beginning, so that what cannot work is refused before training. A
    failure after an epoch is a warning, once, and training goes on.

    Attributes:
        records: What was noted, by epoch.
    """

    @checked_arguments
    def __init__(
        self,
        model: Model,
        photos: Images,
        *,
        target: Target = None,
        masks: MasksOrBoxes | Objects | None = None,
        folder: str | Path | None = None,
        writers: Sequence[MapWriter] = (),
        names: Sequence[str] | None = None,
        every: int = 1,
        method: str | None = None,
        layer: Layer | None = None,
        classes: Sequence[str] | None = None,
        output: LogitsKey | None = None,
        strict: bool = False,
    ) -> None:
        """Read the photos, and make their maps once.

        Args:
            model: The network that is trained; or a `Network` around it, which reads photos.
            photos: The photos or images, as in `explain`. They are copied.
            target: What to explain, as in `explain`; with classes, such as the labels, it is noted
                whether the predicted class is the same. None for the class that is predicted, which
                may be another after each epoch.
            masks: Where the objects are, as in `outside`; the share of the heat on them is noted.
            folder: Where `FolderWriter` writes pictures and `energy.csv`; None for nowhere.
            writers: Where else to write: `TensorBoardWriter` and others.
            names: What the photos are called; None for the names of their files, or numbers.
            every: After every how many epochs to do this.
            method, layer, classes, output: As in `explain`.
            strict: Raise what fails after an epoch, which ends the training.

        Raises:
            OptionError: `every` or `names` cannot be used, or a package is missing.
            OutputError: The folder cannot be written to.
            InputError: The masks do not fit the photos.
            LayerError, TargetError, MethodError, ModelError: As `explain`.
        """
        if every < 1:
            raise OptionError(f"every is {every}; a number of epochs, 1 or more, was expected.")
        self.records: list[MapRecord] = []
        self._every, self._strict, self._warned = every, strict, False
        self._target, self._method, self._layer = target, method, layer
        self._output = output
        own = [] if folder is None else [FolderWriter(folder)]
        self._writers: list[MapWriter] = [*own, *writers]
        with _undisturbed():
            subject = read_subject(model, photos, classes)
            self._classes, self._crops = subject.classes, subject.crops
            self._model: Any = subject.model
            # Photos are prepared once; tensors are copied, as a batch may be written on later.
            given: Any = subject.inputs.image if isinstance(model, Network) else photos
            self._inputs = pytree.tree_map_only(Tensor, lambda t: t.detach().cpu().clone(), given)
            explanation = self._explain()
            self._image = explanation.image.detach().cpu()
            self._masks = None
            if masks is not None:
                self._masks = mask_shares(masks, self._image).float().cpu()
        self._names = self._read_names(names)
        if self._is_first_process():
            for writer in self._writers:
                writer.check()

    @property
    def model(self) -> nn.Module:
        """The network that is watched."""
        model: nn.Module = unwrap(self._model)
        return model

    def __call__(self, epoch: float) -> MapRecord | None:
        """Make the maps after an epoch, and write them.

        Args:
            epoch: How many epochs are done. What was noted of the same epoch is replaced.

        Returns:
            What was noted; None if it was not this epoch's turn, in all processes but the first,
            and after a failure.
        """
        if int(epoch) % self._every or not self._is_first_process():
            return None
        try:
            with _undisturbed():
                record = self._look(epoch)
                self.records = [each for each in self.records if each.epoch != epoch] + [record]
                if self._writers:
                    pictures = list(draw_record(record, self._masks, longest=_LONGEST))
                for writer in self._writers:
                    writer.write(record, pictures)
        except Exception as error:
            if self._strict:
                raise
            self._warn(epoch, error)
            return None
        return record

    def film(self, path: str | Path, *, fps: float | None = None, scale: MapScale = "each") -> Path:
        """Write a film of the maps over the epochs, each with its epoch below.

        Args:
            path: The file; its suffix, .gif or .mp4 (extra `video`), is the format.
            fps: How many epochs are shown in a second; 2 when not given.
            scale: "each": the highest value of each map has the last colour. "shared": that of all
                maps, so that heat that grows is seen to grow.

        Raises:
            OptionError: `fps` cannot be used.
            OutputError: There are no records, the format is unknown, or the file cannot be written.
        """
        from limelight import render

        check_fps(fps)
        maps = (record.explanation for record in self.records)
        highest = highest_value(maps) if scale == "shared" else None
        frames = film_frames(self.records, self._masks, highest=highest)
        return render.write_film(Path(path), frames, fps or _FPS)

    def _explain(self) -> Explanation:
        """Make the maps, on the network's device."""
        like = next(self.model.parameters(), None)
        found = explain(
            self._model,
            pytree.tree_map_only(Tensor, lambda t: _moved(t, like), self._inputs),
            target=self._target,
            method=self._method,
            layer=self._layer,
            classes=self._classes,
            output=self._output,
        )
        return found.drawn_on(self._crops)

    def _look(self, epoch: float) -> MapRecord:
        """Make the maps, and note them."""
        found = self._explain()
        count = len(found)
        energy, share = [math.nan] * count, [math.nan] * count
        if self._masks is not None:
            energy = heat_shares(found, self._masks.to(found.raw.device)).tolist()
            covered = self._masks.flatten(1).mean(1).tolist()
            share = [value if value > 0 else math.nan for value in covered]
        heatmap = found.heatmap.detach().float().cpu()
        kept = replace(
            found,
            raw=found.raw.detach().float().cpu(),
            # Those of pictures follow from the raw maps, and would take much memory.
            heatmap=heatmap[:, :0, :0] if heatmap.ndim == 3 else heatmap,
            score=found.score.detach().float().cpu(),
            image=self._image,
            output=None,
            recipe=None,
            region=None if found.region is None else found.region.cpu(),
        )
        return MapRecord(
            epoch, self._names, kept, tuple(energy), tuple(share), tuple(self._right(found))
        )

    def _right(self, found: Explanation) -> list[bool | None]:
        """Return for each photo whether the predicted class is the one explained, if known."""
        probabilities = class_probabilities(found.output, self._output)
        unknown: list[bool | None] = [None] * len(found)
        if self._target is None or found.index is None or probabilities is None:
            return unknown
        if len(probabilities) != len(found) or probabilities.shape[1] == 1:
            return unknown
        return [*map(bool, probabilities.argmax(1) == found.index.cpu())]

    def _read_names(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return what the photos are called, as names of folders, each once.

        Raises:
            OptionError: There is not one name for each photo.
        """
        count = len(self._image)
        if names is not None and len(names) != count:
            raise OptionError(f"There are {len(names)} names for {count} photos.")
        known = [crop.name for crop in self._crops or ()]
        given = names or known or [""] * count
        plain = [name.replace("/", "-").strip(". ") for name in given]
        counts = Counter(plain)
        read = list[str]()
        for number, name in enumerate(plain):
            unique = name if name and counts[name] == 1 else f"{name or 'photo'}-{number}"
            while unique != name and (unique in counts or unique in read):
                unique += f"-{number}"
            read.append(unique)
        return tuple(read)

    def _is_first_process(self) -> bool:
        """Return whether this is the only process, or the first of several that train together."""
        distributed = torch.distributed
        several = distributed.is_available() and distributed.is_initialized()
        return not several or distributed.get_rank() == 0

    def _warn(self, epoch: float, error: Exception) -> None:
        """Say once that the maps of an epoch failed."""
        if not self._warned:
            warnings.warn(
                f"The maps of epoch {epoch:g} could not be made or written, and training goes on: "
                f"{describe_error(error)}. This is said once; MapMonitor(..., strict=True) raises "
                "it.",
                stacklevel=3,
            )
        self._warned = True


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave inference mode, record no graph, and keep torch's random numbers as they are."""
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.cuda.current_device()] if on_gpu else []
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices):
        yield


def _moved(tensor: Tensor, like: Tensor | None) -> Tensor:
    """Return a tensor on the network's device; one of numbers in its precision, too."""
    if like is None:
        return tensor
    return tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)
