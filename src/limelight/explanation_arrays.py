"""The arrays of an explanation: heatmaps of whole photos, and what an .npz file holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.drawing import Drawable, Explained, check_whole, heatmap_on_photo
from limelight.photos.crops import CroppedPhoto


class PhotoHeatmap(NamedTuple):
    """The heatmap of a whole photo.

    Attributes:
        heatmap: In [0, 1], `[H, W]`; 0 where the network did not see.
        seen: Which pixels the network saw, `[H, W]`.
    """

    heatmap: Tensor
    seen: Tensor


def photo_heatmap(maps: Drawable, crop: CroppedPhoto) -> PhotoHeatmap:
    """Return the heatmap of one image on its whole photo."""
    from limelight.render import in_one_array

    return PhotoHeatmap(torch.from_numpy(in_one_array(heatmap_on_photo(maps, crop))), crop.seen())


def photo_heatmaps(explanation: Explained) -> list[PhotoHeatmap]:
    """Return the heatmap of each whole photo, as `Explanation.photo_heatmaps` says."""
    check_whole(explanation.crops, whole=True)
    return [photo_heatmap(explanation[b], crop) for b, crop in enumerate(explanation.crops or ())]


#: The fields of an `Explanation` with a row for each image.
_BY_IMAGE = (
    *("raw", "heatmap", "score", "index", "label", "status", "image", "completeness_gap"),
    *("region", "crops", "geometry"),
)


def rows_of_fields(explanation: Any, b: int) -> dict[str, Any]:
    """Return the fields of an `Explanation` that have a row for each image, for image b alone."""
    rows, count = slice(b, b + 1), len(explanation)
    values = {name: getattr(explanation, name) for name in _BY_IMAGE}
    windows, recipe, provenance = explanation.windows, explanation.recipe, explanation.provenance
    axes = explanation.image.ndim - 2
    return {
        **{name: None if value is None else value[rows] for name, value in values.items()},
        "windows": None if windows is None else windows.of_image(b),
        "recipe": None if recipe is None else recipe.of_image(b, axes),
        "provenance": None if provenance is None else provenance.of_image(b, axes),
        "output": pytree.tree_map_only(
            Tensor, lambda t: t[rows] if t.ndim and len(t) == count else t, explanation.output
        ),
    }


def explanation_arrays(
    explanation: Explained, *, whole: bool
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return what an .npz file holds: the arrays, and their names."""
    arrays = {
        "raw": explanation.raw,
        "heatmap": explanation.heatmap,
        "score": explanation.score.detach().float(),
    }
    for b, (heatmap, seen) in enumerate(photo_heatmaps(explanation) if whole else ()):
        arrays |= {f"photo_heatmap_{b}": heatmap, f"photo_seen_{b}": seen}
    if explanation.windows is not None:
        arrays |= {
            "window_boxes": explanation.windows.boxes,
            "window_scores": explanation.windows.score,
        }
    return arrays, {
        "label": list(explanation.label),
        "status": [str(status) for status in explanation.status],
        "method": explanation.method,
        "layer": explanation.layer,
    }
