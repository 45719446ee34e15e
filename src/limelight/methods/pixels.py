"""Gradients at the input. Cut at the input, A is the images; cut at a layer, A is the layer's A."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from limelight.evidence import Evidence
from limelight.finish import AxisSpan, normalise, relu, resize
from limelight.methods.weighted import divide_or_zero, gradcam


def saliency(evidence: Evidence) -> Tensor:
    """Take the largest absolute gradient over the channels: where a small change counts most.

    `L = max_k |dy_c/dX_k|`, shape `[B, *image]`: Simonyan et al. 2014, section 3.1.
    """
    return evidence.gradients.abs().amax(1)


def input_x_gradient(evidence: Evidence) -> Tensor:
    """Multiply the image by its gradient.

    `L = sum_k X_k dy_c/dX_k`, shape `[B, *image]`: Shrikumar et al. 2016, section 3.
    """
    return evidence.combine(evidence.gradients, evidence.activations)


def smoothgrad(
    evidence: Evidence, *, samples: int = 50, noise: float = 0.15, seed: int = 0
) -> Tensor:
    """Average the gradient over noisy copies of the image.

    `L = max_k |1/n sum_i dy_c/dX_k (X + noise_i)|`, shape `[B, *image]`: Smilkov et al. 2017,
    section 3, with normal noise whose standard deviation is a share of the image's range. All
    images get the same noise.
    """
    image = evidence.activations
    generator = torch.Generator().manual_seed(seed)
    unit_noise = torch.randn(
        samples, *image.shape[1:], generator=generator, dtype=torch.float64, device="cpu"
    )
    low, high = image.flatten(1).aminmax(dim=1)
    deviation = (noise * (high - low)).reshape(-1, *[1] * (image.ndim - 1))

    def noisy(number: Tensor, b: int) -> Tensor:
        return image[b] + deviation[b] * unit_noise[number.cpu()].to(image)

    weights = torch.full((samples,), 1 / samples, dtype=image.dtype, device=image.device)
    return evidence.head.gradients(weights, noisy).abs().amax(1)


def integrated_gradients(evidence: Evidence, *, steps: int = 50, baseline: float = 0.0) -> Tensor:
    """Integrate the gradient along the straight line from a baseline to the image.

    `L = sum_k (X_k - X'_k) int_0^1 dy_c/dX_k (X' + t (X - X')) dt`, shape `[B, *image]`:
    Sundararajan et al. 2017, eq. 1, by Gauss-Legendre quadrature. The map sums to
    `y_c(X) - y_c(X')`; the gap that remains is reported. The baseline is in the network's units,
    where 0 is the mean colour.
    """
    image = evidence.activations
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    positions = torch.from_numpy((nodes + 1) / 2).to(image)

    def between(number: Tensor, b: int) -> Tensor:
        share = positions[number].reshape(-1, *[1] * (image.ndim - 1))
        return baseline + share * (image[b] - baseline)

    mean_gradient = evidence.head.gradients(torch.from_numpy(weights / 2).to(image), between)
    return evidence.combine(mean_gradient, image - baseline)


def score_gained(evidence: Evidence, *, steps: int = 50, baseline: float = 0.0) -> Tensor:
    """Return `y_c(X) - y_c(X')` `[B]`, the value that integrated gradients sum to."""
    del steps
    once = torch.ones(1, len(evidence.score), dtype=torch.bool, device=evidence.score.device)
    empty = evidence.head.scores(
        once, lambda _number, b: torch.full_like(evidence.activations[b, None], baseline)
    )
    return evidence.score - empty[0]


def guided_backprop(evidence: Evidence) -> Tensor:
    """Take the gradient that passes each ReLU only where it is positive.

    `R_in = 1[x > 0] 1[R_out > 0] R_out` at every ReLU, `L = max_k |R_k|`, shape `[B, *image]`:
    Springenberg et al. 2015, section 3.4. Sharp, but it changes little when the network's weights
    are replaced by random ones (Adebayo et al. 2018).
    """
    return evidence.guided_gradients.abs().amax(1)


def guided_gradcam(evidence: Evidence) -> Tensor:
    """Multiply guided backpropagation by the positive part of Grad-CAM.

    `L = max_k |R_k| * G / max G` with `G = resize(relu(L_gradcam))`, shape `[B, *image]`:
    Selvaraju et al. 2017, section 3.2. Only its largest value scales G: the product of two small
    gradients would underflow. The smallest value of G stays, so that no place is lost where all of
    G is positive.
    """
    coarse = resize(relu(gradcam(evidence)), evidence.image.shape[2:], evidence.span)
    highest = coarse.amax(tuple(range(1, coarse.ndim)), keepdim=True)
    return guided_backprop(evidence) * divide_or_zero(coarse, highest)


def fullgrad(evidence: Evidence) -> Tensor:
    """Add the gradients at all biases to the gradient at the input.

    `L = psi(sum_k X_k dy_c/dX_k) + sum_l sum_k psi(b_l dy_c/dz_l)_k`, shape `[B, *image]`, where
    psi takes the absolute value, scales a layer to [0, 1] and resizes it to the image: Srinivas and
    Fleuret 2019, section 4. All layers with a bias and a grid take part, except those inside
    `nn.MultiheadAttention`; the bias of a batch norm is what it adds in evaluation mode.
    """
    size = evidence.image.shape[2:]
    summed = _psi((evidence.activations * evidence.gradients).sum(1, keepdim=True), size)
    for layer in evidence.bias_gradients:
        summed = summed + _psi(layer.values, size, layer.span)
    return summed


def _psi(tensor: Tensor, size: torch.Size, span: Sequence[AxisSpan] = ()) -> Tensor:
    """Return the sum over channels of `|tensor|` `[B, K, *grid]`, scaled to [0, 1], resized."""
    scaled = normalise(tensor.abs())
    # Resizing is linear: the sum of resized maps is the resized sum.
    return resize(scaled.sum(1), size, span)
