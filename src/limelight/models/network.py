"""A model with what is needed to show it a photo and to read its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from limelight.errors import InputError
from limelight.inputs import Inputs, ModelInputs
from limelight.notebook import Table, TablesView, tables_html
from limelight.photos.crops import CroppedPhoto
from limelight.photos.geometry import Geometry
from limelight.photos.pictures import load_photo
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Numbers, Photo, Raster, as_photo, in_own_numbers
from limelight.runtime.unwrap import is_ultralytics, unwrap


@dataclass(frozen=True, slots=True, repr=False)
class Network:
    """A model with what is needed to show it a photo and to read its answer.

    Attributes:
        name: The name under which it was loaded.
        model: The network, in evaluation mode.
        preprocess: Makes the model's input from a photo.
        classes: The names of its classes; None when they are not known.
        weights: Where its weights come from, in words.
    """

    name: str
    model: nn.Module
    preprocess: Preprocess = field(default_factory=Preprocess)
    classes: tuple[str, ...] | None = None
    weights: str = "as the model was given"

    def __repr__(self) -> str:
        """Return name, class and size of the model, its input, and the number of classes."""
        facts = self._facts()
        facts["input"] = f"input {facts['input']}"
        return f"Network({', '.join(text for text in facts.values() if text)})"

    def _repr_html_(self) -> str:
        """Show the same as a table in a notebook, with weights and class names."""
        names = ", ".join(self.classes[:_MOST_NAMES]) if self.classes else ""
        more = ", …" if self.classes and len(self.classes) > _MOST_NAMES else ""
        facts = {**self._facts(), "weights": self.weights, "class names": names + more}
        rows = [row for row in facts.items() if row[1]]
        return tables_html(TablesView("", [Table("", (), rows, words=2)]))

    def _facts(self) -> dict[str, str]:
        """Return what the network is, in a few words each."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        size = self.preprocess.size
        return {
            "name": self.name,
            "model": type(self.model).__name__,
            "size": f"{count:,} parameters",
            "input": "of any size" if size is None else " x ".join(map(str, size)),
            "classes": "" if self.classes is None else f"{len(self.classes)} classes",
        }

    def load_photo(self, path: str | Path) -> Photo:
        """Decode a photo, as `limelight.load_photo` does, in the channels that the network takes.

        Of a video, a network of volumes takes as many frames as it has slices, evenly spaced.

        Raises:
            MissingPhotoError, PhotoError: As `limelight.load_photo`.
        """
        preprocess = self.preprocess
        return load_photo(path, channels=preprocess.channels, frames=preprocess.frames)

    def images(self, photo: Photo) -> Tensor:
        """Return a photo as the model takes it, `[1, C, H, W]`, on its device and in its type.

        A volume becomes `[1, C, D, H, W]`.
        """
        image = self.preprocess(photo)[None]
        return image.to(next(self.model.parameters(), image))


#: How many class names a notebook shows.
_MOST_NAMES = 8

#: A photo as a user has it: its file, or decoded; an array is `[H, W]`, `[H, W, C]`, `[C, H, W]`
#: or a volume.
AnyPhoto = str | Path | Image | Raster | Numbers

#: What `explain` and its like take: a model with its inputs, or a `Network` with photos too.
Model = nn.Module | Network
Images = Inputs | AnyPhoto | Sequence[AnyPhoto]


class Subject(NamedTuple):
    """The model and the images that a call is about.

    Attributes:
        model: The network.
        inputs: The network's arguments.
        classes: The names of its classes; None when they are not known.
        crops: The photos, for maps to be drawn on, each with the box of it that the network sees;
            None when no photos were given.
        geometry: How the slices of volumes lie in the body, and the size of their pixels; None when
            pictures or tensors were given.
    """

    model: nn.Module
    inputs: ModelInputs
    classes: Sequence[str] | None
    crops: tuple[CroppedPhoto, ...] | None
    geometry: tuple[Geometry | None, ...] | None = None

    @property
    def photos(self) -> tuple[Image, ...] | None:
        """The part of each photo that the network sees; None when no photos were given."""
        return None if self.crops is None else tuple(crop.view() for crop in self.crops)


def yolo_network(yolo: Any, name: str = "yolo") -> Network:
    """Return the network in an object of ultralytics, with its class names and its input.

    A photo is resized to the size that the network was trained on, without bars around it, which
    changes its proportions; for a classifier it is cropped.
    """
    model = unwrap(yolo)
    crops = yolo.task == "classify"
    size = yolo.overrides.get("imgsz") or (224 if crops else 640)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(model, "yaml", {}).get("channels", 3)
    preprocess = Preprocess(
        size=(height, width),
        resize=min(height, width) if crops else (height, width),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    return Network(name, model, preprocess, _own_names(model))


def _own_names(model: nn.Module) -> tuple[str, ...] | None:
    """Return the class names that a network brings as `names`, by index, as ultralytics' do.

    None if it has none, or if they are its indices.
    """
    names = unwrap(model).__dict__.get("names")
    if not isinstance(names, Mapping) or list(names) != list(range(len(names))):
        return None
    texts = tuple(map(str, names.values()))
    return None if texts == tuple(map(str, names)) else texts


def with_own_input(model: Model) -> Model:
    """Return a model as it is; an object of ultralytics as a network with its preprocessing."""
    return yolo_network(model) if is_ultralytics(model) else model


def read_subject(
    model: Model,
    inputs: Images,
    classes: Sequence[str] | None = None,
    picture: int | None = None,
) -> Subject:
    """Read a model and its inputs; a `Network` prepares photos, and knows its class names.

    A `YOLO` of ultralytics is read as such a network.

    Raises:
        InputError: The inputs hold no images, or photos were given to a model that is no `Network`.
    """
    model = with_own_input(model)
    network = model if isinstance(model, Network) else None
    photos = _photos(inputs, network)
    if photos is not None and network is None:
        kind = "An array" if _is_array(inputs) else "A photo"
        raise InputError(
            f"{kind} was given, and how to prepare it for this model is not known. Pass a Network, "
            "as limelight.load_model returns it, or the tensor [B, C, H, W] that the model takes."
        )
    if network is None:
        if classes is None and isinstance(model, nn.Module):
            classes = _own_names(model)
        read = ModelInputs.of(inputs, picture)  # type: ignore[arg-type]
        return Subject(model, read, classes, None)  # type: ignore[arg-type]
    classes = network.classes if classes is None else classes
    if photos is None:
        read = ModelInputs.of(inputs, picture)  # type: ignore[arg-type]
        return Subject(network.model, read, classes, None)
    prepared = [network.images(photo) for photo in photos]
    shapes = {tuple(images.shape[1:]) for images in prepared}
    if len(shapes) > 1:
        raise InputError(
            f"The photos make inputs of shapes {sorted(map(list, shapes))}; one shape was "
            "expected, as their maps are one tensor. Explain them one by one, or with "
            "explain_photos."
        )
    images = torch.cat(prepared)
    inputs_of_photos, preprocess = ModelInputs.of(images), network.preprocess
    if preprocess.takes_volumes:
        geometry = tuple(map(preprocess.geometry, photos))
        return Subject(network.model, inputs_of_photos, classes, None, geometry)
    crops = tuple(map(preprocess.crop, photos))
    return Subject(network.model, inputs_of_photos, classes, crops)


def _photos(inputs: Images, network: Network | None) -> list[Photo] | None:
    """Return the inputs as a list of photos; None if they are no photos.

    Raises:
        MissingPhotoError, PhotoError: As `load_photo`.
    """
    photos = list[Photo]()
    channels = None if network is None else network.preprocess.channels
    for each in inputs if isinstance(inputs, list | tuple) else [inputs]:
        if isinstance(each, Image | Raster):
            photos.append(in_own_numbers(each))
        elif isinstance(each, np.ndarray):
            photos.append(as_photo(each, channels))
        elif isinstance(each, str | Path) and network is not None:
            photos.append(network.load_photo(each))
        else:
            return None
    return photos or None


def _is_array(inputs: Images) -> bool:
    """Return whether the inputs are arrays of numpy."""
    first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
    return isinstance(first, np.ndarray)
