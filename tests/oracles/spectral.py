"""Methods of components, derived again, slowly, from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from oracles.family import Family

if TYPE_CHECKING:
    from helpers.method_scenes import Scene


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


# How the tests call these methods, and the mistakes that they have to see


def directions(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S and V^T of contributions `[B, K, *grid]`, the cells being samples."""
    found = torch.linalg.svd(samples.flatten(2).transpose(1, 2), full_matrices=False)
    return cast("tuple[Tensor, Tensor, Tensor]", tuple(found))


def along(s: Scene, vector: Tensor) -> Tensor:
    """Return projections `[B, cells]` as maps with the sign that Eigen-CAM gives them."""
    channels = s.a.mean(1).flatten(1)
    pairs = zip(vector, channels, strict=True)
    signs = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1].sign() for pair in pairs])
    return (signs[:, None] * vector).reshape(-1, *s.a.shape[2:])


def kernel_component(
    s: Scene,
    kernel: Callable[[Tensor], Tensor] = lambda x: (x @ x.mT / x.shape[2] + 1).tanh(),
    *,
    channels_centred: bool = True,
    kernel_centred: bool = True,
    scale: bool = True,
    which: int = -1,
) -> Tensor:
    cells = s.a.flatten(2).mT
    k = kernel(cells - cells.mean(1, keepdim=True) if channels_centred else cells)
    if kernel_centred:
        k = k - k.mean(1, keepdim=True) - k.mean(2, keepdim=True) + k.mean((1, 2), keepdim=True)
    values, vectors = torch.linalg.eigh(k)
    length = values[:, which, None].abs().sqrt() if scale else 1
    return along(s, vectors[:, :, which] * length)


AT_A_LAYER: Family[Scene] = Family(
    oracles={
        "eigencam": lambda s: eigencam(s.a),
        "eigencam:centred=true": lambda s: eigencam(s.a, centred=True),
        "eigengradcam": lambda s: eigengradcam(s.a, s.g),
        "eigengradcam:centred=true": lambda s: eigengradcam(s.a, s.g, centred=True),
        "segeigencam": lambda s: segeigencam(s.a, s.g),
        "kpcacam": lambda s: kpcacam(s.a),
        "kpcacam:gamma=0.3,offset=0.5": lambda s: kpcacam(s.a, gamma=0.3, offset=0.5),
    },
    doctored={
        "eigencam": {
            "centred": lambda s: s.expected("eigencam:centred=true"),
            "the second direction": lambda s: along(
                s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 1]
            ),
            "a vector of length one": lambda s: along(s, directions(s.a)[0][:, :, 0]),
            "the other sign": lambda s: -s.expected("eigencam"),
            "the first cell positive": lambda s: torch.stack(
                [one * one[0, 0].sign() for one in s.expected("eigencam")]
            ),
            "the absolute value": lambda s: s.expected("eigencam").abs(),
            "the cells centred": lambda s: eigencam(s.a - s.a.mean(1, keepdim=True)),
        },
        "eigencam:centred=true": {
            "not centred": lambda s: s.expected("eigencam"),
            "centred over cells and channels alike": lambda s: eigencam(
                s.a - s.a.mean((1, 2, 3), keepdim=True)
            ),
            "centred for the direction only": lambda s: along(
                s,
                (s.a.flatten(2).mT @ directions(s.a - s.a.mean(s.axes, keepdim=True))[2][:, :1].mT)[
                    :, :, 0
                ],
            ),
        },
        "eigengradcam": {
            "no gradient": lambda s: s.expected("eigencam"),
            "the mean gradient": lambda s: eigencam(s.a * s.g.mean(s.axes, keepdim=True)),
            "the gradient's size": lambda s: eigencam(s.a * s.g.abs()),
            "the gradient alone": lambda s: eigencam(s.g),
            "centred": lambda s: s.expected("eigengradcam:centred=true"),
            "the other sign": lambda s: -s.expected("eigengradcam"),
        },
        "segeigencam": {
            "not centred": lambda s: eigencam(s.a * s.g.abs()),
            "the gradient's sign kept": lambda s: segeigencam(s.a * s.g.sign(), s.g),
            "the other sign": lambda s: -s.expected("segeigencam"),
            "the sign of the mean activation": lambda s: eigencam(s.a * s.g.abs(), centred=True),
        },
        "kpcacam": {
            "a linear kernel": lambda s: kernel_component(s, lambda x: x @ x.mT),
            "a Gaussian kernel": lambda s: kernel_component(
                s, lambda x: (-(torch.cdist(x, x) ** 2) / x.shape[2]).exp()
            ),
            "no offset": lambda s: kernel_component(s, lambda x: (x @ x.mT / x.shape[2]).tanh()),
            "no gamma": lambda s: kernel_component(s, lambda x: (x @ x.mT + 1).tanh()),
            "gamma of the cells": lambda s: kernel_component(
                s, lambda x: (x @ x.mT / x.shape[1] + 1).tanh()
            ),
            "channels not centred": lambda s: kernel_component(s, channels_centred=False),
            "the kernel not centred": lambda s: kernel_component(s, kernel_centred=False),
            "a vector of length one": lambda s: kernel_component(s, scale=False),
            "the second component": lambda s: kernel_component(s, which=-2),
            "the other sign": lambda s: -s.expected("kpcacam"),
        },
    },
    undoctored={
        "eigencam": lambda s: along(s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 0]),
        "kpcacam": kernel_component,
    },
    of_no_class=("eigencam", "kpcacam"),
)
