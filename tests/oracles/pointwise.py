"""Methods that weigh cells, derived again, slowly, from their papers."""

from __future__ import annotations

import torch
from torch import Tensor


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM, `sum_k dy_c/dA_k A_k` element by element; Draelos and Carin 2020."""
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + g_k * a_k
        maps.append(total)
    return torch.stack(maps)


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM without its ReLU; Jiang et al. 2021.

    `w_ij^k = relu(dy_c/dA_ij^k)`, `M = relu(sum_k w_ij^k A_ij^k)`.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + torch.where(g_k > 0, g_k * a_k, 0)
        maps.append(total)
    return torch.stack(maps)


def gradcam_elementwise(activations: Tensor, gradients: Tensor) -> Tensor:
    """`sum_k relu(dy_c/dA_k A_k)`; of no paper, but of the grad-cam library (Gildenblat 2021)."""
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + torch.where(g_k * a_k > 0, g_k * a_k, 0)
        maps.append(total)
    return torch.stack(maps)
