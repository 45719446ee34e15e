"""Maps as the page takes them: numbers that it colours itself, so that pointing costs nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limelight.explanation import Explanation
from limelight.finish import resize
from limelight.translations.languages import Language
from limelight.web.answers.numbers import finite
from limelight.web.wording import library_words, status_sentence

#: Heat is sent in 65535 steps from 0 to 1, signed values in 32767 to either side.
_HEAT_STEPS, _SIGNED_STEPS = 65535, 32767

#: What a label says of a place, in pixels of the network's input: these are told beside the map, in
#: pixels of the photo.
_BOX = re.compile(r" in box \[[-\d., ]+\]")
_PLACE = re.compile(rf"{_BOX.pattern}| at pixel \([-\d, ]+\)| in the mask")


def map_as_dict(explanation: Explanation, longest: int, language: Language) -> dict[str, Any]:
    """Return the map of one image as plain values.

    The maps cover the part of the photo that the network saw. `heatmap` is the heatmap, in 0..1, as
    unsigned 16-bit integers of 1/65535; `signed` is the raw map, resized, with its sign, divided by
    its largest absolute value `largest`, as signed 16-bit integers of 1/32767; both little-endian,
    row by row, as base64. NaN and infinity are sent as 0; then the status says not-finite.
    `region` is the box of the photo whose object is explained, if it is one of a detector.

    Args:
        explanation: The explanation of one image.
        longest: The longer side of both maps, in pixels, unless the input is smaller.
        language: The language of the status.
    """
    size = within(explanation.image.shape[2:], longest)
    (heatmap,) = explanation.heatmap_at(size).detach().float().cpu()
    raw = explanation.raw.detach().float().cpu()
    (signed,) = resize(torch.nan_to_num(raw, nan=0, posinf=0, neginf=0), size, explanation.span)
    index, (status,) = explanation.index, explanation.status
    return {
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": library_words(explanation.reason, language),
        "grid": list(raw.shape[1:]),
        "label": shown_label(explanation.label[0], language),
        "region": _region(explanation),
        "index": None if index is None else int(index[0]),
        "score": finite(float(explanation.score[0].detach())),
        "status": {"name": status.name, "message": status_sentence(status, language)},
        **packed_map(heatmap, signed),
        "raw": {"lowest": finite(float(raw.min())), "highest": finite(float(raw.max()))},
    }


def shown_label(label: str, language: Language) -> str:
    """Return what a map or a score is of, in a language, without the place in the input."""
    return library_words(_PLACE.sub("", label), language)


def packed_map(heatmap: Tensor, signed: Tensor) -> dict[str, Any]:
    """Return the numbers of a heatmap in 0..1 and of a signed map, `[H, W]` each, as packed text.

    The signed map is divided by its largest absolute value, which is told beside it.
    """
    largest = float(signed.abs().max())
    return {
        "rows": heatmap.shape[0],
        "columns": heatmap.shape[1],
        "heatmap": _packed(heatmap * _HEAT_STEPS, "<u2"),
        "signed": _packed(signed / (largest or 1) * _SIGNED_STEPS, "<i2"),
        "largest": largest,
    }


def _region(explanation: Explanation) -> list[float] | None:
    """Return the box of the photo whose object is explained; None for other targets."""
    if not _BOX.search(explanation.label[0]) or explanation.region is None:
        return None
    rows, columns = explanation.region[0].nonzero(as_tuple=True)
    if explanation.crops is None or not len(rows):
        return None
    height, width = explanation.region.shape[1:]
    left, top, right, bottom = explanation.crops[0].box
    across, down = (right - left) / width, (bottom - top) / height
    return [
        left + float(columns.min()) * across,
        top + float(rows.min()) * down,
        left + float(columns.max() + 1) * across,
        top + float(rows.max() + 1) * down,
    ]


def within(size: Sequence[int], longest: int) -> tuple[int, int]:
    """Return height and width, reduced so that the longer has at most so many pixels."""
    height, width = size
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _packed(values: Tensor, kind: str) -> str:
    return b64encode(values.round().numpy().astype(np.dtype(kind)).tobytes()).decode()
