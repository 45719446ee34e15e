"""The rows of explanations: what was explained of each photo, in plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from limelight.drawing import Explained, heatmap_on_photo
from limelight.errors import InputError
from limelight.photos.crops import CroppedPhoto
from limelight.photos.pieces import pieces
from limelight.recipe import Recipe
from limelight.targets.outputs import LogitsKey, class_probabilities

#: The columns of a table of explanations, with the types of their values. They are part of the
#: files: docs/guide.md has what each holds.
EXPLANATION_COLUMNS: Mapping[str, type] = {
    "photo": str,
    "image": int,
    "target": str,
    "index": int,
    "score": float,
    "probability": float,
    "status": str,
    "message": str,
    "method": str,
    "layer": str,
    "photo_width": int,
    "photo_height": int,
    "max_x_photo": int,
    "max_y_photo": int,
    "max_x_input": int,
    "max_y_input": int,
    "max_z_input": int,
    "share_in_region": float,
    "share_in_objects": float,
    "completeness_gap": float,
    "error": str,
}


class Tabulated(Explained, Protocol):
    """The attributes of an `Explanation` that a table holds."""

    @property
    def output(self) -> Any: ...  # noqa: D102

    @property
    def completeness_gap(self) -> Tensor | None: ...  # noqa: D102

    @property
    def recipe(self) -> Recipe | None: ...  # noqa: D102


def explanation_rows(
    explanation: Tabulated,
    photos: Sequence[str] | None = None,
    *,
    objects: Tensor | None = None,
    first: int = 0,
) -> list[dict[str, Any]]:
    """Return a row for each image, with the columns of `EXPLANATION_COLUMNS`.

    Args:
        explanation: The explanation of B images.
        photos: The names of the photos, one per image; None when they have none.
        objects: Masks of the objects, `[B, *image]`, in pixels of the network's input.
        first: The number of the first image.

    Raises:
        InputError: There is not one name, or not one mask of the input's size, for each image.
    """
    images = explanation.image
    count, size = len(images), tuple(explanation.heatmap.shape[1:])
    check_count(photos, count)
    if objects is not None and tuple(objects.shape) != (count, *size):
        raise InputError(
            f"The objects have shape {list(objects.shape)}; masks {[count, *size]} in pixels of "
            "the network's input were expected. For boxes pass limelight.Objects.of(boxes, "
            "images).mask."
        )
    probabilities = _probabilities(explanation)
    rows = []
    for b in range(count):
        status = explanation.status[b]
        crop = None if explanation.crops is None else explanation.crops[b]
        heatmap = explanation.heatmap[b].detach().cpu()
        index = None if explanation.index is None else int(explanation.index[b])
        gap = explanation.completeness_gap
        region = explanation.scored_regions[b]
        shown = _shown_places(explanation[b], heatmap, crop) if status.ok else {}
        row = {
            "photo": None if photos is None else photos[b],
            "image": first + b,
            "target": explanation.label[b],
            "index": index,
            "score": float(explanation.score[b].detach()),
            "probability": _entry(probabilities, b, index),
            "status": status.name,
            "message": status.message,
            "method": explanation.method,
            "layer": explanation.layer,
            "photo_width": crop.original_size.width if crop else None,
            "photo_height": crop.original_size.height if crop else None,
            **shown,
            "share_in_region": _share(heatmap, region),
            "share_in_objects": _share(heatmap, None if objects is None else objects[b]),
            "completeness_gap": None if gap is None else float(gap[b]),
        }
        rows.append({name: row.get(name) for name in EXPLANATION_COLUMNS})
    return rows


def check_count(names: Sequence[str] | None, count: int) -> None:
    """Refuse names of photos of which there is not one for each image.

    Raises:
        InputError: There is not.
    """
    if names is not None and len(names) != count:
        raise InputError(
            f"There are {len(names)} names of photos for {count} images; one for each was expected."
        )


def failed_row(
    photo: str | None, error: str, *, image: int | None = None, **known: Any
) -> dict[str, Any]:
    """Return the row of a photo, or of one method on it, that has no explanation, and why."""
    row = {"photo": photo, "image": image, "error": error, **known}
    return {name: row.get(name) for name in EXPLANATION_COLUMNS}


def _probabilities(explanation: Tabulated) -> Tensor | None:
    """Return the probabilities of the classes, `[B, C]`; None where they are not defined."""
    recipe = explanation.recipe
    key: LogitsKey | None = None if recipe is None else recipe.parts[0].options.spec.key
    probabilities = class_probabilities(explanation.output, key)
    fits = probabilities is not None and len(probabilities) == len(explanation.image)
    return probabilities if fits else None


def _entry(probabilities: Tensor | None, image: int, index: int | None) -> float | None:
    if probabilities is None or index is None or not 0 <= index < probabilities.shape[1]:
        return None
    return float(probabilities[image, index])


def _share(heatmap: Tensor, inside: Tensor | None) -> float | None:
    """Return the share of the heat that lies inside; None without heat, or for all pixels."""
    total = float(heatmap.double().sum())
    if inside is None or inside.shape != heatmap.shape or not total > 0:
        return None
    return float((heatmap.double() * (inside.detach().cpu() > 0)).sum()) / total


def _shown_places(
    explanation: Tabulated, heatmap: Tensor, crop: CroppedPhoto | None
) -> dict[str, int]:
    """Return the columns that say where the heat of one image is highest."""
    position = torch.unravel_index(heatmap.argmax(), heatmap.shape)
    axes = ("max_x_input", "max_y_input", "max_z_input")
    places = dict(zip(axes, map(int, position[::-1]), strict=False))
    if crop is None or heatmap.ndim != 2:
        return places
    highest, original = _highest_on_photo(explanation, crop), crop.original_size
    return places | {
        "max_x_photo": int((highest.x + 0.5) * original.width / crop.photo.width),
        "max_y_photo": int((highest.y + 0.5) * original.height / crop.photo.height),
    }


class _Pixel(NamedTuple):
    """A pixel of a photo, and its heat."""

    heat: float
    x: int
    y: int


def _highest_on_photo(explanation: Explained, crop: CroppedPhoto) -> _Pixel:
    """Return the first of the hottest pixels of a photo; large photos are read in pieces."""
    heat = heatmap_on_photo(explanation, crop)
    highest = _Pixel(-1.0, 0, 0)
    for left, top, right, bottom in pieces(crop.photo.width, crop.photo.height):
        part = heat[top:bottom, left:right]
        row, column = divmod(int(part.argmax()), right - left)
        if float(part[row, column]) > highest.heat:
            highest = _Pixel(float(part[row, column]), left + column, top + row)
    return highest
