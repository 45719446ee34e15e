"""Call a shadow as the user would call the model, and keep what a detector proposes.

torchvision's detectors turn raw logits into boxes in a method `postprocess_detections`; on a shadow
that method is replaced by one that keeps its arguments and then does the same. Models like DETR
return their proposals themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs
from limelight.runtime.traits import SORTS_BOXES
from limelight.targets.outputs import Detected, part_named

#: For each image: boxes `[N, 4]` or `[N, C, 4]`, logits and probabilities `[N, C]`.
Proposed = list[tuple[Tensor, Tensor, Tensor]]


def call(
    model: nn.Module,
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    inputs: ModelInputs,
    *,
    propose_all: bool = False,
) -> Any:
    """Run a shadow of a model and return its output; the output of a detector as `Detected`.

    Args:
        model: The original.
        root: Its shadow.
        copies: The copies in the shadow, by the id of their originals.
        inputs: The arguments of the call; the shadow may write on them.
        propose_all: Add the whole image to the proposals of a two-stage detector's first stage, so
            that the second stage looks at it too. It is read on the coarsest level of a feature
            pyramid.
    """
    proposals: list[tuple[Proposed, Sequence[tuple[int, int]]]] = []
    detectors = [copy for copy in copies.values() if hasattr(type(copy), SORTS_BOXES)]
    for copy in detectors:
        copy.__dict__[SORTS_BOXES] = functools.partial(_keep_proposals, copy, proposals)
        if propose_all and hasattr(copy, "box_roi_pool"):
            copy.register_forward_pre_hook(_add_whole_images)
    try:
        args, kwargs = inputs.arguments()
        output = root(*args, **kwargs)
    except Exception as error:
        inputs.annotate(error, model)
        raise
    finally:
        for copy in detectors:  # a copy must not refer to itself
            del copy.__dict__[SORTS_BOXES]
    if isinstance(output, Tensor) and not proposals:
        return output
    proposed = _to_pixels(*proposals[-1], inputs) if proposals else _as_detr(output, inputs, model)
    if not proposed:
        return output
    boxes, logits, probabilities = zip(*proposed, strict=True)
    return Detected(output, boxes, logits, probabilities)


def _keep_proposals(module: nn.Module, proposals: list[Any], *arguments: Any) -> Any:
    """Keep what a detector proposes, then sort out its boxes as the module itself does."""
    read = _two_stage if len(arguments) == 4 else _one_stage
    proposals.append((read(module, *arguments), arguments[-1]))
    return MethodType(getattr(type(module), SORTS_BOXES), module)(*arguments)


def _add_whole_images(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add the whole image to the proposals that go into the second stage."""
    features, proposals, sizes, *rest = args
    whole = [
        torch.cat([boxes, boxes.new_tensor([[0, 0, width, height]])])
        for boxes, (height, width) in zip(proposals, sizes, strict=True)
    ]
    return features, whole, sizes, *rest


def _to_pixels(
    proposed: Proposed, sizes: Sequence[tuple[int, int]], inputs: ModelInputs
) -> Proposed:
    """Return proposals in pixels of the images that were passed in, clipped to the images."""
    height, width = inputs.image.shape[-2:]
    in_pixels = []
    for (boxes, logits, probabilities), (h, w) in zip(proposed, sizes, strict=True):
        scale = boxes.new_tensor([width / w, height / h, width / w, height / h])
        largest = boxes.new_tensor([width, height, width, height])
        in_pixels.append(((boxes * scale).clamp(min=0).minimum(largest), logits, probabilities))
    return in_pixels


def _two_stage(
    module: Any, logits: Tensor, regression: Tensor, proposals: list[Tensor], _sizes: object
) -> Proposed:
    """Read a detector that first proposes regions; it has a softmax, and boxes for each class."""
    counts = [len(boxes) for boxes in proposals]
    boxes = module.box_coder.decode(regression.detach(), proposals)
    probabilities = _without_background(logits.detach().softmax(-1))
    return list(zip(*(t.split(counts) for t in (boxes, logits, probabilities)), strict=True))


def _one_stage(
    module: Any, head: Mapping[str, Any], anchors: Sequence[Any], _sizes: object
) -> Proposed:
    """Read a detector that classifies every anchor: RetinaNet, FCOS, SSD."""
    regression, logits = _levels(head["bbox_regression"]).detach(), _levels(head["cls_logits"])
    decode = getattr(module.box_coder, "decode_single", module.box_coder.decode)
    proposed = []
    for image, anchor in enumerate(anchors):
        boxes = decode(
            regression[image], anchor if isinstance(anchor, Tensor) else torch.cat(anchor)
        )
        image_logits = logits[image]
        if isinstance(head["cls_logits"], Tensor):  # SSD: a softmax with a background
            probabilities = _without_background(image_logits.detach().softmax(-1))
        else:
            probabilities = image_logits.detach().sigmoid()
        if "bbox_ctrness" in head:
            probabilities = (
                probabilities * _levels(head["bbox_ctrness"])[image].detach().sigmoid()
            ).sqrt()
        proposed.append((boxes, image_logits, probabilities))
    return proposed


def _levels(tensor: Tensor | Sequence[Tensor]) -> Tensor:
    """Join the levels of a feature pyramid along the anchors, `[B, A, ...]`."""
    return tensor if isinstance(tensor, Tensor) else torch.cat(list(tensor), dim=1)


def _without_background(probabilities: Tensor) -> Tensor:
    """Return probabilities with 0 for the first class, which is the background."""
    kept = probabilities.clone()
    kept[:, 0] = 0
    return kept


def _as_detr(output: Any, inputs: ModelInputs, model: nn.Module) -> Proposed:
    """Read an output that holds `pred_boxes` (centre, width, height, as shares) and logits."""
    boxes, logits = part_named(output, "pred_boxes"), part_named(output, "logits")
    logits = part_named(output, "pred_logits") if logits is None else logits
    if not isinstance(boxes, Tensor) or not isinstance(logits, Tensor):
        return []
    if boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.shape[:2] != logits.shape[:2]:
        return []
    height, width = inputs.image.shape[-2:]
    centre, size = boxes.detach()[..., :2], boxes.detach()[..., 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], -1).clamp(0, 1)
    pixels = corners * corners.new_tensor([width, height, width, height])
    class_count = getattr(getattr(model, "config", None), "num_labels", None)
    if class_count == logits.shape[-1]:  # every class has its own sigmoid
        probabilities = logits.detach().sigmoid()
    else:  # the last one means "no object"
        probabilities, logits = logits.detach().softmax(-1)[..., :-1], logits[..., :-1]
    return list(zip(pixels, logits, probabilities, strict=True))
