"""Which layer to cut at, and how its output becomes a grid.

Nothing here runs a model: `limelight.runtime` records one pass, and this room reads the record.

Words: a *layer* is named by its dotted path (`"layer4"`, `"features.16"`, also `"features[-1]"`),
with `#k` for its k-th call when one module runs several times (`"layer4.0.relu#2"`). A *layout*
says how the layer's output, whatever its axes, becomes activations `A` `[B, K, *grid]`.
"""

from __future__ import annotations

from limelight.layers.choice import (
    Candidate,
    Choice,
    candidates,
    choose_layer,
    layers_beside,
    stages,
)
from limelight.layers.guesses import ambiguous
from limelight.layers.layouts import Layout
from limelight.layers.moments import KnownGrid, Moments
from limelight.layers.places import measured_span, read_places
from limelight.layers.record import Arrival, InputGeometry, ModuleCall, RawCall, read, span_after
from limelight.layers.resolved import INPUT, ResolvedLayer, resolve
from limelight.layers.tracks import Track, follow

__all__ = [
    "INPUT",
    "Arrival",
    "Candidate",
    "Choice",
    "InputGeometry",
    "KnownGrid",
    "Layout",
    "ModuleCall",
    "Moments",
    "RawCall",
    "ResolvedLayer",
    "Track",
    "ambiguous",
    "candidates",
    "choose_layer",
    "follow",
    "layers_beside",
    "measured_span",
    "read",
    "read_places",
    "resolve",
    "span_after",
    "stages",
]
