"""Methods that weigh cells, derived again, slowly, from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles.family import Family
from oracles.weighted import weighed

if TYPE_CHECKING:
    from helpers.method_scenes import Scene


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


# How the tests call these methods, and the mistakes that they have to see


AT_A_LAYER: Family[Scene] = Family(
    oracles={
        "hirescam": lambda s: hirescam(s.a, s.g),
        "layercam": lambda s: layercam(s.a, s.g),
        "gradcam-elementwise": lambda s: gradcam_elementwise(s.a, s.g),
    },
    doctored={
        "hirescam": {
            "the mean gradient": lambda s: s.expected("gradcam"),
            "positive gradients only": lambda s: s.expected("layercam"),
            "positive products only": lambda s: s.expected("gradcam-elementwise"),
            "the gradient's size": lambda s: (s.g.abs() * s.a).sum(1),
            "the mean over channels": lambda s: s.expected("hirescam") / s.a.shape[1],
            "a relu": lambda s: s.expected("hirescam").relu(),
        },
        "layercam": {
            "all gradients": lambda s: s.expected("hirescam"),
            "positive products": lambda s: s.expected("gradcam-elementwise"),
            "positive activations only": lambda s: (s.g.relu() * s.a.relu()).sum(1),
            "the mean of positive gradients": lambda s: weighed(s, s.g.relu().mean(s.axes)),
            "a relu": lambda s: s.expected("layercam").relu(),
        },
        "gradcam-elementwise": {
            "a relu at the end": lambda s: s.expected("hirescam").relu(),
            "positive gradients": lambda s: s.expected("layercam"),
            "both positive": lambda s: (s.g.relu() * s.a.relu()).sum(1),
            "no relu": lambda s: s.expected("hirescam"),
        },
    },
    cancels={"hirescam": lambda s: float((s.a * s.g).abs().sum(1).max())},
    weights={
        "hirescam": lambda image: (image.g, image.a),
        "layercam": lambda image: (image.g.clamp(min=0), image.a),
        "gradcam-elementwise": lambda image: (
            image.g.masked_fill(image.g * image.a < 0, 0),
            image.a,
        ),
    },
    linear=("hirescam",),
)
