"""The class table of an output: of a classifier, segmenter, detector or language model."""

from __future__ import annotations

from limelight.errors import TargetError
from limelight.targets.box_table import BoxTable
from limelight.targets.context import TargetContext
from limelight.targets.mask_outputs import part_named
from limelight.targets.outputs import (
    Detected,
    advice_on_bags,
    class_logits,
    may_hold_words,
    returned,
)
from limelight.targets.peak_table import PeakTable
from limelight.targets.raw_boxes import advice_on_raw_boxes
from limelight.targets.region_table import RegionTable, is_map
from limelight.targets.tables import ClassTable, LastWord, Logits


def find_table(output: object, context: TargetContext) -> ClassTable:
    """Return the table of class scores that an output holds.

    Raises:
        TargetError: The output holds none.
    """
    if isinstance(output, Detected) and context.spec.key is None:
        return BoxTable(output, context)
    if context.spec.key is None and part_named(returned(output), "heatmaps") is not None:
        return PeakTable(output, context)
    raw_boxes = advice_on_raw_boxes(output) if context.spec.key is None else ""
    if raw_boxes:
        raise TargetError(raw_boxes)
    logits = class_logits(output, context.spec.key)
    batched = logits.shape[:1] == (context.batch,)
    if batched and logits.ndim == 2:
        return Logits(logits, context.spec.key)
    if batched and (logits.ndim == len(context.size) + 2 or is_map(logits, context.size)):
        return RegionTable(output, None, context)
    if batched and logits.ndim == 3 and context.words and may_hold_words(output, context.spec.key):
        return LastWord(logits, context.spec.key)
    means = {2: "", 3: ".mean(1)"}.get(logits.ndim, f".mean({tuple(range(1, logits.ndim - 1))})")
    raise TargetError(
        f"A class target needs logits [B, C] = [{context.batch}, C]; the model returned "
        f"{list(logits.shape)}. Say with output=... which part of what it returns they are, or "
        f"pass a callable from output to scores [{context.batch}], as in "
        f"target=lambda output: output[:, 15]{means}.{advice_on_bags(logits, context.batch)}"
    )
