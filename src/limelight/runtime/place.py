"""The layout of a layer's output in a pass: by its shape, or by what the record knows of it."""

from __future__ import annotations

from torch import Tensor

from limelight.errors import LayerError
from limelight.layers import INPUT, Layout, ModuleCall, Site, ambiguous, layout_of
from limelight.runtime.forward import Pass
from limelight.runtime.record import cached_record


def layout_at(raw: Tensor, site: Site, run: Pass) -> Layout:
    """Return the layout of a layer's output, and keep it for passes with the same shapes.

    Raises:
        LayerError: The output is no grid over the image.
    """
    key = site.name, raw.shape
    if key not in run.plan.layouts:
        run.plan.layouts[key] = _find_layout(raw, site, run)
    return run.plan.layouts[key]


def _find_layout(raw: Tensor, site: Site, run: Pass) -> Layout:
    image = run.inputs.image.shape[2:]
    if site.path == INPUT:
        return Layout("channels first", tuple(image))
    kind = type(site.module).__name__
    batch = run.inputs.batch
    frames = len(image) == 3 and raw.ndim == 4 and raw.shape[0] == batch * image[0]
    if raw.shape[0] != batch and not frames:
        raise LayerError(
            f"The layer {site.path!r} ({kind}) put out {list(raw.shape)} for {batch} "
            "images, so its first axis is not the batch. If one image was passed, add the batch "
            "axis, image[None]; inside windowed attention, take the block around the layer."
        )
    single = raw.shape[0] // batch, *raw.shape[1:]
    layout = layout_of(single, image) if raw.ndim != 3 else None
    if layout is None or _may_pad(run, layout):
        # Of tokens, and of pictures that are padded on the way, the record knows more.
        calls = _calls_of(site, run)
        layout = calls[(site.call or 1) - 1].layout if calls else layout
    if layout is None:
        if raw.ndim == 3 and (said := ambiguous(site.path, raw.shape, image)):
            raise LayerError(said)
        raise LayerError(
            f"The layer {site.path!r} ({kind}) put out {list(raw.shape)} for images "
            f"{list(run.inputs.image.shape)}, and no reading of that is a grid over the image: "
            "channels first [B, K, *grid], channels last [B, *grid, K], tokens [B, P + h*w, K]. "
            "`limelight layers` lists the layers with a grid."
        )
    return layout


def _may_pad(run: Pass, layout: Layout) -> bool:
    """Return whether a grid may span more or less than the picture, for all that its sizes tell."""
    traits = run.traits
    return traits.sorts_boxes or traits.cuts_patches or layout.kind == "channels last"


def _calls_of(site: Site, run: Pass) -> list[ModuleCall]:
    """Return the calls of a layer in the record, which knows a shared module by its first path."""
    known = cached_record(run.model, run.inputs, run.spec).calls
    calls = [call for call in known if call.path == site.path]
    if calls:
        return calls
    path = next(path for path, m in run.model.named_modules() if m is site.module)
    return [call for call in known if call.path == path]
