"""Leading components of the activations, with the cells of the grid as samples of K channels.

The sign of a component is arbitrary; here it is always chosen by a rule, and never left to the
solver.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from limelight.evidence import Evidence


def eigencam(evidence: Evidence, *, centred: bool = False) -> Tensor:
    """Project the activations onto their first principal direction; reads no class.

    With `A` `[cells, K] = U S V^T`, `L = A V_1`, shape `[B, *grid]`: Muhammad and Yeasin 2020,
    section III. The sign is chosen so that the map correlates positively with the mean activation.
    The paper does not centre the channels; `centred` does.
    """
    return leading(evidence.activations, centred=centred)


def eigengradcam(evidence: Evidence, *, centred: bool = False) -> Tensor:
    """Project gradient times activations onto their first principal direction.

    As `eigencam` of `dy_c/dA_k A_k`, shape `[B, *grid]`: named by the grad-cam library (Gildenblat
    2021) after Muhammad and Yeasin 2020.
    """
    return leading(evidence.gradients * evidence.activations, centred=centred)


def segeigencam(evidence: Evidence) -> Tensor:
    """Project activations times absolute gradient onto their first principal direction.

    As `eigencam` of `|dy_c/dA_k| A_k`, centred, shape `[B, *grid]`: Chung and Ying 2025, eq. 10 to
    13. The sign is as in the paper: the largest absolute value is positive.
    """
    return largest_positive(leading(evidence.gradients.abs() * evidence.activations, centred=True))


def largest_positive(component: Tensor) -> Tensor:
    """Flip the sign of each component `[B, *grid]` whose largest absolute value is negative."""
    low, high = component.flatten(1).aminmax(dim=1)
    flip = torch.where(low.abs() > high.abs(), -1, 1).to(component)
    return component * flip.reshape(-1, *[1] * (component.ndim - 1))


def kpcacam(evidence: Evidence, *, gamma: float | None = None, offset: float = 1.0) -> Tensor:
    """Take the first kernel principal component of the activations; reads no class.

    With channels centred and `x_i` the K values of cell i, the kernel is
    `k_ij = tanh(gamma x_i . x_j + offset)`, centred in its own space, and `L = sqrt(l_1) u_1` for
    its largest eigenvalue and eigenvector, shape `[B, *grid]`: Karmani et al. 2024, section III,
    with the sigmoid kernel and gamma = 1 / K. The sign is chosen so that the map correlates
    positively with the mean activation.
    """
    scale = 1 / evidence.activations.shape[1] if gamma is None else gamma

    def sigmoid(samples: Tensor) -> Tensor:
        return (scale * samples @ samples.transpose(1, 2) + offset).tanh()

    return kernel_component(evidence.activations, sigmoid)


def kernel_component(activations: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the first kernel principal component of activations `[B, K, *grid]`, `[B, *grid]`.

    `kernel` is given the cells with their channels centred, `[B, cells, K]`, and returns how alike
    they are, `[B, cells, cells]`. This is centred in its own space; the component is
    `sqrt(l_1) u_1` for its largest eigenvalue and eigenvector, with the sign of `signed`.
    """
    samples, broken = _finite(activations.flatten(2).transpose(1, 2))
    alike = kernel(subtract_mean(samples))
    alike = subtract_mean(subtract_mean(alike).transpose(1, 2))
    values, vectors = torch.linalg.eigh(alike)
    component = values[:, -1:].clamp(min=0).sqrt() * vectors[:, :, -1]
    component = torch.where(broken, torch.nan, signed(component, activations))
    return component.reshape(-1, *activations.shape[2:])


def leading(contributions: Tensor, *, centred: bool = False) -> Tensor:
    """Return the projection of `[B, K, *grid]` onto its first principal direction, `[B, *grid]`.

    The eigenvectors come from the smaller of the two Gram matrices, channels by channels or cells
    by cells; both give `M V_1`.
    """
    samples, broken = _finite(contributions.flatten(2).transpose(1, 2))  # [B, cells, K]
    samples = subtract_mean(samples) if centred else samples
    # Eigenvectors do not depend on the scale; unscaled, small gradients would underflow squared.
    scale = samples.abs().amax((1, 2), keepdim=True)
    samples = samples / torch.where(scale > 0, scale, torch.ones_like(scale))
    if samples.shape[1] < samples.shape[2]:
        values, vectors = torch.linalg.eigh(samples @ samples.transpose(1, 2))
        component = values[:, -1:].clamp(min=0).sqrt() * vectors[:, :, -1]
    else:
        _, vectors = torch.linalg.eigh(samples.transpose(1, 2) @ samples)
        component = (samples @ vectors[:, :, -1:])[:, :, 0]
    component = torch.where(broken, torch.nan, signed(component * scale[:, :, 0], contributions))
    return component.reshape(-1, *contributions.shape[2:])


def _finite(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return samples, zero for images that hold NaN or infinity, and a mask of these, `[B, 1]`."""
    broken = ~samples.isfinite().flatten(1).all(1, keepdim=True)
    return torch.where(broken[..., None], 0, samples), broken


def signed(component: Tensor, contributions: Tensor) -> Tensor:
    """Flip the sign of a component `[B, cells]` that correlates negatively with the channel mean.

    Where the correlation is no more than rounding (behind a newly made layer norm the mean is
    zero), the largest absolute value is made positive.
    """
    channels = contributions.flatten(2)
    mean, size = channels.mean(1), channels.abs().mean(1)
    noise = 64 * torch.finfo(component.dtype).eps * component.norm(dim=1) * size.norm(dim=1)
    low, high = component.aminmax(dim=1)
    sign = low + high
    for product in (component * mean, subtract_mean(component[..., None])[..., 0] * mean):
        correlation = product.sum(1)
        sign = torch.where(correlation.abs() > noise, correlation, sign)
    return torch.where(sign < 0, -1, 1)[:, None] * component


def subtract_mean(samples: Tensor) -> Tensor:
    """Subtract the mean over samples from `[B, samples, K]`."""
    return samples - samples.mean(1, keepdim=True)


def factorize_activations(
    activations: Tensor, count: int, *, rounds: int = 500
) -> tuple[Tensor, Tensor]:
    """Factorize activations `[B, K, *grid]` into concepts: `A ~ W H`, both non-negative.

    Deep feature factorization (Collins et al. 2018): non-negative matrix factorization of the
    cells of all images, `[B * cells, K]`, one concept at a time (hierarchical alternating least
    squares, Cichocki and Phan 2009), started from the leading singular vectors (Boutsidis and
    Gallopoulos 2008), so that the result is always the same. Negative activations count as zero.

    Returns:
        The maps W `[B, count, *grid]`, and the concepts H `[count, K]`, each of length 1.
    """
    batch, channels, *grid = activations.shape
    samples = activations.relu().movedim(1, -1).reshape(-1, channels)
    maps, concepts = _singular_start(samples, count)  # [count, cells], [count, K]
    for _ in range(rounds):
        before = maps
        maps = _least_squares(maps, concepts @ concepts.T, concepts @ samples.T)
        concepts = _least_squares(concepts, maps @ maps.T, maps @ samples)
        if (maps - before).norm() <= torch.finfo(maps.dtype).eps * maps.norm():
            break
    length = concepts.norm(dim=1, keepdim=True)
    maps = maps * length
    concepts = concepts / torch.where(length > 0, length, 1)
    return maps.T.reshape(batch, *grid, count).movedim(-1, 1), concepts


def _least_squares(rows: Tensor, gram: Tensor, product: Tensor) -> Tensor:
    """Improve the non-negative rows of `gram rows ~ product`, one after the other."""
    rows = rows.clone()
    for i, curvature in enumerate(gram.diagonal().tolist()):
        if curvature > 0:
            rows[i] = (rows[i] + (product[i] - gram[i] @ rows) / curvature).relu()
    return rows


def _singular_start(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return a first W^T `[count, N]` and H `[count, K]`: NNDSVDa, zeros made small values."""
    left, values, right = torch.linalg.svd(samples, full_matrices=False)
    small = samples.mean().sqrt() / 100
    maps = small.expand(count, len(samples)).clone()
    concepts = small.expand(count, samples.shape[1]).clone()
    for i in range(min(count, len(values))):
        # A pair of vectors is split into positive and negative parts; the larger pair is used.
        pairs = [((sign * left[:, i]).relu(), (sign * right[i]).relu()) for sign in (1, -1)]
        u, v = max(pairs, key=lambda pair: float(pair[0].norm() * pair[1].norm()))
        sizes = u.norm() * v.norm()
        if sizes > 0:
            scale = (values[i] * sizes).sqrt()
            maps[i] = torch.where(u > 0, scale * u / u.norm(), small)
            concepts[i] = torch.where(v > 0, scale * v / v.norm(), small)
    return maps, concepts
