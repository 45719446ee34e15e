"""A file that limelight exported, opened by onnxruntime."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.deployed.description import Description, MapDescription
from limelight.deployed.explanation import DeployedExplanation
from limelight.deployed.images import AnyPhoto, Images, PreparedPhoto, prepare_photo, read_images
from limelight.deployed.scores import read_scores
from limelight.deployed.session import open_session, run_session
from limelight.errors import TargetError, unknown
from limelight.misnamed import checked_arguments
from limelight.photos.crops import CroppedPhoto
from limelight.photos.preprocess import Preprocess
from limelight.status import STATUS_NAMES, Status
from limelight.targets.class_names import ClassName, class_index

Array = npt.NDArray[Any]

#: One class for all images; None for the predicted one; or one of these for each image.
Target = ClassName | None | Sequence[ClassName | None] | Array


def load(
    path: str | Path, *, providers: Sequence[str] | None = None, threads: int | None = None
) -> DeployedNetwork:
    """Open an ONNX file that `limelight.export` wrote.

    Args:
        path: The file.
        providers: What onnxruntime computes with, best first, as in ["CUDAExecutionProvider"]; the
            CPU when not given.
        threads: How many threads compute an operator; as many as there are cores when not given.

    Raises:
        MissingWeightsError: There is no such file.
        WeightsError: It is no ONNX file, or not one that limelight exported; or a part of it that
            is a file of its own is missing.
        OptionError: onnxruntime is not installed, or has no such provider; or the file is one for
            PyTorch.
    """
    session, description = open_session(Path(path), providers, threads)
    return DeployedNetwork(Path(path), description, session)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DeployedNetwork:
    """A network with its maps, in an ONNX file.

    Attributes:
        path: The file.
        description: What the file says of itself.
        session: The `onnxruntime.InferenceSession`.
    """

    path: Path
    description: Description
    session: Any

    def __repr__(self) -> str:
        """Return the network's name and its maps."""
        maps = ", ".join(f"{each.method} at {each.layer}" for each in self.description.maps)
        return f"DeployedNetwork({self.description.network}; {maps})"

    @property
    def preprocess(self) -> Preprocess | None:
        """What makes the input of a photo; None if that is not known."""
        fields = self.description.preprocess
        return None if fields is None else Preprocess(**fields)

    @property
    def class_count(self) -> int | None:
        """How many classes the network has; None if the file does not say."""
        if self.description.classes is not None:
            return len(self.description.classes)
        (logits,) = (each for each in self.session.get_outputs() if each.name == "logits")
        size = logits.shape[2 if self.description.output == "boxes" else 1]
        return size - self.description.no_object if isinstance(size, int) else None

    @checked_arguments
    def explain(
        self,
        inputs: AnyPhoto | Sequence[AnyPhoto],
        target: Target = None,
        *,
        method: str | None = None,
        layer: str | None = None,
    ) -> DeployedExplanation:
        """Explain photos, or what a Preprocess made of them.

        Args:
            inputs: A photo or several: paths, Pillow pictures, `Raster`s or arrays of pixels; or
                the network's input, an array `[B, C, *image]` of float32.
            target: A class, by index or by name; the predicted class of each image when None; or a
                list with one of these for each image.
            method, layer: Which map of a file with several; its first without them. All of them are
                in `maps` of the result.

        Raises:
            InputError: The inputs are not what the file takes.
            PhotoError: A photo cannot be read.
            UnknownNameError, TargetError: There is no such class, method or layer in the file.
        """
        number = self.map_number(method, layer)
        images = read_images(inputs, self.description, self.preprocess)
        targets = self._targets(target, images.count)
        outputs, first = list[Mapping[str, Array]](), 0
        for portion in images.portions:
            size = 1 if self.description.preprocessing_inside else len(portion)
            chosen = targets[first : first + size]
            filled = np.concatenate([chosen, np.repeat(chosen[-1:], size - len(chosen))])
            outputs.append(run_session(self.session, portion, filled, self.path))
            first += size
        maps = self._explanations(images, outputs, targets)
        return replace(maps[number], maps=maps)

    def prepare(self, photo: AnyPhoto) -> PreparedPhoto:
        """Return a photo as the file takes it, to be explained later, perhaps for several targets.

        Raises:
            InputError, PhotoError: As `explain`.
        """
        return prepare_photo(photo, self.description, self.preprocess)

    def map_number(self, method: str | None = None, layer: str | None = None) -> int:
        """Return the number of the first map of the file with this method and this layer.

        Raises:
            UnknownNameError: There is none.
        """
        maps = self.description.maps
        for kind, name, names in (
            ("method", method, [each.method for each in maps]),
            ("layer", layer, [each.layer for each in maps]),
        ):
            if name is not None and name not in names:
                known = list(dict.fromkeys(names))
                raise unknown(f"{kind} in the file", name, known, f"It has {', '.join(known)}.")
        for number, each in enumerate(maps):
            if method in (None, each.method) and layer in (None, each.layer):
                return number
        pairs = ", ".join(f"{each.method} at {each.layer}" for each in maps)
        raise unknown("map in the file", f"{method} at {layer}", [], f"It has {pairs}.")

    def _targets(self, target: Target, count: int) -> npt.NDArray[np.int64]:
        """Return the class of each image, `[B]`; -1 for the predicted one."""
        is_list = isinstance(target, Iterable) and not isinstance(target, str)
        several = is_list and getattr(target, "ndim", 1) > 0
        each: list[Any] = list(target) if several else [target] * count  # type: ignore[arg-type]
        if len(each) != count:
            raise TargetError(
                f"There are {len(each)} targets for {count} images. Pass one for all, or one for "
                "each image."
            )
        chosen = [-1 if name is None else self.class_index(name) for name in each]
        return np.array(chosen, dtype=np.int64)

    def class_index(self, name: ClassName) -> int:
        """Return the index of a class given by index or by name.

        Raises:
            UnknownNameError: No class has that name; the nearest are named.
            TargetError: The index is out of range, several classes share the name, or the names are
                not known.
        """
        if isinstance(name, str) and self.description.classes is None:
            raise TargetError(
                f"The target is the name {name!r}, and the file does not say the names of the "
                "classes. Pass the class's index, or export the network again with classes=[...]."
            )
        try:
            class_ = name if isinstance(name, str | bool) else operator.index(name)
        except TypeError:
            raise TargetError(
                f"The target is {name!r}; a class was expected, by its index (a whole number) or "
                "by its name; or a list with one for each image; or None for the predicted one."
            ) from None
        return class_index(class_, self.class_count or sys.maxsize, self.description.classes)

    def _given(self, images: Images) -> Array:
        """Return what the network was given, `[B, C, *image]`; zeros where the file prepares it."""
        if self.description.preprocessing_inside:
            shape = (images.count, *self.description.input_shape)
            return np.broadcast_to(np.float32(0), shape)
        return np.concatenate(images.portions)[: images.count]

    def _explanations(
        self, images: Images, outputs: Sequence[Mapping[str, Array]], targets: Array
    ) -> tuple[DeployedExplanation, ...]:
        """Return the explanation by each map of the file."""
        about, count = self.description, images.count
        whole = {
            name: np.concatenate([each[name] for each in outputs])[:count]
            for name in outputs[0]
            if name not in ("crop", "size")
        }
        scores = read_scores(whole["logits"], targets, about)
        crops, given = images.crops, self._given(images)
        if about.preprocessing_inside:
            crops = tuple(map(_crop, crops or (), outputs))
        return tuple(
            DeployedExplanation(
                logits=whole["logits"],
                raw=whole[each.raw],
                heatmap=whole[each.heatmap],
                score=scores.score,
                index=scores.index,
                label=scores.label,
                status=_status(each, whole[each.status]),
                method=each.method,
                layer=each.layer,
                image=given,
                region=scores.region,
                span=each.span,
                crops=crops,
            )
            for each in about.maps
        )


def _crop(photo: CroppedPhoto, outputs: Mapping[str, Array]) -> CroppedPhoto:
    """Return a photo with the box that the file says it took."""
    left, top, right, bottom = map(float, outputs["crop"])
    return replace(photo, box=(left, top, right, bottom))


def _status(each: MapDescription, numbers: Array) -> tuple[Status, ...]:
    """Return what the status of a map says of each image."""
    return tuple(
        Status(STATUS_NAMES[int(number)], each.messages[int(number)]) for number in numbers
    )
