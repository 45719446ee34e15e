"""Which layer to cut at, and how its output becomes a grid.

Nothing here runs a model: `limelight.cut` records one pass, and this file reads the record.

Words: a *layer* is named by its dotted path (`"layer4"`, `"features.16"`, also `"features[-1]"`),
with `#k` for its k-th call when one module runs several times (`"layer4.0.relu#2"`). A *layout*
says how the layer's output, whatever its axes, becomes activations `A` `[B, K, *grid]`.
"""

from __future__ import annotations

from limelight.layers.choice import Candidate, Choice, candidates, choose, stages
from limelight.layers.layouts import Layout, ambiguous, layout_of, mismatch
from limelight.layers.record import ModuleCall, Picture, RawCall, read
from limelight.layers.sites import INPUT, Site, resolve

__all__ = [
    "INPUT",
    "Candidate",
    "Choice",
    "Layout",
    "ModuleCall",
    "Picture",
    "RawCall",
    "Site",
    "ambiguous",
    "candidates",
    "choose",
    "layout_of",
    "mismatch",
    "read",
    "resolve",
    "stages",
]
