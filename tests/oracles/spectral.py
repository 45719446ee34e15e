"""Methods of components, derived again, slowly, from their papers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def eigencam(activations: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-CAM; Muhammad and Yeasin 2020: `A = U S V^T`, `L = A V_1`.

    The sign, which a singular vector has not, is that of the correlation with the mean channel.
    """
    maps = []
    for a in activations:
        channels = [a_k.flatten() - (a_k.mean() if centred else 0) for a_k in a]
        samples = torch.stack(channels, dim=1)
        first = torch.linalg.svd(samples).Vh[0]
        component = torch.stack([(sample * first).sum() for sample in samples])
        maps.append(_with_sign_of(component, a).reshape(a.shape[1:]))
    return torch.stack(maps)


def eigengradcam(activations: Tensor, gradients: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-CAM of `dy_c/dA * A`; of no paper, but of the grad-cam library (Gildenblat 2021)."""
    return eigencam(activations * gradients, centred=centred)


def segeigencam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Seg-Eigen-CAM; Chung and Ying 2025: centred Eigen-CAM of `|dy_c/dA| * A`.

    The map is turned when `|min| > |max|`.
    """
    maps = eigencam(activations * gradients.abs(), centred=True)
    return torch.stack([-one if one.min().abs() > one.max().abs() else one for one in maps])


def kpcacam(activations: Tensor, *, gamma: float | None = None, offset: float = 1.0) -> Tensor:
    """KPCA-CAM; Karmani et al. 2024: the first kernel principal component of the cells.

    Kernel PCA (Schoelkopf et al. 1998) with `k(x, y) = tanh(gamma x . y + offset)` on centred
    channels: `sqrt(l_1) u_1` of the kernel matrix, centred in feature space,
    `K - 1K - K1 + 1K1` with `1` full of `1 / n`. Signed as `eigencam`.
    """
    maps = []
    for a in activations:
        cells = list(torch.stack([a_k.flatten() - a_k.mean() for a_k in a], dim=1))
        scale = 1 / len(a) if gamma is None else gamma
        kernel = torch.tensor(
            [[math.tanh(scale * (x * y).sum().item() + offset) for y in cells] for x in cells],
            dtype=a.dtype,
        )
        ones = torch.full_like(kernel, 1 / len(cells))
        kernel = kernel - ones @ kernel - kernel @ ones + ones @ kernel @ ones
        values, vectors = torch.linalg.eig(kernel)
        largest = int(values.real.argmax())
        vector = vectors[:, largest].real
        component = vector / vector.norm() * values.real[largest].sqrt()
        maps.append(_with_sign_of(component, a).reshape(a.shape[1:]))
    return torch.stack(maps)


def _with_sign_of(component: Tensor, channels: Tensor) -> Tensor:
    """Turn a component `[cells]` so that it correlates with the mean of channels `[K, *grid]`."""
    mean = sum(channels.unbind(), torch.zeros_like(channels[0])).flatten() / len(channels)
    together = torch.stack([component, mean])
    return component * torch.corrcoef(together)[0, 1].sign()
