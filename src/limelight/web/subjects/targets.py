"""Targets as a request names them, in pixels of the photo, as the library takes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from limelight.errors import TargetError
from limelight.targets import Box, Contrast, Counterfactual, Region, ScoreTarget, as_target
from limelight.targets.classes import ClassChoice
from limelight.web.requests import PhotoBox, TargetRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.photo_store import StoredPhoto


def read_target(
    request: TargetRequest, served: ServedNetwork, stored: StoredPhoto, size: Sequence[int]
) -> ScoreTarget:
    """Return the target that a request names.

    Args:
        request: The target, with places in pixels of the photo.
        served: The network.
        stored: The photo.
        size: Height and width of the network's input.

    Raises:
        TargetError: It asks for a place in the photo, and the network is a classifier; or for two
            things that do not go together.
        Refusal: The network saw nothing of the place.
    """
    choice = read_choice(request)
    if request.box is None and request.pixel is None:
        return as_target(choice)
    if served.kind == "classifier":
        raise TargetError(
            f"{served.network.name!r} gives one score for the whole photo, so it has none for a "
            "box or a pixel. Leave the place out, or take a detector or a segmenter."
        )
    if request.pixel is not None:
        x, y, *_ = _in_input((*request.pixel, *request.pixel), served, stored, size)
        return Region(choice, (int(y), int(x)))
    assert request.box is not None
    corners = _in_input(request.box, served, stored, size)
    return (
        Box(corners, choice) if served.kind == "detector" else Region(choice, _mask(corners, size))
    )


def read_choice(request: TargetRequest) -> ClassChoice:
    """Return which class, or which difference of classes, is explained, whatever the place.

    Raises:
        TargetError: Two differences are asked for at once.
    """
    if request.against is not None and request.counterfactual:
        raise TargetError(
            "against and counterfactual are both given; one was expected, as both are differences."
        )
    if request.against is not None:
        return Contrast(request.class_, request.against)
    return Counterfactual(request.class_) if request.counterfactual else request.class_


def _in_input(
    place: PhotoBox, served: ServedNetwork, stored: StoredPhoto, size: Sequence[int]
) -> PhotoBox:
    """Return a box of the photo, which may be a single point, in pixels of the network's input.

    Raises:
        Refusal: All of it was cropped away.
    """
    x1, y1, x2, y2 = place
    point = served.network.preprocess.point
    left, top = point(stored.photo, x1, y1)
    right, bottom = point(stored.photo, x2, y2)
    if left >= size[1] or top >= size[0] or right < 0 or bottom < 0:
        raise Refusal("not-seen", 422, x=round((x1 + x2) / 2), y=round((y1 + y2) / 2))
    return left, top, right, bottom


def _mask(corners: PhotoBox, size: Sequence[int]) -> torch.Tensor:
    """Return the pixels of the input that lie in a box, `[H, W]`, at least one."""
    mask = torch.zeros(tuple(size), dtype=torch.bool, device="cpu")
    left, top, right, bottom = (round(edge) for edge in corners)
    left, top = min(max(left, 0), size[1] - 1), min(max(top, 0), size[0] - 1)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask
