"""Methods that weigh channels, derived again, slowly, from their papers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from oracles.evidence import ScoreOf


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM without its ReLU, `[B, *grid]`; Selvaraju et al. 2017.

    Eq. 1: `alpha_k^c = 1/Z sum_i sum_j dy^c / dA^k_ij`. Eq. 2: `L^c = ReLU(sum_k alpha_k^c A^k)`.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            alpha = g_k.sum() / g_k.numel()
            total = total + alpha * a_k
        maps.append(total)
    return torch.stack(maps)


def cam(activations: Tensor, weight: Tensor, indices: Sequence[int]) -> Tensor:
    """CAM, `[B, *grid]`, from the linear layer's weight `[C, K]`; Zhou et al. 2016.

    Eq. 1: `S_c = sum_k w_k^c sum_xy f_k(x, y)`. Eq. 2: `M_c(x, y) = sum_k w_k^c f_k(x, y)`.
    """
    maps = []
    for f, c in zip(activations, indices, strict=True):
        total = torch.zeros_like(f[0])
        for k, f_k in enumerate(f):
            total = total + weight[c, k] * f_k
        maps.append(total)
    return torch.stack(maps).detach()


def hessians(score: ScoreOf, activations: Tensor) -> list[Tensor]:
    """Return each image's matrix of second derivatives by its activations, `[n, n]`, in full."""

    def one(b: int, flat: Tensor) -> Tensor:
        rows = list(activations)
        rows[b] = flat.reshape(rows[b].shape)
        return score(torch.stack(rows))[b]

    return [
        torch.autograd.functional.hessian(partial(one, b), a.flatten())  # type: ignore[no-untyped-call]
        for b, a in enumerate(activations)
    ]


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ without its ReLU; Chattopadhay et al. 2018.

    Eq. 19: `alpha_ij = g_ij^2 / (2 g_ij^2 + sum_ab A_ab g_ij^3)`. Eq. 5: `w_k = sum_ij alpha_ij
    relu(dY/dA_ij)`, eq. 20: `L = relu(sum_k w_k A_k)`. Of eq. 13, `dY/dA = exp(S) g`, the factor
    that all channels share is left out.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            mass = math.fsum(a_k.flatten().tolist())
            shares = []
            for slope in g_k.flatten().tolist():
                if slope > 0:
                    alpha = slope**2 / (2 * slope**2 + mass * slope**3)
                    shares.append(alpha * slope)
            total = total + math.fsum(shares) * a_k
        maps.append(total)
    return torch.stack(maps)


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM without its ReLU; Fu et al. 2020.

    `w_k = sum_xy (F_k(x, y) / sum_xy F_k(x, y)) dS_c/dF_k(x, y)`, `L = sum_k w_k F_k`. The paper
    does not say what a channel that sums to zero weighs: here, nothing.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            mass = math.fsum(a_k.flatten().tolist())
            pairs = zip(a_k.flatten().tolist(), g_k.flatten().tolist(), strict=True)
            if mass:
                total = total + math.fsum(value / mass * slope for value, slope in pairs) * a_k
        maps.append(total)
    return torch.stack(maps)


def shapleycam(activations: Tensor, gradients: Tensor, hessians: Sequence[Tensor]) -> Tensor:
    """ShapleyCAM without its ReLU, from each image's Hessian `[n, n]`; Cai 2025.

    `w_k = 1/Z sum_ij (g - 1/2 H A)_ij^k`, `L = sum_k w_k A_k`.
    """
    maps = []
    for a, g, hessian in zip(activations, gradients, hessians, strict=True):
        bend = torch.stack([(row * a.flatten()).sum() for row in hessian]).reshape(a.shape)
        total = torch.zeros_like(a[0])
        for a_k, g_k, bend_k in zip(a, g, bend, strict=True):
            total = total + (g_k - bend_k / 2).sum() / g_k.numel() * a_k
        maps.append(total)
    return torch.stack(maps)


def fem(activations: Tensor, deviations: float = 2.0) -> Tensor:
    """FEM; Fuad et al. 2020: `sum_k mu_k [A_k > mu_k + n sigma_k]`, sigma that of a population."""
    maps = []
    for a in activations:
        total = torch.zeros_like(a[0])
        for a_k in a:
            values = a_k.flatten().tolist()
            mean = statistics.fmean(values)
            threshold = mean + deviations * statistics.pstdev(values)
            rare = [mean if value > threshold else 0.0 for value in values]
            total = total + torch.tensor(rare, dtype=a.dtype).reshape(a_k.shape)
        maps.append(total)
    return torch.stack(maps)
