"""Whether a layout that follows from a network's operations agrees with the measurement.

limelight measures where the cells of a layer look only if no known operations lead from the picture
to the layer. Here the measurement is made where they do, and read without any hint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from limelight.finish import AxisSpan
from limelight.inputs import Inputs, ModelInputs
from limelight.layers import Layout, measured_span, read_places
from limelight.runtime.places import measure_places
from limelight.runtime.record import recording_of
from limelight.runtime.unwrap import unwrap
from limelight.targets import output_spec

#: How many draws of noise are measured, and how large it is: first, and again if the first do not
#: agree.
DRAWS = ((2, 1.0), (6, 0.1))
#: By how many cells the ends of two grids may differ: windows that begin or end by half a stride
#: beside the border are taken to cover the picture, at each of several layers.
APART = 1.0


def certainty(model: nn.Module, inputs: Inputs, layer: str) -> str:
    """Compare the layout of a layer with what the measurement alone shows.

    Args:
        model: The network.
        inputs: One picture.
        layer: The path of the layer, with `#k` for its k-th call.

    Returns:
        `agrees`; `cannot tell`, if the measurement shows no grid; what it shows, if that is another
        layout; "" if the layout does not follow from the operations.
    """
    model, given = unwrap(model), ModelInputs.of(inputs)
    recording = recording_of(model, given, output_spec(None, None, None))
    path, _, call = layer.partition("#")
    number = [c.number for c in recording.calls if c.path == path][int(call or 1) - 1]
    follows = recording.tracks[number].layout
    if follows is None:
        return ""
    shows = ""
    for draws, size in DRAWS:
        anchor = recording.anchor_of(number)
        (measurement,) = measure_places(model, given.first(1), [anchor], draws=draws, size=size)
        alone = "nothing" if measurement is None else read_places(measurement.moments, known=())
        if measurement is None or isinstance(alone, str):
            shows = "cannot tell"
            continue
        span = measured_span(measurement.moments, alone)
        if is_same_layout(follows, alone, anchor.shape) and is_near(follows, span):
            return "agrees"
        where = " x ".join(map(str, span or ()))
        shows = f"{alone}, {' x '.join(map(str, alone.grid))}, at {where or 'no span'}"
    return shows


def is_same_layout(one: Layout, other: Layout, shape: Sequence[int]) -> bool:
    """Return whether two layouts lay every number of an output in the same cell."""
    numbers = torch.arange(torch.Size(shape).numel()).reshape(*shape)
    return one.grid == other.grid and torch.equal(one.to_grid(numbers), other.to_grid(numbers))


def is_near(layout: Layout, span: Sequence[AxisSpan] | None) -> bool:
    """Return whether a layout lies where the measurement has its grid; also if that has no span."""
    whole = [AxisSpan(0.0, 1.0)] * len(layout.grid)
    axes = zip(layout.span or whole, span or layout.span or whole, layout.grid, strict=True)
    return all(max(abs(a.start - b.start), abs(a.end - b.end)) * g < APART for a, b, g in axes)
