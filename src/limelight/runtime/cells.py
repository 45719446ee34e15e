"""Where each cell of a layer's grid looks: `where_cells_look`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limelight.errors import LayerError
from limelight.finish import along_axes
from limelight.inputs import Inputs, ModelInputs
from limelight.layers import INPUT, Layout, resolve
from limelight.layers.moments import centre_and_spread
from limelight.layers.resolved import Layer, ResolvedLayer
from limelight.layers.tracks import Anchor
from limelight.progress import RunCallback
from limelight.runtime.output_layout import recorded_call
from limelight.runtime.places import measure_moments
from limelight.runtime.record import chosen_layer
from limelight.runtime.unwrap import unwrap
from limelight.targets import LogitsKey, OutputSpec, output_spec

#: How many draws of noise are measured for all cells of one layer.
_DRAWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class CellPlaces:
    """Where the cells of a layer's grid look; A is the number of the picture's axes.

    Places are in picture lengths: along each axis, 0 to 1 is the picture that the network was
    given. A cell that answers to nothing in the picture has energy 0 and NaN for its place.

    Attributes:
        layer: The layer.
        layout: How its output becomes the grid.
        centre: The centre of what each cell looks at, `[A, *grid]`.
        spread: Its standard deviation, `[A, *grid]`; 0.29 for a cell that looks everywhere alike.
        energy: How much each cell answers to a change of the picture, `[*grid]`; the cell that
            answers most has 1.
    """

    layer: str
    layout: Layout
    centre: Tensor
    spread: Tensor
    energy: Tensor

    def __repr__(self) -> str:
        """Return the layer and its grid."""
        grid = " x ".join(map(str, self.energy.shape))
        return f"CellPlaces({self.layer}, {grid} cells)"

    def extent(self, cell: Sequence[int]) -> list[tuple[float, float]]:
        """Return where a cell itself begins and ends along each axis, in picture lengths."""
        spans = along_axes(self.layout.span, len(cell))
        sizes = self.energy.shape
        return [
            (span.start + i * span.length / g, span.start + (i + 1) * span.length / g)
            for i, g, span in zip(cell, sizes, spans, strict=True)
        ]


def where_cells_look(
    model: nn.Module,
    inputs: Inputs,
    layer: Layer | None = None,
    *,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> CellPlaces:
    """Measure which part of the first image each cell of a layer looks at.

    The image is changed by `w n`, where n is Gaussian noise, small beside the image, and w a weight
    for each pixel. To first order, a number of the output changes by `J (w n)`, J its derivative by
    the pixels, and

        E[(J (w n))^2] = sum_p J_p^2 w_p^2   and   E[(J n) (J (w n))] = sum_p J_p^2 w_p .

    With the weights 1 and y, where y goes from 0 to 1 along an axis of the image, these are the
    sums of `J_p^2`, `J_p^2 y_p` and `J_p^2 y_p^2`: the energy of a number, the centre of what it
    looks at, and the standard deviation around it. A cell is the sum over its channels. It takes
    some twenty forward passes up to the layer, and no gradient.

        cells = limelight.where_cells_look(model, images, "layer4")
        cells.centre[:, 3, 3]  # y and x of what the cell in the middle looks at

    Args:
        model, inputs, output, grid: As in `cut`.
        layer: A dotted path or a module; None to let limelight choose.

    Raises:
        LayerError: The layer is the input, its output is no grid over the image, or no change of
            the image can be measured there.
        UnknownNameError, ModelError, InputError: As `cut`.
    """
    spec = output_spec(None, output, grid)
    return measure_cells(unwrap(model), ModelInputs.of(inputs), layer, spec)


def measure_cells(
    model: nn.Module,
    inputs: ModelInputs,
    layer: Layer | None,
    spec: OutputSpec,
    progress: RunCallback | None = None,
) -> CellPlaces:
    """Measure where the cells of a layer look, as `where_cells_look` does.

    `progress` is called as progress(done, total) while the network runs.

    1. Find the layer, its call in the recorded pass, and its layout.
    2. Measure its output, and lay the sums on the grid.
    3. Divide them.
    """
    # 1. The layer.
    inputs = inputs.first(1).on_grid(spec.grid)
    resolved = resolve(model, chosen_layer(model, inputs, spec).layer if layer is None else layer)
    if resolved.path == INPUT:
        raise LayerError(
            "The cells of the input are its own pixels, so there is nothing to measure. Name a "
            "layer; `limelight layers` lists them."
        )
    pictured, anchor, layout = _located(model, inputs, resolved, spec)
    # 2. The measurement.
    moments = measure_moments(model, pictured, anchor, draws=_DRAWS, progress=progress)
    if moments is None or not bool(moments.energy.amax() > 0):
        raise LayerError(
            f"A small change of the image changes nothing that can be measured at "
            f"{resolved.name!r}, so where its cells look is not known. Take another image, or "
            "another layer."
        )
    energy = layout.to_grid(moments.energy).sum(1)[0]
    first, second = (
        torch.stack([layout.to_grid(part).sum(1)[0] for part in parts])
        for parts in (moments.first, moments.second)
    )
    # 3. The moments.
    centre, spread = centre_and_spread(energy, first, second)
    return CellPlaces(resolved.name, layout, centre, spread, energy / energy.amax())


def _located(
    model: nn.Module, inputs: ModelInputs, layer: ResolvedLayer, spec: OutputSpec
) -> tuple[ModelInputs, Anchor, Layout]:
    """Return the inputs with the picture that a layer lies on, its output, and its layout."""
    reason = "it did not run"
    for picture in inputs.pictures:
        pictured = inputs.of_picture(picture)
        found = recorded_call(model, pictured, layer, spec)
        if found is None:
            continue
        recording, call = found
        recording.settle(model, pictured, [call.number])
        layout = recording.layouts[call.number]
        if layout is not None:
            return pictured, recording.anchor_of(call.number), layout
        reason = recording.reasons.get(call.number, reason)
    raise LayerError(
        f"The output of {layer.name!r} is no grid over the image: {reason}. `limelight layers` "
        "lists the layers with a grid."
    )
