"""The layout of a layer's output in a pass, from the recording."""

from __future__ import annotations

from torch import Tensor

from limelight.errors import LayerError
from limelight.layers import INPUT, Layout, ResolvedLayer
from limelight.runtime.forward import Pass
from limelight.runtime.record import recording_of


def layout_of_output(output: Tensor, layer: ResolvedLayer, run: Pass) -> Layout:
    """Return the layout of a layer's output; it is kept in the plan, for passes of the same shapes.

    Raises:
        LayerError: The output is not a grid over the image.
    """
    key = layer.name, output.shape
    if key not in run.plan.layouts:
        run.plan.layouts[key] = _find_layout(output, layer, run)
    return run.plan.layouts[key]


def _find_layout(output: Tensor, layer: ResolvedLayer, run: Pass) -> Layout:
    image, batch = run.inputs.image.shape[2:], run.inputs.batch
    if layer.path == INPUT:
        return Layout("channels first", tuple(image))
    kind = type(layer.module).__name__
    not_by_image = LayerError(
        f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for {batch} "
        "images, so its first axis is not the batch. If one image was passed, add the batch "
        "axis, image[None]; inside windowed attention, take the block around the layer."
    )
    if output.shape[0] % batch:
        raise not_by_image
    recording = recording_of(run.model, run.inputs, run.spec)
    calls = [call for call in recording.calls if call.path == layer.path]
    if not calls:  # a shared module is recorded under its first path
        path = next(path for path, m in run.model.named_modules() if m is layer.module)
        calls = [call for call in recording.calls if call.path == path]
    reason = "it did not run when the network was recorded on the first image alone"
    if calls:
        number = calls[(layer.call or 1) - 1].number
        recording.settle(run.model, run.inputs.first(1), [number])
        layout, reason = recording.layouts[number], recording.reasons.get(number, "")
        if layout is not None:
            return layout
    if output.shape[0] != batch:
        raise not_by_image
    raise LayerError(
        f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for images "
        f"{list(run.inputs.image.shape)}, which is no grid over the image: {reason}. "
        "`limelight layers` lists the layers with a grid."
    )
