"""The arrays of an explanation: heatmaps of whole photos, and what an .npz file holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

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
