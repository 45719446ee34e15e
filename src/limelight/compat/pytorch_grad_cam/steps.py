"""The steps of a call that grad-cam's classes define, made from a method or from a projection.

Each function here returns one for the body of a class, so that a script can override it, or call it
from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from limelight.compat.arrays import (
    Array,
    as_array,
    contributions_of,
    weights_and_values,
    weights_of,
)
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM, joined_channels
from limelight.compat.scores import OneImageTarget
from limelight.layers.resolved import Layer
from limelight.methods import find_method


def weights_by(method: str) -> Callable[..., Array]:
    """Return a `get_cam_weights` by a method of activations and gradients."""

    def get_cam_weights(
        self: BaseCAM,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        return weights_of(method, activations, grads)

    return get_cam_weights


def weights_in_a_call_by(method: str) -> Callable[..., Array]:
    """Return a `get_cam_weights` by a method that reads more of the network."""

    def get_cam_weights(
        self: BaseCAM,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        evidence = self.evidence_at(target_layers).evidence(find_method(method).needs)
        return as_array(weights_and_values(method, evidence)[0])

    return get_cam_weights


def image_by(method: str) -> Callable[..., Array]:
    """Return a `get_cam_image` by a method that weighs each cell of each channel."""

    def get_cam_image(
        self: BaseCAM,
        input_tensor: Tensor,
        target_layer: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Array:
        """Return the raw map `[B, *grid]`."""
        return joined_channels(contributions_of(method, activations, grads), eigen_smooth)

    return get_cam_image


def image_of(component: Callable[[Any, Any], Array]) -> Callable[..., Array]:
    """Return a `get_cam_image` that is a component of activations and gradients.

    It is smooth already, with or without `eigen_smooth`.
    """

    def get_cam_image(
        self: BaseCAM,
        input_tensor: Tensor,
        target_layer: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Array:
        """Return the raw map `[B, *grid]`."""
        return component(activations, grads)

    return get_cam_image
