"""The layout of a layer's output in a pass: from its shape, or from the recorded pass."""

from __future__ import annotations

from torch import Tensor

from limelight.errors import LayerError
from limelight.layers import INPUT, Layout, ModuleCall, ResolvedLayer, ambiguous, layout_of
from limelight.runtime.forward import Pass
from limelight.runtime.record import cached_record


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
    image = run.inputs.image.shape[2:]
    if layer.path == INPUT:
        return Layout("channels first", tuple(image))
    kind = type(layer.module).__name__
    batch = run.inputs.batch
    frames = len(image) == 3 and output.ndim == 4 and output.shape[0] == batch * image[0]
    if output.shape[0] != batch and not frames:
        raise LayerError(
            f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for {batch} "
            "images, so its first axis is not the batch. If one image was passed, add the batch "
            "axis, image[None]; inside windowed attention, take the block around the layer."
        )
    single = output.shape[0] // batch, *output.shape[1:]
    layout = layout_of(single, image) if output.ndim != 3 else None
    if layout is None or _may_pad(run, layout):
        # For tokens, and where the network pads the picture, the record knows more.
        calls = _recorded_calls(layer, run)
        layout = calls[(layer.call or 1) - 1].layout if calls else layout
    if layout is None:
        if output.ndim == 3 and (advice := ambiguous(layer.path, output.shape, image)):
            raise LayerError(advice)
        raise LayerError(
            f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for images "
            f"{list(run.inputs.image.shape)}, and no reading of that is a grid over the image: "
            "channels first [B, K, *grid], channels last [B, *grid, K], tokens [B, P + h*w, K]. "
            "`limelight layers` lists the layers with a grid."
        )
    return layout


def _may_pad(run: Pass, layout: Layout) -> bool:
    """Return whether the grid may cover more or less than the picture."""
    traits = run.traits
    return traits.sorts_boxes or traits.cuts_patches or layout.kind == "channels last"


def _recorded_calls(layer: ResolvedLayer, run: Pass) -> list[ModuleCall]:
    """Return a layer's calls in the record, which lists a shared module under its first path."""
    recorded = cached_record(run.model, run.inputs, run.spec).calls
    calls = [call for call in recorded if call.path == layer.path]
    if calls:
        return calls
    path = next(path for path, m in run.model.named_modules() if m is layer.module)
    return [call for call in recorded if call.path == path]
