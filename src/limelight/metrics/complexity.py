"""How much of the image a map lights up. A map can be sparse and wrong: nothing here is judged."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import entr

from limelight.metrics.case import MapCase
from limelight.metrics.metric import Readings


def sparseness(case: MapCase) -> Readings:
    """Return how unequally M is spread over the pixels: its Gini index.

    `1 - 2 sum_k m_k / |m|_1 (N - k + 1/2) / N`, `[B]`, m the N values of M from the lowest, k = 1,
    to the highest, k = N: Hurley and Rickard 2009, Chalasani et al. 2020.
    Higher is better: 0 for a map that is the same everywhere, zero too, and `1 - 1 / N` for a
    single pixel.
    """
    shares = _shares(case.heatmap).sort(1).values
    count = shares.shape[1]
    place = torch.arange(1, count + 1, dtype=torch.float64, device="cpu")
    return {"value": 1 - 2 * (shares * (count - place + 0.5) / count).sum(1)}


def complexity(case: MapCase) -> Readings:
    """Return the entropy of M as shares of its sum, in nats.

    `-sum_i P_i ln P_i` with `P_i = M_i / sum_j M_j`, `[B]`: Bhatt et al. 2020, `mu_C`. Lower
    is better: 0 for a single pixel, and `ln N` for a map of N pixels that is the same everywhere,
    zero too. `of uniform` is the entropy divided by `ln N`, to compare images of different sizes;
    NaN where N is 1.

    Returns:
        `value` and `of uniform`, `[B]`.
    """
    shares = _shares(case.heatmap)
    entropy = entr(shares).sum(1)
    return {"value": entropy, "of uniform": entropy / math.log(shares.shape[1])}


def _shares(heatmap: Tensor) -> Tensor:
    """Return the share of each pixel in the sum of its map, `[B, N]`; `1 / N` in a map of zero."""
    values = heatmap.flatten(1).cpu().double()
    total = values.sum(1, keepdim=True)
    return torch.where(total > 0, values / torch.where(total > 0, total, 1), 1 / values.shape[1])
