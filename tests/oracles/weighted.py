"""Methods that weigh channels, derived again, slowly, from their papers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles.evidence import ScoreOf
from oracles.family import Family, OneImage

if TYPE_CHECKING:
    from helpers.method_scenes import Scene


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
    """Return each image's matrix of second derivatives by what a layer puts out, in full.

    For an output `[B, ...]` with n numbers per image, `[n, n]` each.
    """

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


def shapleycam(activations: Tensor, gradients: Tensor, curvature: Tensor) -> Tensor:
    """ShapleyCAM without its ReLU; Cai 2025.

    `w_k = 1/Z sum_ij (g - 1/2 H A)_ij^k`, `L = sum_k w_k A_k`, where H is the Hessian by all that
    the layer puts out, and `H A`, the curvature, is read on the grid.
    """
    maps = []
    for a, g, bend in zip(activations, gradients, curvature, strict=True):
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


# How the tests call these methods, and the mistakes that they have to see


def weighed(s: Scene, alpha: Tensor) -> Tensor:
    """Return `sum_k alpha_k A_k` from weights `[B, K]`."""
    return (alpha.reshape(*alpha.shape, *[1] * len(s.axes)) * s.a).sum(1)


def total(s: Scene, tensor: Tensor) -> Tensor:
    return tensor.sum(s.axes, keepdim=True)


def rare(s: Scene) -> Tensor:
    deviation = s.a.std(s.axes, keepdim=True, correction=0)
    return s.a > s.a.mean(s.axes, keepdim=True) + 2 * deviation


# Weights as walkthroughs show them


def class_weights(image: OneImage) -> tuple[Tensor, Tensor]:
    assert image.class_weights is not None
    return image.class_weights, image.a


def plus_plus_weights(image: OneImage) -> tuple[Tensor, Tensor]:
    mass, g = image.spread(image.a.sum(image.axes).double()), image.g.double()
    alpha = (g**2 / (2 * g**2 + mass * g**3)).nan_to_num(0, 0, 0)
    return (alpha * g.relu()).sum(image.axes).to(image.a.dtype), image.a


def x_weights(image: OneImage) -> tuple[Tensor, Tensor]:
    products = (image.a * image.g).sum(image.axes)
    return (products / image.a.sum(image.axes)).nan_to_num(0, 0, 0), image.a


def rare_weights(image: OneImage) -> tuple[Tensor, Tensor]:
    mean, deviation = image.a.mean(image.axes), image.a.std(image.axes, correction=0)
    return mean, (image.a > image.spread(mean) + 2 * image.spread(deviation)).to(image.a)


def diagonal(scene: Scene) -> Tensor:
    """The activations times the second derivative by each alone."""
    raw = scene.probe.raw
    return scene.grid(torch.stack([h.diag() for h in scene.hessians]).reshape(raw.shape) * raw)


AT_A_LAYER: Family[Scene] = Family(
    oracles={
        "cam": lambda s: cam(s.a, s.linear.weight, s.chosen),
        "gradcam": lambda s: gradcam(s.a, s.g),
        "gradcam++": lambda s: gradcam_plus_plus(s.a, s.g),
        "xgradcam": lambda s: xgradcam(s.a, s.g),
        "shapleycam": lambda s: shapleycam(s.a, s.g, s.curvature),
        "fem": lambda s: fem(s.a),
        "fem:deviations=1": lambda s: fem(s.a, deviations=1),
    },
    doctored={
        "cam": {
            "another class": lambda s: cam(s.a, s.linear.weight, [2, 1, 0]),
            "the bias too": lambda s: s.expected("cam") + s.linear.bias[0].detach(),
            "the mean over channels": lambda s: s.expected("cam") / s.a.shape[1],
            "a relu": lambda s: s.expected("cam").relu(),
        },
        "gradcam": {
            "the gradient's sum": lambda s: weighed(s, s.g.sum(s.axes)),
            "the gradient's size": lambda s: weighed(s, s.g.abs().mean(s.axes)),
            "positive gradients only": lambda s: weighed(s, s.g.relu().mean(s.axes)),
            "positive weights only": lambda s: weighed(s, s.g.mean(s.axes).relu()),
            "the mean over channels": lambda s: weighed(s, s.g.mean(s.axes)) / s.a.shape[1],
            "no weights": lambda s: s.a.sum(1),
            "no activations": lambda s: s.g.sum(1),
            "a relu": lambda s: s.expected("gradcam").relu(),
            "the other sign": lambda s: -s.expected("gradcam"),
            "the weights of another image": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 0)),
            "the weights of the next channel": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 1)),
            "the mean over the batch": lambda s: weighed(s, s.g.mean((0, *s.axes)).expand(3, -1)),
            "each cell by itself": lambda s: (s.g * s.a).sum(1),
            "upside down": lambda s: s.expected("gradcam").flip(1),
            "one part in a million": lambda s: s.expected("gradcam") * (1 + 1e-6),
        },
        "gradcam++": {
            "the cube inside the sum": lambda s: weighed(
                s, (s.g**2 / (2 * s.g**2 + total(s, s.a * s.g**3)) * s.g.relu()).sum(s.axes)
            ),
            "the denominator lost": lambda s: weighed(s, (s.g**2 * s.g.relu()).sum(s.axes)),
            "an absolute epsilon": lambda s: weighed(
                s, (s.g**2 / (2 * s.g**2 + total(s, s.a) * s.g**3 + 1e-8) * s.g.relu()).sum(s.axes)
            ),
            "the mass of positive activations": lambda s: weighed(
                s, (s.g.relu() / (2 + total(s, s.a.relu()) * s.g)).sum(s.axes)
            ),
            "the mean activation": lambda s: weighed(
                s, (s.g.relu() / (2 + s.a.mean(s.axes, keepdim=True) * s.g)).sum(s.axes)
            ),
            "all gradients": lambda s: weighed(s, (s.g / (2 + total(s, s.a) * s.g)).sum(s.axes)),
            "the mean over cells": lambda s: s.expected("gradcam++") / s.a[0, 0].numel(),
            "the factor exp(S)": lambda s: (
                s.expected("gradcam++") * s.score(s.images).exp()[:, None, None]
            ),
        },
        "xgradcam": {
            "an absolute epsilon": lambda s: weighed(
                s, (s.a * s.g).sum(s.axes) / (s.a.sum(s.axes) + 1e-7)
            ),
            "the mass in absolute value": lambda s: weighed(
                s, (s.a * s.g).sum(s.axes) / s.a.abs().sum(s.axes)
            ),
            "the mass of all channels": lambda s: weighed(
                s, (s.a * s.g).sum(s.axes) / s.a.flatten(1).sum(1, keepdim=True)
            ),
            "the plain mean": lambda s: s.expected("gradcam"),
        },
        "shapleycam": {
            "no curvature": lambda s: s.expected("gradcam"),
            "all of the curvature": lambda s: weighed(s, (s.g - s.curvature).mean(s.axes)),
            "the curvature added": lambda s: weighed(s, (s.g + s.curvature / 2).mean(s.axes)),
            "the Hessian's diagonal": lambda s: weighed(s, (s.g - diagonal(s) / 2).mean(s.axes)),
            "the curvature of the cells alone": lambda s: weighed(
                s, (s.g - s.curvature_along(s.cells_alone) / 2).mean(s.axes)
            ),
            "each cell by itself": lambda s: ((s.g - s.curvature / 2) * s.a).sum(1),
            "the sum over cells": lambda s: s.expected("shapleycam") * s.a[0, 0].numel(),
        },
        "fem": {
            "the activations kept": lambda s: (s.a * rare(s)).sum(1),
            "the share that is rare for a weight": lambda s: weighed(
                s, rare(s).to(s.a).mean(s.axes)
            ),
            "the size of the mean": lambda s: (s.a.mean(s.axes, keepdim=True).abs() * rare(s)).sum(
                1
            ),
            "one deviation": lambda s: s.expected("fem:deviations=1"),
            "the spread of all channels": lambda s: (
                s.a.mean(s.axes, keepdim=True) * (s.a > 2 * s.a.std((1, 2, 3), keepdim=True))
            ).sum(1),
            "what is low as well": lambda s: fem(s.a) + fem(-s.a),
        },
    },
    undoctored={
        "gradcam++": lambda s: weighed(s, (s.g.relu() / (2 + total(s, s.a) * s.g)).sum(s.axes)),
        "shapleycam": lambda s: weighed(s, (s.g - s.curvature / 2).mean(s.axes)),
        "fem": lambda s: (s.a.mean(s.axes, keepdim=True) * rare(s)).sum(1),
    },
    weights={
        "cam": class_weights,
        "gradcam": lambda image: (image.g.mean(image.axes), image.a),
        "gradcam++": plus_plus_weights,
        "xgradcam": x_weights,
        "fem": rare_weights,
    },
    linear=("cam", "gradcam", "xgradcam", "shapleycam"),
    of_no_class=("fem",),
    shaped_by_scale=("gradcam++",),
)
