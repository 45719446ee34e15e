"""Methods of METHODS applied to arrays: to activations and gradients `[B, K, *grid]` in numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limelight.evidence import Evidence, at_least_float32, contributions, total
from limelight.methods import find_method

Array = NDArray[Any]


def as_array(tensor: Tensor) -> Array:
    """Return a tensor as an array on the CPU, in at least float32."""
    array: Array = at_least_float32(tensor.detach()).cpu().numpy()
    return array


def as_values(array: Array) -> Tensor:
    """Return an array as a tensor, in at least float32."""
    return at_least_float32(torch.from_numpy(np.ascontiguousarray(array)))


def weights_and_values(method: str, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Return the weights of a method, `[B, K]` or `[B, K, *grid]`, and what they multiply."""
    noted = list[tuple[Tensor, Tensor]]()

    def note(weights: Tensor, values: Tensor) -> Tensor:
        noted.append((weights, values))
        return total(weights, values)

    find_method(method).raw(replace(evidence, combine=note))
    return noted[0]


def weights_of(method: str, activations: Array, gradients: Array) -> Array:
    """Return the weight that a method gives each channel, `[B, K]`."""
    weights, _ = weights_and_values(method, _evidence(activations, gradients))
    return as_array(weights)


def contributions_of(method: str, activations: Array, gradients: Array | None) -> Array:
    """Return what each channel contributes to the map of a method, `[B, K, *grid]`."""
    parts = weights_and_values(method, _evidence(activations, gradients))
    return as_array(contributions(*parts))


def _evidence(activations: Array, gradients: Array | None) -> Evidence:
    """Return evidence that holds activations and gradients alone."""
    values = as_values(activations)
    return Evidence(
        activations=values,
        image=values,
        score=values.new_zeros(len(values)),
        found={} if gradients is None else {"gradients": as_values(gradients)},
    )
