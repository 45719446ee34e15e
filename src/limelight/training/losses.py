"""Losses on where a network looks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.finish import relu, resize
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.status import zero_unless_ok


def outside(result: Explanation, masks: MasksOrBoxes | Objects) -> Tensor:
    """Return the share of the heat that lies outside the objects, a loss for training.

    With R the positive part of the raw map, resized to the image, and m the mask,

        `mean_b (1 - sum_ij m R / sum_ij R)`

    over the images b that have an object and a map whose status is ok; 0 where there is none. It
    does not change when all scores are multiplied by a number.

        result = limelight.explain(model, images, target=labels, differentiable=True)
        loss = cross_entropy(model(images), labels) + outside(result, masks)

    It is the Energy loss of Rao et al. 2023, which is 1 minus the energy-based pointing game (Wang
    et al. 2020), for all objects of an image together. Ross et al. 2017 (RRR) sum the squares of
    input gradients over what should not matter, and Schramowski et al. 2020 those of Grad-CAM; such
    a sum also falls when the scores shrink. HINT (Selvaraju et al. 2019) makes the network rank
    regions as people do. CDEP (Rieger et al. 2020) penalises contextual decomposition, not a map.

    Args:
        result: Of `explain` with `differentiable=True`.
        masks: Where the objects are: masks `[B, *image]`, boolean or shares from 0 to 1; or for
            each image boxes `[n, 4]`: x1, y1, x2, y2 in pixels of the network's input.

    Returns:
        The loss, `[]`, in the precision of the map, at least float32.

    Raises:
        InputError: The masks do not fit, or the result has no graph.
    """
    return _mean_share(result, masks, outside_masks=True)


def inside(result: Explanation, masks: MasksOrBoxes | Objects) -> Tensor:
    """Return the share of the heat that lies in masks of what should not matter, a loss.

    It is `mean_b (sum_ij m R / sum_ij R)`, as in `outside`, whose counterpart it is: there the
    masks say where to look, and here where not to look, as those of `evidence_masks` do. Images
    with an empty mask are left out.

    Args:
        result: Of `explain` with `differentiable=True`.
        masks: Where the network should not look, as in `outside`.

    Raises:
        InputError: The masks do not fit, or the result has no graph.
    """
    return _mean_share(result, masks, outside_masks=False)


def heat_shares(result: Explanation, masks: MasksOrBoxes | Objects) -> Tensor:
    """Return the share of each map's heat that lies in the masks, `[B]`.

    It is NaN for images with an empty mask, or whose map has a status that is not ok. It is the
    metric `mass-accuracy` (Arras et al. 2022), with a gradient, and for soft masks too.

    Raises:
        InputError: The masks do not fit.
    """
    heat, inner, counted = _heat_and_masks(result, masks)
    shares = (heat * inner).sum(1) / torch.where(counted, heat.sum(1), 1)
    return torch.where(counted, shares, math.nan)


def _mean_share(
    result: Explanation, masks: MasksOrBoxes | Objects, *, outside_masks: bool
) -> Tensor:
    """Return the mean share of the heat in the masks, or outside them, over what is counted."""
    if not result.raw.requires_grad:
        raise InputError(
            "The maps carry no graph, so no gradient of this loss would reach the model. Make them "
            "with limelight.explain(model, images, target=labels, differentiable=True)."
        )
    heat, inner, counted = _heat_and_masks(result, masks)
    counts = 1 - inner if outside_masks else inner
    # What is not counted is divided by 1 and multiplied by 0: its gradient is 0, and never NaN.
    shares = (heat * counts).sum(1) / torch.where(counted, heat.sum(1), 1)
    return (shares * counted).sum() / counted.sum().clamp(min=1)


def _heat_and_masks(
    result: Explanation, masks: MasksOrBoxes | Objects
) -> tuple[Tensor, Tensor, Tensor]:
    """Return positive heat and masks, `[B, N]` for N pixels, and which images count, `[B]`."""
    size = result.image.shape[2:]
    raw = zero_unless_ok(result.raw, result.status)
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    heat = resize(relu(raw), size, result.span).flatten(1)
    inner = mask_shares(masks, result.image).to(heat).flatten(1)
    return heat, inner, inner.any(1) & (heat > 0).any(1)


def mask_shares(masks: MasksOrBoxes | Objects, images: Tensor) -> Tensor:
    """Return masks or boxes as shares of each pixel, `[B, *image]`.

    Masks are not searched for objects, which would take longer than a step of training.

    Raises:
        InputError: They do not fit the images, or are no shares.
    """
    given: Any = masks
    if isinstance(given, Objects):
        given = given.mask
    expected = (len(images), *images.shape[2:])
    if not isinstance(given, Tensor) or tuple(given.shape) != expected:
        return Objects.of(masks, images).mask
    if not given.is_floating_point():
        return given != 0
    low, high = float(given.min()), float(given.max())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"The masks hold numbers from {low:g} to {high:g}; shares from 0 to 1 were expected, "
            "or boolean masks: masks > 0.5, say."
        )
    return given
