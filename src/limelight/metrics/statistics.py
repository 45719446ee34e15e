"""Means with their intervals, and correlations that are defined for ties and constant maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: How many bootstrap samples are drawn for an interval, and which share of their means it holds.
RESAMPLES, CONFIDENCE = 2000, 0.95


#: How many numbers are drawn at once.
_MOST_DRAWN = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, and its interval.

    Attributes:
        value: The mean; NaN without any image.
        low: Lower end of the 95 % bootstrap interval; NaN for fewer than two images.
        high: Its upper end.
        n: How many maps the mean is over.
        left_out: For how many maps the metric is not defined: no object in the image, say.
        images: How many images those n maps are of.
    """

    value: float
    low: float
    high: float
    n: int
    left_out: int = 0
    images: int = 0

    def __str__(self) -> str:
        """Return value and interval."""
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(
    values: Tensor, groups: Sequence[str] = (), images: Sequence[str] | None = None
) -> Estimate:
    """Return the mean of values `[N]` with its bootstrap interval; NaN and infinity are left out.

    The interval holds the middle 95 % of the means of 2000 samples, drawn with replacement (Efron
    1979). Images are drawn, not values: all values of an image come together. The draws are seeded,
    and do not depend on the order of the values.

    Args:
        values: `[N]`.
        groups: Not read: all values weigh the same.
        images: Which image each value is of; None when no two are of the same.
    """
    del groups
    return _estimate(values, [""] * len(values), images)


def mean_over_groups(
    values: Tensor, groups: Sequence[str], images: Sequence[str] | None = None
) -> Estimate:
    """Return the mean over groups of their means, as `mean` does: every group weighs the same.

    The mean of a sample in which a group does not occur is that over the other groups.
    """
    return _estimate(values, groups, images)


def _estimate(values: Tensor, groups: Sequence[str], images: Sequence[str] | None) -> Estimate:
    defined = values.isfinite()
    numbers, n = values[defined].double().numpy(), int(defined.sum())
    left_out = len(values) - n
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0, left_out)
    kept = defined.tolist()
    group_names = [name for name, keep in zip(groups, kept, strict=True) if keep]
    _, group = np.unique(group_names, return_inverse=True)
    all_images = map(str, range(len(values))) if images is None else images
    image_names = [name for name, keep in zip(all_images, kept, strict=True) if keep]
    image = _image_numbers(image_names, numbers)
    count, clusters = int(group.max()) + 1, int(image.max()) + 1
    group_means = [math.fsum(numbers[group == g]) / (group == g).sum() for g in range(count)]
    value = math.fsum(group_means) / count
    if clusters < 2:
        return Estimate(value, math.nan, math.nan, n, left_out, clusters)
    if numbers.min() == numbers.max():
        return Estimate(value, value, value, n, left_out, clusters)
    member = np.eye(count)[group]
    generator, step = np.random.default_rng(0), max(1, _MOST_DRAWN // n)
    resampled = []
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        chosen = generator.integers(0, clusters, (rows, clusters))
        where = (np.arange(rows)[:, None] * clusters + chosen).ravel()
        times = np.bincount(where, minlength=rows * clusters).reshape(rows, clusters)[:, image]
        sums, counts = (times * numbers) @ member, times @ member
        means = sums / np.maximum(counts, 1)
        resampled.append(means.sum(1) / (counts > 0).sum(1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
    # Rounding must not put the mean outside the interval.
    ends = min(float(low), value), max(float(high), value)
    return Estimate(value, *ends, n, left_out, clusters)


def _image_numbers(images: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Return the number of the image of each value; it does not depend on the order of values."""
    _, image = np.unique(images, return_inverse=True)
    sums, sizes = np.bincount(image, values), np.bincount(image)
    number = np.empty(len(sums), dtype=int)
    number[np.lexsort((sums, sizes))] = np.arange(len(sums))
    return np.asarray(number[image])


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
