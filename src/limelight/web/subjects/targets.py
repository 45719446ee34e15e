"""Targets as a request names them, in pixels of the photo, as the library takes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from limelight.errors import TargetError
from limelight.targets import Box, Contrast, Counterfactual, Region, ScoreTarget, as_target
from limelight.targets.classes import ClassChoice
from limelight.web.requests import PhotoBox, TargetRequest
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
    """
    choice = read_choice(request)
    if request.box is None and request.pixel is None:
        return as_target(choice)
    network = served.network
    if served.kind == "classifier":
        raise TargetError(
            f"{network.name!r} gives one score for the whole photo, so it has none for a box or a "
            "pixel. Leave the place out, or take a detector or a segmenter."
        )
    point = network.preprocess.point
    if request.pixel is not None:
        x, y = point(stored.photo, *request.pixel)
        return Region(choice, (int(y), int(x)))
    assert request.box is not None
    left, top, right, bottom = request.box
    corners = *point(stored.photo, left, top), *point(stored.photo, right, bottom)
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


def _mask(corners: PhotoBox, size: Sequence[int]) -> torch.Tensor:
    """Return the pixels of the input that lie in a box, `[H, W]`, at least one."""
    mask = torch.zeros(tuple(size), dtype=torch.bool, device="cpu")
    left, top, right, bottom = (round(edge) for edge in corners)
    left, top = min(left, size[1] - 1), min(top, size[0] - 1)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask
