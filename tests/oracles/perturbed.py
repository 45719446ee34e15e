"""Methods that run the network on what was changed, derived again, slowly, from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from oracles.evidence import ScoreOf, cells_of, upsampled


def ablationcam(score: ScoreOf, activations: Tensor) -> Tensor:
    """Ablation-CAM without its ReLU; Desai and Ramaswamy 2020.

    `w_k = (y_c - y_c^k) / y_c` with `y_c^k` the score when channel k is zero, `L = sum_k w_k A_k`;
    without the division, which would turn the map of a negative score.
    """
    total = torch.zeros_like(activations[:, 0])
    for k in range(activations.shape[1]):
        without = activations.clone()
        without[:, k] = 0
        drop = score(activations) - score(without)
        total = total + torch.stack([w * a[k] for w, a in zip(drop, activations, strict=True)])
    return total


def reciprocam(score: ScoreOf, activations: Tensor, *, gaussian: bool = False) -> Tensor:
    """Recipro-CAM; Byun and Lee 2022: each cell's score when it alone is left of the grid.

    The score when nothing is left, which all cells share, is taken off. With `gaussian`, its
    neighbours are left too: each step away weighs half as much, and the cell itself `2^-axes`, so
    that the weights sum to one; those outside the grid are lost.
    """
    cells = list(product(*map(range, activations.shape[2:])))
    nothing = score(torch.zeros_like(activations))
    found = []
    for cell in cells:
        left = torch.zeros_like(activations).flatten(2)
        for place, other in enumerate(cells):
            away = [abs(i - j) for i, j in zip(cell, other, strict=True)]
            steps = [{0: 1 / 2, 1: 1 / 4}.get(d, 0.0) for d in away]
            weight = math.prod(steps) if gaussian else float(cell == other)
            left[:, :, place] = weight * activations.flatten(2)[:, :, place]
        found.append(score(left.reshape(activations.shape)) - nothing)
    return torch.stack(found, dim=1).reshape(-1, *activations.shape[2:])


def unchanged(mask: Tensor) -> list[Tensor]:
    return [mask]


def with_noise(noise: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """SS-CAM's masks, from noise `[samples, 1, *image]`."""
    return lambda mask: [mask + one[0] for one in noise]


def faded_in(samples: int) -> Callable[[Tensor], list[Tensor]]:
    """IS-CAM's masks."""
    return lambda mask: [mask * (i + 1) / samples for i in range(samples)]


def scorecam(
    score: ScoreOf,
    images: Tensor,
    activations: Tensor,
    masks: Callable[[Tensor], list[Tensor]] = unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    """Score-CAM without its ReLU; Wang et al. 2020.

    Eq. 7: `H_k = s(Up(A_k))`. Eq. 8: `s(A) = (A - min A) / (max A - min A)`. Eq. 6 and 10:
    `alpha_k = f(X * H_k) - f(X_b)`, with `X_b = 0` (section 4). Eq. 9: `L = relu(sum_k alpha_k
    A_k)`. Algorithm 1 takes the softmax over k of alpha.

    With several masks of a channel it is their mean gain: SS-CAM (Wang et al. 2020 b) and IS-CAM
    (Naidu et al. 2020). Of a channel that is the same everywhere, where eq. 8 is 0/0, the mask is
    taken to be zero.
    """
    black = score(torch.zeros_like(images))
    gains = []
    for k in range(activations.shape[1]):
        seen = []
        for image, a in zip(images, activations, strict=True):
            large = upsampled(a[k], image.shape[1:])
            spread = large.max() - large.min()
            seen.append([image * one for one in masks((large - large.min()) / (spread or 1))])
        runs = [score(torch.stack(list(together))) - black for together in zip(*seen, strict=True)]
        gains.append(sum(runs, torch.zeros_like(black)) / len(runs))
    maps = []
    for b, a in enumerate(activations):
        alpha = [gain[b].item() for gain in gains]
        if softmax:
            highest = max(alpha)
            raised = [math.exp(one - highest) for one in alpha]
            alpha = [one / sum(raised) for one in raised]
        total = torch.zeros_like(a[0])
        for alpha_k, a_k in zip(alpha, a, strict=True):
            total = total + alpha_k * a_k
        maps.append(total)
    return torch.stack(maps)


def occlusion(
    score: ScoreOf,
    images: Tensor,
    wide: Sequence[int],
    step: Sequence[int],
    baseline: float = 0.0,
) -> Tensor:
    """Occlusion, with covers `wide` pixels a side and `step` apart; Zeiler and Fergus 2014, 4.2.

    Of each pixel the mean, over the covers that hide it, of what the score loses. The last cover of
    a row ends where the image does.
    """
    size = images.shape[2:]
    starts = []
    for length, w, s in zip(size, wide, step, strict=True):
        along = [0]
        while along[-1] + w < length:
            along.append(min(along[-1] + s, length - w))
        starts.append(along)
    losses: dict[tuple[Any, ...], list[Tensor]] = {}
    whole = score(images)
    for corner in product(*starts):
        inside = cells_of(wide)
        hidden = [tuple(c + i for c, i in zip(corner, cell, strict=True)) for cell in inside]
        covered = images.clone()
        for at in hidden:
            covered[(slice(None), slice(None), *at)] = baseline
        loss = (whole - score(covered)).detach()
        for at in hidden:
            losses.setdefault(at, []).append(loss)
    found = torch.zeros_like(images[:, 0])
    for pixel, those in losses.items():
        found[(slice(None), *pixel)] = sum(those, torch.zeros_like(whole)) / len(those)
    return found.detach()


def rise_mask(
    grid: Tensor, shift: Sequence[int], cell: Sequence[int], size: Sequence[int]
) -> Tensor:
    """One mask of RISE; Petsiuk et al. 2018, section 3.2.

    The grid of cells, enlarged to `cell` pixels each by linear interpolation, seen through a window
    of the image's size at the shift.
    """
    large = upsampled(grid, [n * c for n, c in zip(grid.shape, cell, strict=True)])
    mask = torch.zeros(tuple(size), dtype=grid.dtype)
    for pixel in cells_of(size):
        mask[pixel] = large[tuple(p + s for p, s in zip(pixel, shift, strict=True))]
    return mask


def rise(score: ScoreOf, images: Tensor, masks: Tensor, keep: float) -> Tensor:
    """RISE, from its masks `[N, *image]`; Petsiuk et al. 2018, section 3.1.

    `S = 1 / (E[M] N) sum_i f(I * M_i) M_i`, with `f` less its mean over the masks, which adds the
    same to all pixels but for the noise of the masks.
    """
    scores = [score(images * mask).detach().tolist() for mask in masks]
    total = torch.zeros_like(images[:, 0])
    for b in range(len(images)):
        mean = math.fsum(of_mask[b] for of_mask in scores) / len(scores)
        for of_mask, mask in zip(scores, masks, strict=True):
            total[b] += (of_mask[b] - mean) * mask / (keep * len(masks))
    return total


def shapley(
    score: ScoreOf, images: Tensor, parts: Sequence[Tensor], baseline: float = 0.0
) -> Tensor:
    """Shapley values of parts of the images, each pixel having that of its part.

    `phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))` with v(S) the score of
    the image with nothing but the parts in S: Shapley 1953; Lundberg and Lee 2017, section 2.4.
    """
    found = torch.zeros_like(images[:, 0])
    for b, part in enumerate(parts):
        count = int(part.max()) + 1
        value: dict[tuple[bool, ...], float] = {}
        for coalition in product((False, True), repeat=count):
            variant = torch.full_like(images, baseline)
            for i, inside in enumerate(coalition):
                if inside:
                    variant[b] = torch.where(part == i, images[b], variant[b])
            value[coalition] = score(variant)[b].item()
        for i in range(count):
            phi = 0.0
            for without, worth in value.items():
                if not without[i]:
                    others = sum(without)
                    orders = math.factorial(others) * math.factorial(count - others - 1)
                    with_i = (*without[:i], True, *without[i + 1 :])
                    phi += orders / math.factorial(count) * (value[with_i] - worth)
            found[b][part == i] = phi
    return found
