"""The layout of a layer's output in a pass, and which picture it lies on: from the recording."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from limelight.errors import LayerError
from limelight.inputs import ModelInputs, tensors
from limelight.layers import INPUT, InputGeometry, Layout, RawCall, ResolvedLayer, Track
from limelight.layers.tracks import Anchor
from limelight.packed_inputs import pictures_move
from limelight.patch_grids import packed_patches
from limelight.runtime.forward import Pass
from limelight.runtime.plan import PlacedLayout
from limelight.runtime.record import recording_of
from limelight.runtime.recording import Recording
from limelight.targets import OutputSpec


def layout_of_output(output: Tensor, layer: ResolvedLayer, run: Pass) -> PlacedLayout:
    """Return the layout of a layer's output; it is kept in the plan, for passes of the same shapes.

    Raises:
        LayerError: The output is not a grid over the image.
    """
    key = layer.name, output.shape
    if key not in run.plan.layouts:
        run.plan.layouts[key] = _find_layout(output, layer, run)
    placed = run.plan.layouts[key]
    count = output.numel() // (run.inputs.batch * output.shape[placed.layout.axis_of_channels])
    if stands_elsewhere(placed.layout, count, run.inputs):
        raise LayerError(f"The layer {layer.path!r} holds a sentence. {ELSEWHERE}")
    others = run.inputs.others(words=placed.reads_words) if placed.layout.order else ()
    if not others:
        return placed
    # The order may hang on the other inputs: on noise that says which patches are dropped.
    latest = run.plan.layouts_by_others.get(key)
    if latest is None or latest[0] != others:
        latest = others, _find_layout(output, layer, run, each=True)
        run.plan.layouts_by_others[key] = latest
    return latest[1]


def stands_elsewhere(layout: Layout, count: int, inputs: ModelInputs) -> bool:
    """Return whether the picture lies elsewhere among `count` tokens in other sentences."""
    left_over = count - math.prod(layout.grid)
    return layout.kind == "tokens" and pictures_move(
        tensors((inputs.args, inputs.kwargs)), left_over
    )


#: What to do about it.
ELSEWHERE = (
    "The picture stands at other places in some sentences of this batch, so one layout does not "
    "serve them all. Explain the prompts one at a time."
)


def on_its_picture(run: Pass, placed: PlacedLayout) -> Pass:
    """Return a pass with the picture that a layout lies on as its image."""
    if placed.picture == run.inputs.at:
        return run
    inputs = run.inputs.of_picture(placed.picture)
    context = replace(run.context, size=tuple(inputs.image.shape[2:]))
    return replace(run, inputs=inputs, context=context)


def _find_layout(
    output: Tensor, layer: ResolvedLayer, run: Pass, *, each: bool = False
) -> PlacedLayout:
    """Return a layout: read or measured on the first image, or measured anew on `each` image."""
    inputs, batch = run.inputs, run.inputs.batch
    if layer.path == INPUT:
        return PlacedLayout(Layout("channels first", tuple(inputs.image.shape[2:])), inputs.at)
    kind = type(layer.module).__name__
    not_by_image = LayerError(
        f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for {batch} "
        "images, so its first axis is not the batch. If one image was passed, add the batch "
        "axis, image[None]; inside windowed attention, take the block around the layer."
    )
    joined = 0  # as many tokens of each image follow one another
    if output.shape[0] == 1 < batch and output.ndim == 3 and not output.shape[1] % batch:
        joined = output.shape[1] // batch
    elif output.shape[0] % batch:
        raise not_by_image
    reason = ""
    for picture in inputs.pictures:
        pictured = inputs.of_picture(picture)
        try:
            found = recorded_call(run.model, pictured, layer, run.spec)
        except LayerError:  # a graph cannot be recorded through what comes before the layer
            found = _without_graph(output, layer, run)
        if found is None:
            continue
        recording, number = found[0], found[1].number
        recording.settle(run.model, pictured.first(1), [number])
        layout = recording.layouts[number]
        if layout is not None and each:
            layout = _of_each_image(recording, number, run, pictured, layer)
        if layout is not None:
            layout = replace(layout, joined=joined) if joined else layout
            return PlacedLayout(layout, picture, recording.reads_words(number))
        reason = reason or recording.reasons.get(number, "")
    if output.shape[0] != batch and not joined and output.ndim >= inputs.least_axes > 2:
        raise not_by_image
    reason = reason or "it did not run when the network was recorded on the first image alone"
    raise LayerError(
        f"The layer {layer.path!r} ({kind}) put out {list(output.shape)} for images "
        f"{list(inputs.image.shape)}, which is no grid over the image: {reason}. "
        f"`limelight layers` lists the layers with a grid.{packed_patches(inputs)}"
    )


def recorded_call(
    model: nn.Module, inputs: ModelInputs, layer: ResolvedLayer, spec: OutputSpec
) -> tuple[Recording, RawCall] | None:
    """Return the recording over the image of these inputs, and a layer's call in it.

    None if the layer has no such call when the network runs on the first image alone.
    """
    recording = recording_of(model, inputs, spec)
    # A module that is shared is recorded under its first path.
    path = next(path for path, module in model.named_modules() if module is layer.module)
    calls = [call for call in recording.calls if call.path == path]
    number = (layer.call or 1) - 1
    return (recording, calls[number]) if number < len(calls) else None


def _without_graph(output: Tensor, layer: ResolvedLayer, run: Pass) -> tuple[Recording, RawCall]:
    """Return a recording of the layer's call alone, which is then measured, and the call."""
    shape = max(1, output.shape[0] // run.inputs.batch), *output.shape[1:]
    call = RawCall(layer.path, shape, source=None, result=0, number=0, learned=True)
    anchor = Anchor(0, layer.path, (layer.call or 1) - 1, is_input=False, shape=shape)
    geometry = InputGeometry(tuple(run.inputs.image.shape[2:]), tokens=run.spec.grid)
    everything = 0b11  # itself and the image
    tracks = [Track(anchor, shape)]
    return Recording((call,), [everything], tracks, geometry, {anchor: everything}, {}), call


def _of_each_image(
    recording: Recording, number: int, run: Pass, inputs: ModelInputs, layer: ResolvedLayer
) -> Layout | None:
    """Return the layout that a call has for these images and other inputs.

    Raises:
        LayerError: It is not the same for all images.
    """
    layouts = []
    for image in range(inputs.batch):
        anew = recording.anew()
        row = torch.tensor([image], device="cpu")
        anew.settle(run.model, inputs.take(row), [number])
        layouts.append(anew.layouts[number])
    if any(layout != layouts[0] for layout in layouts):
        raise LayerError(
            f"The positions of {layer.path!r} lie in another order for each image, as the other "
            "inputs differ. Explain the images one by one."
        )
    return layouts[0]
