"""Means and correlations that are defined for ties and constant maps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def harmonic_mean(terms: Tensor) -> Tensor:
    """Return the harmonic mean of terms `[N, B]`, `[B]`: `N / sum_n 1 / t_n`; 0 where one is 0."""
    return torch.where((terms == 0).any(0), 0, len(terms) / (1 / terms).sum(0))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of rows `[B, N]` with rows, `[B]`; 0 where one is constant."""
    a, b = (rows.detach().cpu().double() for rows in (a, b))
    both_vary = _is_not_constant(a) & _is_not_constant(b)
    a, b = _centred(a), _centred(b)
    return torch.where(both_vary, (a * b).sum(1), 0).clamp(-1, 1)


def _centred(rows: Tensor) -> Tensor:
    """Return rows with mean 0 and length 1."""
    rows = rows - rows.mean(1, keepdim=True)
    return torch.nn.functional.normalize(rows, dim=1, eps=0)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's correlation of rows `[B, N]` with rows, `[B]`: Pearson's of their ranks.

    Equal values share their mean rank; a constant row has correlation 0 with any.
    """
    return pearson(ranks(a), ranks(b))


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row `[B, N]`, from 1; equal values share the mean."""
    rows = []
    for row in values.detach().cpu():
        _, which, count = torch.unique(row, return_inverse=True, return_counts=True)
        last = count.cumsum(0).double()
        rows.append((last - (count - 1) / 2)[which])
    return torch.stack(rows)


def _is_not_constant(rows: Tensor) -> Tensor:
    low, high = rows.aminmax(dim=1)
    return high > low


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of heatmaps `[B, *image]` in [0, 1], `[B]`.

    Wang et al. 2004, with a window of 7 pixels, or the largest odd number that fits; NaN where an
    axis has fewer than 3 pixels.
    """
    from skimage.metrics import structural_similarity as ssim

    similarities = []
    for first, second in zip(a.double().cpu().numpy(), b.double().cpu().numpy(), strict=True):
        window = min(7, min(first.shape) - (1 - min(first.shape) % 2))
        if window < 3:  # an axis that is too short for a window
            similarities.append(math.nan)
        else:
            similarity: Any = ssim(first, second, win_size=window, data_range=1.0)  # type: ignore[no-untyped-call]
            similarities.append(float(similarity))
    return torch.tensor(similarities, dtype=torch.float64, device="cpu")
