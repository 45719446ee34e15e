"""A large picture as a network is given it: one window, or a few, at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from limelight.errors import InputError, PhotoError
from limelight.inputs import ModelInputs, tensors
from limelight.methods.tiles import Tiles, WindowBox
from limelight.methods.views import Views
from limelight.models.network import (
    AnyPhoto,
    Images,
    Model,
    Network,
    Subject,
    read_subject,
    with_own_input,
)
from limelight.photos.crops import CroppedPhoto
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo, Raster
from limelight.photos.windowed import WindowedPicture, open_windows

#: The most windows, and the most numbers in their inputs, that go through the network together.
_TOGETHER, _NUMBERS_TOGETHER = 8, 2**21


class WindowInputs(ABC):
    """A picture, or a batch of pictures of one size, cut into windows.

    Attributes:
        model: The network.
        classes: The names of its classes; None when they are not known.
        tiles: How the pictures are cut.
        batch: B, the number of pictures.
        shape: Their size along each axis.
        size: The size of a window along each axis.
        boxes: The windows.
        geometry: How slices lie in the body, which is not known of windows: None.
    """

    geometry = None

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str] | None,
        tiles: Tiles,
        shape: Sequence[int],
        *,
        batch: int = 1,
        default: Sequence[int] | None = None,
    ) -> None:
        """Cut pictures of a shape into windows; `default` is the size that the network takes.

        Raises:
            OptionError: As `Tiles.size_for`.
        """
        self.model, self.classes, self.tiles = model, classes, tiles
        self.batch, self.shape = batch, tuple(shape)
        sides = tiles.size_for(len(self.shape), default)
        self.size = tuple(map(min, sides, self.shape))
        self.boxes = tiles.boxes(self.shape, self.size)

    @abstractmethod
    def inputs(self, boxes: Sequence[WindowBox]) -> ModelInputs:
        """Return the network's inputs for windows, B rows for each."""

    @property
    @abstractmethod
    def image(self) -> Tensor:
        """What stands for the whole picture in an explanation, `[B, C, *image]`."""

    @property
    def crops(self) -> tuple[CroppedPhoto, ...] | None:
        """The photo to draw on; None when there is none."""
        return None

    @property
    @abstractmethod
    def together(self) -> int:
        """How many windows go through the network together."""

    def batches(self) -> Iterator[tuple[list[WindowBox], ModelInputs]]:
        """Yield the windows, a few at a time, with the network's inputs for them."""
        count = self.together
        for start in range(0, len(self.boxes), count):
            boxes = self.boxes[start : start + count]
            yield boxes, self.inputs(boxes)


class TensorWindows(WindowInputs):
    """Windows of tensors, which the network is given as they are."""

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        classes: Sequence[str] | None,
        tiles: Tiles,
        default: Sequence[int] | None = None,
    ) -> None:
        """Cut the images among a model's arguments."""
        self._inputs = inputs
        shape, batch = inputs.image.shape[2:], inputs.batch
        super().__init__(model, classes, tiles, shape, batch=batch, default=default)

    def inputs(self, boxes: Sequence[WindowBox]) -> ModelInputs:
        """Return the windows' parts of the images."""
        parts = [self._inputs.image[:, :, *box] for box in boxes]
        return self._inputs.on(parts[0].clone() if len(parts) == 1 else torch.cat(parts))

    @property
    def image(self) -> Tensor:
        """The whole images."""
        return self._inputs.image

    @property
    def together(self) -> int:
        """How many windows go through the network together.

        It is one where targets and other arguments may be one per image.
        """
        alone = len(tensors((self._inputs.args, self._inputs.kwargs))) > 1
        if self.batch > 1 or alone:
            return 1
        return _count_together(self.image.shape[1] * math.prod(self.size))


class PhotoWindows(WindowInputs):
    """Windows of a photo, each of which is resized to what the network takes, without a crop."""

    def __init__(
        self,
        network: Network,
        picture: WindowedPicture,
        tiles: Tiles,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Cut a photo for a network.

        Raises:
            PhotoError: It is a volume and the network takes pictures, or the reverse.
            OptionError: As `Tiles.size_for`.
        """
        preprocess = network.preprocess
        if preprocess.takes_volumes != (len(picture.shape) == 3):
            taken = "volumes" if preprocess.takes_volumes else "pictures"
            advice = "an array [D, H, W]" if preprocess.takes_volumes else "one slice of it"
            raise PhotoError(
                f"{picture.name} has {len(picture.shape)} axes, {list(picture.shape)}, and the "
                f"network takes {taken}. Pass {advice}."
            )
        self._picture = picture
        self._own_preprocess = preprocess
        self._preprocess = preprocess.uncropped()
        self._like = next(
            network.model.parameters(), torch.zeros((), dtype=torch.float32, device="cpu")
        )
        super().__init__(
            network.model,
            network.classes if classes is None else classes,
            tiles,
            picture.shape,
            default=_default_size(preprocess),
        )

    def inputs(self, boxes: Sequence[WindowBox]) -> ModelInputs:
        """Return the windows as the network takes them."""
        images = [self._preprocess(self._picture.window(box)) for box in boxes]
        return ModelInputs.of(torch.stack(images).to(self._like))

    @cached_property
    def _crop_and_image(self) -> tuple[CroppedPhoto | None, Tensor]:
        """The reduced photo, and the same as a tensor."""
        reduced = self._picture.survey.reduced
        whole = replace(self._own_preprocess, size=None, resize=_shape_if_volume(reduced))
        image = whole(reduced)[None]
        if len(self.shape) != 2:
            return None, image
        crop = whole.crop(reduced)
        crop.photo.filename = self._picture.filename  # type: ignore[attr-defined]
        return replace(crop, original=self._picture.size), image

    @property
    def image(self) -> Tensor:
        """The reduced photo, `[1, C, *image]`."""
        return self._crop_and_image[1]

    @property
    def crops(self) -> tuple[CroppedPhoto, ...] | None:
        """The reduced photo; None for a volume."""
        crop = self._crop_and_image[0]
        return None if crop is None else (crop,)

    @property
    def together(self) -> int:
        """How many windows go through the network together."""
        size = self._preprocess.size or self.size
        numbers = math.prod(size) * self._preprocess.channels
        return _count_together(max(numbers, math.prod(self.size)))


def read_pictures(
    model: Model,
    inputs: Images,
    classes: Sequence[str] | None,
    views: Views | Tiles | None,
    picture: int | None,
) -> Subject | WindowInputs:
    """Read a model and its inputs, as a whole or to be explained window by window.

    Raises:
        InputError: There is no such picture; or as `read_subject` and `read_windows`.
    """
    if isinstance(views, Tiles):
        return read_windows(model, inputs, views, classes, picture)
    return read_subject(model, inputs, classes, picture)


def read_windows(
    model: Model,
    inputs: Images,
    tiles: Tiles,
    classes: Sequence[str] | None = None,
    picture: int | None = None,
) -> WindowInputs:
    """Read a model and its inputs, to be explained window by window.

    Raises:
        InputError, OptionError: There are several photos; or as `read_subject` and
            `Tiles.size_for`.
    """
    network = with_own_input(model)
    if isinstance(network, Network):
        photos = inputs if isinstance(inputs, list | tuple) else [inputs]
        if photos and all(isinstance(photo, _PHOTOS) for photo in photos):
            if len(photos) > 1:
                raise InputError(
                    f"There are {len(photos)} photos; tiles() explains one at a time. Pass one, or "
                    "their files to explain_photos."
                )
            windowed = _windowed(photos[0], network.preprocess.channels)  # type: ignore[arg-type]
            return PhotoWindows(network, windowed, tiles, classes)
    subject = read_subject(model, inputs, classes, picture)
    default = _default_size(network.preprocess) if isinstance(network, Network) else None
    return TensorWindows(subject.model, subject.inputs, subject.classes, tiles, default)


#: What a photo may be given as.
_PHOTOS = str | Path | Image | Raster | np.ndarray


def _windowed(photo: AnyPhoto, channels: int) -> WindowedPicture:
    """Return a photo to be read window by window; of a file no more is read than a window needs."""
    if isinstance(photo, str | Path):
        return open_windows(Path(photo), channels)
    if isinstance(photo, np.ndarray):
        return WindowedPicture.of_array(photo, channels)
    return WindowedPicture.of_photo(photo, channels)


def _default_size(preprocess: Preprocess) -> tuple[int, ...] | None:
    """Return the size of picture that a network takes; None if it takes any."""
    size = preprocess.size or preprocess.resize
    return (size, size) if isinstance(size, int) else size


def _shape_if_volume(photo: Photo) -> tuple[int, ...] | None:
    """Return the size of a volume; None for a picture."""
    volume = isinstance(photo, Raster) and photo.depth is not None
    return tuple(photo.values.shape[:-1]) if volume else None  # type: ignore[union-attr]


def _count_together(numbers: int) -> int:
    """Return how many windows of so many numbers go through the network together."""
    return max(1, min(_TOGETHER, _NUMBERS_TOGETHER // numbers))
