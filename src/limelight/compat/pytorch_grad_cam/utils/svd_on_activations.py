"""Leading components of activations: `pytorch_grad_cam.utils.svd_on_activations`.

Activations are numpy arrays `[B, K, *grid]`, of which NaN counts as 0; maps are `[B, *grid]`, in
float32. The sign, which the decomposition leaves open, follows limelight's rule: the map correlates
positively with the mean activation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from limelight.errors import unknown
from limelight.methods.spectral import kernel_component, largest_positive, leading

Array = npt.NDArray[Any]

Maps = npt.NDArray[np.float32]


def get_2d_projection(activation_batch: Array) -> Maps:
    """Project the activations, their channels centred, onto their first principal direction.

    With `A` `[cells, K] = U S V^T`, the map is `A V_1`.
    """
    return _as_maps(leading(_as_tensor(activation_batch), centred=True))


def get_2d_projection_kernel(
    activation_batch: Array, kernel: str = "sigmoid", gamma: float | None = None
) -> Maps:
    """Take the first kernel principal component of the activations, their channels centred.

    With `x_i` the K values of cell i and `l_1`, `u_1` the largest eigenvalue and its eigenvector of
    the centred kernel, the map is `sqrt(l_1) u_1`.

    Args:
        activation_batch: The activations.
        kernel: "linear" `x.y`, "poly" `(gamma x.y + 1)^3`, "rbf" `exp(-gamma |x - y|^2)`,
            "sigmoid" `tanh(gamma x.y + 1)` or "cosine" `x.y / (|x| |y|)`.
        gamma: None for 1 / K.

    Raises:
        UnknownNameError: There is no such kernel.
    """
    if kernel not in _KERNELS:
        raise unknown("kernel", kernel, _KERNELS, f"There are {', '.join(_KERNELS)}.")
    activations = _as_tensor(activation_batch)
    scale = 1 / activations.shape[1] if gamma is None else gamma
    return _as_maps(kernel_component(activations, partial(_KERNELS[kernel], gamma=scale)))


def get_2d_projection_with_sign_correction(activation_batch: Array) -> Maps:
    """Project as `get_2d_projection` does, the largest absolute value made positive.

    Chung and Ying 2025, Seg-Eigen-CAM, eq. 13.
    """
    return _as_maps(largest_positive(leading(_as_tensor(activation_batch), centred=True)))


def _as_tensor(activations: Array) -> Tensor:
    """Return a copy in float64, in which NaN is 0."""
    copy = np.array(activations, dtype=np.float64)
    copy[np.isnan(copy)] = 0
    return torch.from_numpy(copy)


def _as_maps(components: Tensor) -> Maps:
    return components.numpy().astype(np.float32)


def _dot(x: Tensor) -> Tensor:
    """Return the scalar products of samples `[B, cells, K]`, `[B, cells, cells]`."""
    return x @ x.transpose(1, 2)


#: From samples `[B, cells, K]` to how alike they are, `[B, cells, cells]`.
_KERNELS: dict[str, Callable[..., Tensor]] = {
    "linear": lambda x, **_: _dot(x),
    "poly": lambda x, gamma: (gamma * _dot(x) + 1) ** 3,
    "rbf": lambda x, gamma: (-gamma * torch.cdist(x, x) ** 2).exp(),
    "sigmoid": lambda x, gamma: (gamma * _dot(x) + 1).tanh(),
    "cosine": lambda x, **_: _dot(normalize(x, dim=2)),
}
