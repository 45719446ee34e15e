"""What a monitor notes after an epoch, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from limelight.drawing import as_pictures
from limelight.explanation import Explanation
from limelight.map_scales import ScaledMaps

#: The columns of `energy.csv`.
RECORD_COLUMNS: Mapping[str, type] = {
    "epoch": float,
    "photo": str,
    "explained": str,
    "score": float,
    "status": str,
    "energy": float,
    "mask_share": float,
    "right": int,
}


@dataclass(frozen=True, eq=False)
class MapRecord:
    """The maps of the watched photos after an epoch.

    Attributes:
        epoch: How many epochs were done; a fraction in the middle of one.
        names: What the photos are called, each once.
        explanation: The maps, without what the network returned; those of pictures without
            `heatmap`, which `heatmap_at` makes from `raw`.
        energy: The share of each map's heat that lies on the mask, `mass-accuracy`; NaN where there
            is no mask, or the status of the map is not ok.
        mask_share: The share of each picture that the mask covers, which is what chance gives; NaN
            where there is none.
        right: Whether the predicted class is the one explained; None where that is not known.
    """

    epoch: float
    names: tuple[str, ...]
    explanation: Explanation
    energy: tuple[float, ...]
    mask_share: tuple[float, ...]
    right: tuple[bool | None, ...]

    @property
    def mean_energy(self) -> float:
        """The mean energy over the photos that have one; NaN if none has."""
        return _mean([value for value in self.energy if not math.isnan(value)])

    @property
    def accuracy(self) -> float:
        """The share of the photos that are answered rightly; NaN where that is not known."""
        return _mean([float(value) for value in self.right if value is not None])

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each photo, with a value for each of `RECORD_COLUMNS`."""
        scores = self.explanation.score.detach().float().tolist()
        return [
            {
                "epoch": self.epoch,
                "photo": name,
                "explained": self.explanation.label[b],
                "score": scores[b],
                "status": self.explanation.status[b].name,
                "energy": _none_if_nan(self.energy[b]),
                "mask_share": _none_if_nan(self.mask_share[b]),
                "right": None if self.right[b] is None else int(bool(self.right[b])),
            }
            for b, name in enumerate(self.names)
        ]

    def sentence(self) -> str:
        """Return epoch, energy and accuracy, in a line."""
        parts = [f"epoch {self.epoch:g}"]
        if not math.isnan(self.mean_energy):
            parts.append(f"{self.mean_energy:.0%} on the masks")
        if not math.isnan(self.accuracy):
            parts.append(f"{self.accuracy:.0%} right")
        return "   ".join(parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def draw_record(
    record: MapRecord,
    masks: Tensor | None,
    *,
    longest: int,
    highest: float | None = None,
) -> Iterator[Image.Image]:
    """Yield the overlay of each photo, with the outline of its mask and a line of text below.

    Args:
        record: The record.
        masks: The masks, `[B, *image]`; None where there are none.
        longest: About how many pixels the longer side of a photo is reduced to.
        highest: The value of raw maps that has the last colour; None for each map's own maximum.
    """
    from limelight import render

    maps: Any = record.explanation
    if highest is not None:
        maps = ScaledMaps(maps, signed=False, highest=[highest] * len(record.names))
    marked = [None] * len(record.names) if masks is None else list(masks > 0)
    for b, drawn in enumerate(as_pictures([maps], longest=longest)):
        (heat,) = drawn.heatmaps
        picture = render.overlay(drawn.photo, heat, curve=drawn.curve)
        region = render.region_on(marked[b], heat)
        if region is not None and record.explanation.image.ndim == 4:
            picture = render.outlined(picture, region)
        yield render.captioned(picture, _caption(record, b), f"epoch {record.epoch:g}")


def _caption(record: MapRecord, b: int) -> str:
    """Return what is explained, with its score, the energy on the mask, or why there is no map."""
    explanation, energy = record.explanation, record.energy[b]
    status = explanation.status[b]
    text = f"{explanation.label[b]} {float(explanation.score[b].detach()):.3g}"
    if not status.ok:
        return f"{text} ({status.name})"
    return text if math.isnan(energy) else f"{text}   {energy:.0%} on the mask"


def film_frames(
    records: Sequence[MapRecord], masks: Tensor | None, *, highest: float | None
) -> Iterator[Image.Image]:
    """Yield a picture for each record: all photos side by side, in rows, over a line of text."""
    from limelight import render

    for record in records:
        columns = math.ceil(math.sqrt(len(record.names)))
        longest = min(_MOST_TILE, _MOST_SHEET // columns)
        tiles = list(draw_record(record, masks, longest=longest, highest=highest))
        yield render.captioned(_in_rows(tiles, columns), record.sentence())


#: The longer side of a film's pictures and of a photo in it, in pixels.
_MOST_SHEET, _MOST_TILE = 1920, 480


def _in_rows(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return pictures side by side, in rows of so many."""
    width, height = (max(sizes) for sizes in zip(*(tile.size for tile in tiles), strict=True))
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * width, number // columns * height))
    return sheet
