"""The boxes that a detector proposes in a pass, before it drops most of them.

torchvision's detectors turn raw logits into boxes in a method `postprocess_detections`; on a shadow
that method is replaced by one that keeps its arguments and then does the same. YOLO, DETR and
their relatives return their proposals themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs
from limelight.runtime.queries import read_queries
from limelight.runtime.traits import SORTS_BOXES
from limelight.runtime.yolo import read_yolo
from limelight.targets.outputs import Detected

#: For each image: boxes `[N, 4]` or `[N, C, 4]`, logits and probabilities `[N, C]`.
Proposed = list[tuple[Tensor, Tensor, Tensor]]

#: The boxes of one run, in pixels of the images that the detector resized to these sizes.
Proposals = tuple[Proposed, Sequence[tuple[int, int]]]


def note_proposals(detector: nn.Module, proposals: list[Proposals], *, propose_all: bool) -> None:
    """Let a detector in a shadow add what it proposes to `proposals`, each time that it runs.

    With `propose_all` its second stage, if it has one, looks at the whole image too.
    """
    detector.__dict__[SORTS_BOXES] = functools.partial(_keep_proposals, detector, proposals)
    if propose_all and hasattr(detector, "box_roi_pool"):
        detector.register_forward_pre_hook(_add_whole_images)


def as_detected(
    output: Any, proposals: Sequence[Proposals], inputs: ModelInputs, model: nn.Module
) -> Any:
    """Return an output as `Detected` if proposals were noted or the output holds them itself."""
    if isinstance(output, Detected):
        return output
    if not proposals:
        return read_detected(output, inputs, model)
    boxes, logits, probabilities = zip(*_to_pixels(*proposals[-1], inputs), strict=True)
    return Detected(logits, boxes, probabilities, output)


def read_detected(output: Any, inputs: ModelInputs, model: nn.Module) -> Any:
    """Return an output as `Detected` if it holds proposals, else as it is."""
    size = inputs.image.shape[2:]
    if isinstance(output, Tensor | Detected) or len(size) != 2:
        return output
    proposed = read_yolo(output, size) or read_queries(output, inputs, model)
    if proposed is None:
        return output
    boxes, logits, probabilities = proposed
    clipped = _clipped(boxes, size)
    inside = (clipped[..., 2:] > clipped[..., :2]).all(-1, keepdim=True)
    return Detected(logits, clipped, probabilities * inside, output)


def _keep_proposals(module: nn.Module, proposals: list[Proposals], *arguments: Any) -> Any:
    """Keep what a detector proposes, then call its own method with the same arguments."""
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
        clipped = _clipped(boxes * scale, (height, width))
        in_pixels.append((clipped, logits, probabilities))
    return in_pixels


def _clipped(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Return boxes as far as they lie in images of a size (height, width)."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _two_stage(
    module: Any, logits: Tensor, regression: Tensor, proposals: list[Tensor], _sizes: object
) -> Proposed:
    """Read a detector that first proposes regions; it has a softmax, and boxes for each class."""
    counts = [len(boxes) for boxes in proposals]
    boxes = module.box_coder.decode(regression, proposals)
    probabilities = _without_background(logits.detach().softmax(-1))
    return list(zip(*(t.split(counts) for t in (boxes, logits, probabilities)), strict=True))


def _one_stage(
    module: Any, head: Mapping[str, Any], anchors: Sequence[Any], _sizes: object
) -> Proposed:
    """Read a detector that classifies every anchor: RetinaNet, FCOS, SSD."""
    regression, logits = _levels(head["bbox_regression"]), _levels(head["cls_logits"])
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
