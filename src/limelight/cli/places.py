"""Where on a photo a score is about something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limelight.photos.crops import CroppedPhoto

if TYPE_CHECKING:
    from limelight.explanation import Explanation


def size_and_box(crop: CroppedPhoto | None) -> dict[str, Any]:
    """Return the photo's size, and the box of it that the network saw, in pixels of its file."""
    if crop is None:
        return {"size": None, "box": None}
    size = crop.original_size
    return {"size": [size.width, size.height], "box": list(crop.original_box)}


def place_on_photo(explanation: Explanation, crop: CroppedPhoto) -> list[int] | None:
    """Return the box around what the score is about, x1 y1 x2 y2 in pixels of the photo.

    It is None for a score about the whole photo.
    """
    if explanation.region is None or explanation.region.ndim != 3:
        return None
    rows, columns = (explanation.region[0].bool().any(axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return None
    left, top, right, bottom = crop.original_box
    height, width = explanation.region.shape[1:]
    across, down = (right - left) / width, (bottom - top) / height
    corners = [
        left + int(columns[0]) * across,
        top + int(rows[0]) * down,
        left + (int(columns[-1]) + 1) * across,
        top + (int(rows[-1]) + 1) * down,
    ]
    return [round(corner) for corner in corners]
