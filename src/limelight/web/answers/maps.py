"""Maps as the page takes them: numbers that it colours itself, so that pointing costs nothing."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limelight.explanation import Explanation
from limelight.finish import resize
from limelight.web.answers.numbers import finite
from limelight.web.settings import Language
from limelight.web.wording import status_sentence

#: Heat is sent in 65535 steps from 0 to 1, signed values in 32767 to either side.
_HEAT_STEPS, _SIGNED_STEPS = 65535, 32767


def map_as_dict(explanation: Explanation, longest: int, language: Language) -> dict[str, Any]:
    """Return the map of one image as plain values.

    The maps cover the part of the photo that the network saw. `heatmap` is the heatmap, in 0..1, as
    unsigned 16-bit integers of 1/65535; `signed` is the raw map, resized, with its sign, divided by
    its largest absolute value `largest`, as signed 16-bit integers of 1/32767; both little-endian,
    row by row, as base64. NaN and infinity are sent as 0; then the status says not-finite.

    Args:
        explanation: The explanation of one image.
        longest: The longer side of both maps, in pixels, unless the input is smaller.
        language: The language of the status.
    """
    size = _within(explanation.image.shape[2:], longest)
    (heatmap,) = explanation.heatmap_at(size).detach().float().cpu()
    raw = explanation.raw.detach().float().cpu()
    (signed,) = resize(torch.nan_to_num(raw, nan=0, posinf=0, neginf=0), size, explanation.span)
    largest = float(signed.abs().max())
    index, (status,) = explanation.index, explanation.status
    return {
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": explanation.reason,
        "grid": list(raw.shape[1:]),
        "label": explanation.label[0],
        "index": None if index is None else int(index[0]),
        "score": finite(float(explanation.score[0].detach())),
        "status": {"name": status.name, "message": status_sentence(status, language)},
        "rows": size[0],
        "columns": size[1],
        "heatmap": _packed(heatmap * _HEAT_STEPS, "<u2"),
        "signed": _packed(signed / (largest or 1) * _SIGNED_STEPS, "<i2"),
        "largest": largest,
        "raw": {"lowest": finite(float(raw.min())), "highest": finite(float(raw.max()))},
    }


def _within(size: torch.Size, longest: int) -> tuple[int, int]:
    """Return height and width, reduced so that the longer has at most so many pixels."""
    height, width = size
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _packed(values: Tensor, kind: str) -> str:
    return b64encode(values.round().numpy().astype(np.dtype(kind)).tobytes()).decode()
