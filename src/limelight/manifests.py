"""What has to be known to make a map again: versions, network, layer, method, target, pictures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from limelight.digests import picture_digest, tensor_digest, weights_digest
from limelight.errors import InputError, TargetError
from limelight.methods import METHODS
from limelight.photos.crops import CroppedPhoto
from limelight.provenance import Provenance
from limelight.recipe import Part, Recipe
from limelight.runtime.unwrap import unwrap
from limelight.status import Status
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
            "preprocess": None if preprocess is None else asdict(preprocess),
        }
    if model is not None:
        module = model if isinstance(model, nn.Module) else model.model
        facts["weights_digest"] = weights_digest(unwrap(module))
    return facts or None


def _arguments(made: Made) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of `explain` as plain values, and the names of those that are not."""
    if made.recipe is None:
        return _without_recipe(made)
    first, lost = made.recipe.parts[0], list[str]()
    options, layers = first.options, [part.layer for part in made.recipe.parts]
    arguments: dict[str, Any] = {
        "method": str(first.method),
        "layer": layers if len(layers) > 1 else layers[0],
    }
    if first.method.place == "network":  # it takes no layer
        del arguments["layer"]
    if METHODS.get(first.method.name) is None or not _is_plain(first.method.options):
        lost.append("method")
    try:
        arguments["target"] = target_as_plain(first.target)
    except TargetError:
        lost.append("target")
    if len(layers) > 1:
        arguments["fuse"] = made.recipe.fuse
        lost += [] if _alike(made.recipe.parts) else ["method"]
    if options.spec.key is not None:
        arguments["output"] = options.spec.key
        lost += ["output"] if callable(options.spec.key) else []
    if options.spec.grid is not None:
        arguments["grid"] = list(options.spec.grid)
    if options.eigen:
        arguments["eigen"] = True
    if options.views is not None:
        arguments["views"] = options.views.made_with
        lost += ["views"] if options.views.made_with is None else []
    if made.picture:
        arguments["picture"] = made.picture
    kept = {name: value for name, value in arguments.items() if name not in lost}
    return kept, sorted(set(lost))


def _without_recipe(made: Made) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of a map by tiles, or of one that was fused twice or unpickled."""
    tiles = None if made.provenance is None else made.provenance.tiles
    if tiles is None:
        return {}, ["layer", "method", "target"]
    # The name of the method ends where the views that it was applied to begin.
    arguments: dict[str, Any] = {"method": made.method.rpartition(", ")[0], "layer": made.layer}
    arguments["views"] = tiles.made_with
    if made.index is None:
        return arguments, ["target"]
    return arguments | {"target": made.index.tolist()}, []


def _alike(parts: Sequence[Part]) -> bool:
    """Return whether parts differ in their layers alone."""
    first = parts[0]
    return all(
        part.target is first.target
        and part.method == first.method
        and part.options == first.options
        for part in parts
    )


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
