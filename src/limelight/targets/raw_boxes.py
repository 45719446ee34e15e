"""Outputs of detectors whose boxes cannot be read from them: before anchors, or after sorting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from limelight.targets.outputs import Detected, returned

#: A wrapper's forward for effdet; other detectors with anchors differ in how they decode.
_FORWARD = """
    def forward(self, images):  # bench = effdet.DetBenchPredict(model), count = number of classes
        levels = zip(bench.model(images), (count, 4), strict=True)
        flat = ([x.permute(0, 2, 3, 1).reshape(len(x), -1, n) for x in maps] for maps, n in levels)
        logits, offsets = (torch.cat(maps, 1) for maps in flat)
        boxes = [decode_box_outputs(x, bench.anchors.boxes, output_xyxy=True) for x in offsets]
        return limelight.Detected(logits, boxes)"""


def advice_on_raw_boxes(output: object) -> str:
    """Return what to do if an output has no boxes with logits, but is a detector's; else "".

    These are class logits `[B, A * C, h, w]` and offsets `[B, A * 4, h, w]` of several levels, as
    effdet's `EfficientDet` returns them, and rows `[B, N, 6]` of x1, y1, x2, y2, score, class, as
    its `DetBenchPredict` returns them.
    """
    if isinstance(output, Detected):
        return ""
    output = returned(output)
    if is_anchor_levels(output):
        what = "class logits and box offsets of several levels, which only anchors make boxes"
    elif isinstance(output, Tensor) and _is_sorted_boxes(output):
        what = "boxes with a score and a class, without the logits that they were sorted by"
    else:
        return ""
    return (
        f"What the model returned looks like {what}. Let a wrapper return all that it proposes; "
        f"for effdet (from effdet.anchors import decode_box_outputs):\n{_FORWARD}"
    )


def is_anchor_levels(output: object) -> bool:
    """Return whether an output is two lists with a map of each level: logits, and offsets."""
    if not isinstance(output, list | tuple) or len(output) != 2:
        return False
    logits, offsets = output
    if not _is_pyramid(logits) or not _is_pyramid(offsets) or len(logits) != len(offsets):
        return False
    return all(
        offset.shape[1] % 4 == 0
        and logit.shape[1] % (offset.shape[1] // 4) == 0
        and (logit.shape[0], *logit.shape[2:]) == (offset.shape[0], *offset.shape[2:])
        for logit, offset in zip(logits, offsets, strict=True)
    )


def _is_pyramid(maps: object) -> bool:
    """Return whether a value is maps `[B, K, h, w]` of several levels, finest first."""
    if not isinstance(maps, Sequence) or len(maps) < 2:
        return False
    if not all(isinstance(level, Tensor) and level.ndim == 4 for level in maps):
        return False
    return all(fine.shape[2] > coarse.shape[2] for fine, coarse in pairwise(maps))


def _is_sorted_boxes(rows: Tensor) -> bool:
    """Return whether rows `[B, N, 6]` end in a probability and a class."""
    if rows.ndim != 3 or rows.shape[2] != 6 or not rows.is_floating_point():
        return False
    likely, labels = rows.detach()[..., 4], rows.detach()[..., 5]
    return bool((likely >= 0).all() and (likely <= 1).all() and (labels == labels.round()).all())
