"""Oracles of intervals, by plain loops: the jackknife, the exact interval, Newcombe's method 10.

Nothing of limelight is used here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def grouped_mean(values: Sequence[float], groups: Sequence[str]) -> float:
    """Return the mean over groups of their means."""
    by_group: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        by_group.setdefault(group, []).append(value)
    return statistics.fmean(statistics.fmean(of_group) for of_group in by_group.values())


def without_each(
    values: Sequence[float], groups: Sequence[str], images: Sequence[str]
) -> list[float]:
    """Return the mean without each image."""
    found = []
    for left_out in sorted(set(images)):
        kept = [i for i, image in enumerate(images) if image != left_out]
        found.append(grouped_mean([values[i] for i in kept], [groups[i] for i in kept]))
    return found


def jackknife_covariance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the covariance of two means from those without each image; Efron and Stein 1981."""
    a, b, count = statistics.fmean(first), statistics.fmean(second), len(first)
    products = [(x - a) * (y - b) for x, y in zip(first, second, strict=True)]
    return (count - 1) / count * math.fsum(products)


def jackknife_interval(
    values: Sequence[float], groups: Sequence[str], images: Sequence[str], alpha: float = 0.05
) -> tuple[float, float]:
    """Return the mean plus and minus Student's quantile times the jackknife's standard error."""
    means = without_each(values, groups, images)
    error = math.sqrt(jackknife_covariance(means, means))
    middle = grouped_mean(values, groups)
    half = float(stats.t.ppf(1 - alpha / 2, len(means) - 1)) * error
    return middle - half, middle + half


def exact_interval(share: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return Clopper and Pearson's interval, by the beta distribution: n need not be whole."""
    low = float(stats.beta.ppf(alpha / 2, share * n, n - share * n + 1)) if share > 0 else 0.0
    high = float(stats.beta.isf(alpha / 2, share * n + 1, n - share * n)) if share < 1 else 1.0
    return low, high


def interval_of_share(
    values: Sequence[float], groups: Sequence[str], images: Sequence[str], alpha: float = 0.05
) -> tuple[float, float]:
    """Return the exact interval for as many maps as have the same variance; Korn, Graubard 1998."""
    share, n, clusters = grouped_mean(values, groups), len(values), len(set(images))
    if len(set(values)) == 1:
        return exact_interval(share, clusters, alpha)
    means = without_each(values, groups, images)
    effect = jackknife_covariance(means, means) / (share * (1 - share) / (n - 1))
    ratio = float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, clusters - 1))
    return exact_interval(share, min(n, n / effect * ratio**2), alpha)


def joined(
    a: float, b: float, ends: Sequence[tuple[float, float]], r: float
) -> tuple[float, float]:
    """Return the interval of a - b from both intervals; Newcombe 1998, Zou and Donner 2008."""
    (low_a, high_a), (low_b, high_b) = ends

    def length(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * r * x * y + y * y))

    low = a - b - length(a - low_a, high_b - b)
    high = a - b + length(high_a - a, b - low_b)
    return max(-1.0, low), min(1.0, high)


def newcombe(first: Any, second: Any, alpha: float = 0.05) -> tuple[float, float]:
    """Return the interval of a difference of two shares of the same images, by their 2 x 2 table.

    `r = (n11 n00 - n10 n01) / sqrt(n1. n0. n.1 n.0)`, without the continuity correction. Where all
    agree, they differ on 0 of n images, which may be up to the exact limit, in either direction.
    """
    first, second, n = np.asarray(first), np.asarray(second), len(first)
    if (first == second).all():
        most = float(stats.binomtest(0, n).proportion_ci(1 - alpha, method="exact").high)
        return -most, most
    ends = []
    for series in (first, second):
        test = stats.binomtest(int(series.sum()), n).proportion_ci(1 - alpha, method="exact")
        ends.append((float(test.low), float(test.high)))
    table = [[int(((first == i) & (second == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    (both, one), (other, neither) = table
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    r = (both * neither - one * other) / math.sqrt(margins) if margins else 0.0
    return joined(float(first.mean()), float(second.mean()), ends, r)


def difference_of_shares(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    images: Sequence[str],
    *,
    alpha: float = 0.05,
) -> tuple[float, float]:
    """Return the same for several maps of an image: r from the jackknife of both means."""
    a, b = (without_each(series, groups, images) for series in (first, second))
    product = jackknife_covariance(a, a) * jackknife_covariance(b, b)
    r = jackknife_covariance(a, b) / math.sqrt(product) if product > 0 else 0.0
    ends = [interval_of_share(series, groups, images, alpha) for series in (first, second)]
    return joined(grouped_mean(first, groups), grouped_mean(second, groups), ends, r)
