"""What has to be known to make a map again: versions, network, layer, method, target, pictures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from limelight.digests import picture_digest, tensor_digest, weights_digest
from limelight.errors import InputError, TargetError
from limelight.methods import METHODS, Method
from limelight.photos.crops import CroppedPhoto
from limelight.photos.preprocess import Preprocess
from limelight.provenance import Provenance
from limelight.recipe import Part, Recipe
from limelight.runtime.unwrap import unwrap
from limelight.status import Status
from limelight.targets.class_names import names_for
from limelight.targets.plain_targets import target_as_plain
from limelight.version import __version__

if TYPE_CHECKING:
    from limelight.models.network import Network


class Made(Protocol):
    """An explanation, as far as its manifest reads it."""

    @property
    def raw(self) -> Tensor: ...  # noqa: D102
    @property
    def image(self) -> Tensor: ...  # noqa: D102
    @property
    def score(self) -> Tensor: ...  # noqa: D102
    @property
    def index(self) -> Tensor | None: ...  # noqa: D102
    @property
    def label(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def status(self) -> tuple[Status, ...]: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def layer(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def picture(self) -> int: ...  # noqa: D102
    @property
    def crops(self) -> tuple[CroppedPhoto, ...] | None: ...  # noqa: D102
    @property
    def recipe(self) -> Recipe | None: ...  # noqa: D102
    @property
    def provenance(self) -> Provenance | None: ...  # noqa: D102


def manifest_of(
    made: Made,
    model: nn.Module | Network | None = None,
    photos: Sequence[str | Path] | None = None,
) -> dict[str, Any]:
    """Return the manifest of an explanation, as `Explanation.manifest` says.

    Raises:
        InputError: There is not one photo for each image.
    """
    if photos is not None and len(photos) != len(made.label):
        raise InputError(
            f"There are {len(photos)} photos for {len(made.label)} images; one for each was "
            "expected."
        )
    arguments, lost = _arguments(made)
    return {
        "versions": versions(),
        "network": _network(made.provenance, model),
        "layer": made.layer,
        "reason": made.reason,
        "method": made.method,
        "arguments": arguments,
        "not_kept": lost,
        "input": {
            "shape": list(made.image.shape),
            "dtype": str(made.image.dtype).removeprefix("torch."),
            "device": str(made.image.device),
        },
        "images": [_image(made, number, photos) for number in range(len(made.label))],
    }


def without_folders(made: Made) -> dict[str, Any]:
    """Return the manifest of an explanation with the names of files alone.

    It goes with the maps, to whoever is given them; where they were made is nobody's business.
    """
    manifest = manifest_of(made)
    for photo in filter(None, (each["photo"] for each in manifest["images"])):
        photo["file"] = Path(photo["file"]).name
    return manifest


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    from PIL import __version__ as pillow

    return {
        "limelight": __version__,
        "torch": torch.__version__,
        "pillow": pillow,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _network(
    provenance: Provenance | None, model: nn.Module | Network | None
) -> dict[str, Any] | None:
    """Return what is known of the network; with the model, the digest of its weights too."""
    facts = dict[str, Any]()
    if provenance is not None:
        preprocess = provenance.preprocess
        facts = {
            "name": provenance.name,
            "class": provenance.model,
            "parameters": provenance.parameters,
            "weights": provenance.weights,
            "preprocess": None if preprocess is None else _as_plain(preprocess),
            "classes": _own_names(provenance.classes),
        }
    if model is not None:
        module = model if isinstance(model, nn.Module) else model.model
        facts["weights_digest"] = weights_digest(unwrap(module))
    return facts or None


def _as_plain(preprocess: Preprocess) -> dict[str, Any]:
    """Return how photos are prepared with lists, as JSON has no tuples."""
    values = asdict(preprocess).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def _arguments(made: Made) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of `explain` as plain values, and the names of those that are not."""
    provenance = made.provenance
    tiles = None if provenance is None else provenance.tiles
    recipe = made.recipe if tiles is None or provenance is None else provenance.of_windows
    if recipe is None:  # of a map that was fused twice, or pickled with what cannot be pickled
        return {}, ["layer", "method", "target"]
    if not all(map(partial(_alike, recipe.parts[0]), recipe.parts)):
        return {}, [PARTS]
    first, lost = recipe.parts[0], list[str]()
    options, layers = first.options, [part.layer for part in recipe.parts]
    arguments: dict[str, Any] = {"method": str(first.method)}
    lost += [] if _is_known(first.method) else ["method"]
    if len(layers) > 1:
        arguments |= {"layer": layers, "fuse": recipe.fuse}
    elif first.method.place != "network" and made.layer == layers[0]:
        arguments["layer"] = layers[0]  # else each window chose its own, as it will again
    try:
        arguments["target"] = target_as_plain(first.target)
    except TargetError:
        lost.append("target")
    classes = _own_names(options.spec.classes)
    if classes is not None and (provenance is None or classes != _own_names(provenance.classes)):
        arguments["classes"] = classes
    if options.spec.key is not None:
        arguments["output"] = options.spec.key
        lost += ["output"] if callable(options.spec.key) else []
    if options.spec.grid is not None:
        arguments["grid"] = list(options.spec.grid)
    if options.eigen:
        arguments["eigen"] = True
    views = options.views or tiles
    if views is not None:
        arguments["views"] = views.made_with
        lost += ["views"] if views.made_with is None else []
    if made.picture:
        arguments["picture"] = made.picture
    kept = {name: value for name, value in arguments.items() if name not in lost}
    return kept, sorted(lost)


#: Stands in `not_kept` where maps by several methods, or of several targets, were fused.
PARTS = "parts"


def _alike(one: Part, other: Part) -> bool:
    """Return whether parts differ in their layers alone."""
    same_target = one.target is other.target or one.target == other.target
    if not same_target:
        with suppress(TargetError):
            same_target = target_as_plain(one.target) == target_as_plain(other.target)
    return same_target and one.method == other.method and one.options == other.options


def _is_known(method: Method) -> bool:
    """Return whether a method is a row of METHODS, with options that can be written."""
    row = METHODS.get(method.name)
    return (
        row is not None
        and replace(method, options=row.options) == row
        and _is_plain(method.options)
    )


def _own_names(classes: Sequence[str] | None) -> list[str] | None:
    """Return names of classes; None for the 1000 of ImageNet, which are known anyway."""
    if classes is None or tuple(classes) == names_for(len(classes), None):
        return None
    return list(classes)


def _is_plain(options: Any) -> bool:
    return all(isinstance(value, bool | int | float | str | None) for value in options.values())


def _image(made: Made, number: int, photos: Sequence[str | Path] | None) -> dict[str, Any]:
    """Return what was explained of one image, and the digests of what it was made from."""
    status, crop = made.status[number], None if made.crops is None else made.crops[number]
    return {
        "target": made.label[number],
        "index": None if made.index is None else int(made.index[number]),
        "score": float(made.score[number].detach()),
        "status": status.name,
        "message": status.message,
        "input_digest": tensor_digest(made.image[number]),
        "map_digest": tensor_digest(made.raw[number]),
        "photo": None
        if crop is None and photos is None
        else _photo(crop, None if photos is None else photos[number]),
    }


def _photo(crop: CroppedPhoto | None, path: str | Path | None) -> dict[str, Any]:
    """Return the file of a photo, digests of the file and of its pixels, and what was seen."""
    named = str(path or getattr(crop and crop.photo, "filename", "") or (crop and crop.name) or "")
    facts: dict[str, Any] = {"file": named, "file_digest": _file_digest(named)}
    if crop is not None:
        size = crop.original_size
        facts |= {
            "size": [size.width, size.height],
            "box": list(crop.original_box),
            "pixels_digest": picture_digest(crop.photo),
        }
    return facts


def _file_digest(named: str) -> str | None:
    """Return the digest of a file; None if there is none of that name."""
    if not named or not Path(named).is_file():
        return None
    with Path(named).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
