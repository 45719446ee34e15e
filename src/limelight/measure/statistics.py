"""Means with their intervals, and correlations that survive ties and constant maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: How often values are drawn again for an interval, and how much of the draws lies inside.
RESAMPLES, CONFIDENCE = 2000, 0.95

#: So many numbers are drawn at once.
_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, and how sure it is.

    Attributes:
        value: The mean; NaN without any image.
        low: Lower end of the 95 % bootstrap interval; NaN for fewer than two images.
        high: Its upper end.
        n: How many images it is the mean of.
        left_out: For how many images the metric is not defined: no object in them, say.
    """

    value: float
    low: float
    high: float
    n: int
    left_out: int = 0

    def __str__(self) -> str:
        """Return value and interval."""
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(values: Tensor, groups: Sequence[str]) -> Estimate:
    """Return the mean of values `[N]` with its bootstrap interval; NaN and infinity are left out.

    The interval holds the middle 95 % of the means of 2000 samples of N values, drawn with
    replacement (Efron 1979); the draws are seeded, and do not depend on the order of the values.
    """
    del groups  # all images weigh the same
    found, n, left_out = _defined(values)
    if n < 2:
        return Estimate(float(found.sum()) if n else math.nan, math.nan, math.nan, n, left_out)
    from scipy.stats import bootstrap

    value = math.fsum(found) / n
    if found[0] == found[-1]:  # all the same: so is every mean of them
        return Estimate(value, value, value, n, left_out)
    drawn = bootstrap(
        (found,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // n),
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    low, high = drawn.confidence_interval
    return _estimate(value, low, high, n, left_out)


def mean_over_groups(values: Tensor, groups: Sequence[str]) -> Estimate:
    """Return the mean over groups of their means, as `mean` does: every group weighs the same.

    A sample in which a group does not occur is the mean over the others.
    """
    defined = values.isfinite()
    kept = [group for group, one in zip(groups, defined.tolist(), strict=True) if one]
    found = values[defined].double().numpy()
    n, left_out = len(found), len(values) - len(found)
    if n < 2:
        return Estimate(float(found.sum()) if n else math.nan, math.nan, math.nan, n, left_out)
    names, codes = np.unique(kept, return_inverse=True)
    order = np.lexsort((found, codes))
    found, codes, count = found[order], codes[order], len(names)

    def over_groups(chosen: np.ndarray) -> np.ndarray:
        where = (np.arange(len(chosen))[:, None] * count + codes[chosen]).ravel()
        times = np.bincount(where, minlength=len(chosen) * count).reshape(-1, count)
        sums = np.bincount(where, found[chosen].ravel(), len(chosen) * count).reshape(-1, count)
        means = sums / np.maximum(times, 1)
        return np.asarray(means.sum(1) / (times > 0).sum(1))

    generator, step = np.random.default_rng(0), max(1, _AT_ONCE // n)
    drawn = [
        over_groups(generator.integers(0, n, (min(step, RESAMPLES - start), n)))
        for start in range(0, RESAMPLES, step)
    ]
    tail = (1 - CONFIDENCE) / 2
    value = float(over_groups(np.arange(n)[None])[0])
    if found.min() == found.max():
        return Estimate(value, value, value, n, left_out)
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return _estimate(value, low, high, n, left_out)


def _estimate(value: float, low: float, high: float, n: int, left_out: int) -> Estimate:
    """Return an estimate whose interval holds the mean, whatever was rounded."""
    return Estimate(value, min(float(low), value), max(float(high), value), n, left_out)


def _defined(values: Tensor) -> tuple[np.ndarray, int, int]:
    """Return the finite values, sorted, how many, and how many are not."""
    found = np.sort(values[values.isfinite()].double().numpy())
    return found, len(found), len(values) - len(found)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of rows `[B, N]` with rows, `[B]`; 0 where one is constant."""
    a, b = (rows.detach().cpu().double() for rows in (a, b))
    varies = _varies(a) & _varies(b)
    a, b = _centred(a), _centred(b)
    return torch.where(varies, (a * b).sum(1), 0).clamp(-1, 1)


def _centred(rows: Tensor) -> Tensor:
    """Return rows with mean 0 and length 1."""
    rows = rows - rows.mean(1, keepdim=True)
    return torch.nn.functional.normalize(rows, dim=1, eps=0)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's correlation of rows `[B, N]` with rows, `[B]`: Pearson's of their ranks.

    Equal values share their mean rank; a constant row ranks nothing, and correlates with nothing.
    """
    return pearson(ranks(a), ranks(b))


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row `[B, N]`, from 1; equal values share the mean."""
    found = []
    for row in values.detach().cpu():
        _, which, count = torch.unique(row, return_inverse=True, return_counts=True)
        last = count.cumsum(0).double()
        found.append((last - (count - 1) / 2)[which])
    return torch.stack(found)


def _varies(rows: Tensor) -> Tensor:
    low, high = rows.aminmax(dim=1)
    return high > low


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of heatmaps `[B, *image]` in [0, 1], `[B]`.

    Wang et al. 2004, with a window of 7 pixels, or of as many as there are; NaN where an axis has
    fewer than 3.
    """
    from skimage.metrics import structural_similarity as ssim

    found = []
    for one, other in zip(a.double().cpu().numpy(), b.double().cpu().numpy(), strict=True):
        window = min(7, min(one.shape) - (1 - min(one.shape) % 2))
        if window < 3:  # an axis that is too short for a window
            found.append(math.nan)
        else:
            same: Any = ssim(one, other, win_size=window, data_range=1.0)  # type: ignore[no-untyped-call]
            found.append(float(same))
    return torch.tensor(found, dtype=torch.float64)
