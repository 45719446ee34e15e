"""Means over images and differences between means, with intervals that hold for few images too.

Two rules make all intervals. Numbers have Student's interval; its variance is that of the mean
when each image is left out in turn, so maps of one image count together. Yes-or-no readings have
the exact interval of a proportion, and a difference of two is made from both.
`benchmarks/intervals.py` simulates how often the intervals hold; its table is in docs/measure.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

#: Which share of all samples have an interval that holds the true mean.
CONFIDENCE = 0.95


#: With fewer images no method is said to beat chance, and with fewer no two methods to differ: the
#: simulated error of these claims would be more than half as high again as their nominal rate.
FEWEST_IMAGES, FEWEST_IMAGES_OF_A_PAIR = 8, 80


#: Readings that differ by no more than this share of themselves differ by rounding alone.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, and its interval.

    Attributes:
        value: The mean; NaN without any image.
        low: Lower end of the 95 % interval; NaN for fewer than two images.
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


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference of two readings of the same image, and its interval.

    Attributes:
        value: The mean of `a - b`; NaN without any image that has both.
        low: Lower end of the 95 % interval; NaN for fewer than two images.
        high: Its upper end.
        p: The smallest share alpha for which the interval of 1 - alpha does not hold 0; NaN without
            an interval.
        n: How many maps have both readings.
        images: How many images those n maps are of.
        above: On which share of the maps a is above b.
        below: On which share of the maps a is below b.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    images: int
    above: float
    below: float

    def __str__(self) -> str:
        """Return value and interval, with a sign."""
        if math.isnan(self.low):
            return f"{self.value:+.3f}"
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def mean(
    values: Tensor,
    groups: Sequence[str] = (),
    images: Sequence[str] | None = None,
    *,
    over_groups: bool = False,
    yes_or_no: bool = False,
) -> Estimate:
    """Return the mean of readings `[N]` with its 95 % interval; NaN and infinity are left out.

    Numbers: `m +- t s`, t Student's quantile for I - 1 degrees of freedom, I the number of images,
    and `s^2 = (I - 1) / I sum_i (m_i - mean m_i)^2` with `m_i` the mean without image i (the
    jackknife; Efron and Stein 1981). With one map per image `s` is the standard error. Yes-or-no
    readings: the exact interval of a proportion (Clopper and Pearson 1934), of as many independent
    maps as have the same variance (Korn and Graubard 1998).

    Args:
        values: `[N]`.
        groups: The class of each map, `[N]`; read by `over_groups` alone.
        images: Which image each map is of, `[N]`; None when no two are of the same.
        over_groups: Return the mean over groups of their means, so that each group counts the same.
        yes_or_no: Whether readings are 1 or 0 (a tie may lie between). Readings that all are 0 or
            1 are taken for such in any case: eight times 0 does not show that the mean is 0.
    """
    series = values.double().numpy()[None]
    defined = np.isfinite(series[0])
    left_out = int((~defined).sum())
    if not defined.any():
        return Estimate(math.nan, math.nan, math.nan, 0, left_out)
    means = _Means.of(series, defined, groups if over_groups else (), images)
    yes_or_no = yes_or_no or _are_bits(series[:, defined])
    low, high = means.interval(0, 1 - CONFIDENCE, yes_or_no=yes_or_no)
    return Estimate(float(means.values[0]), low, high, means.n, left_out, means.images)


def difference(
    first: Tensor,
    second: Tensor,
    groups: Sequence[str] = (),
    images: Sequence[str] | None = None,
    *,
    over_groups: bool = False,
    yes_or_no: bool = False,
) -> PairedDifference:
    """Return the mean of `first - second`, paired: readings `[N]` of the same N maps.

    Numbers: the interval of `mean`, of the differences. Yes-or-no readings: made of the intervals
    `[l, u]` of both means, `d - sqrt((a - l_a)^2 - 2 r (a - l_a)(u_b - b) + (u_b - b)^2)` and the
    mirror image of it, r the correlation of the two means (Newcombe 1998, method 10; Zou and Donner
    2008), here with exact intervals. Where all readings agree, they differ on 0 of I images; its
    exact limit is the interval's, to either side.

    Args:
        first, second: `[N]`; a map that lacks one of them is left out.
        groups, images, over_groups, yes_or_no: As in `mean`.
    """
    series = np.stack([first.double().numpy(), second.double().numpy()])
    defined = np.isfinite(series).all(0)
    if not defined.any():
        return PairedDifference(math.nan, math.nan, math.nan, math.nan, 0, 0, math.nan, math.nan)
    yes_or_no = yes_or_no or _are_bits(series[:, defined])
    series = np.where(defined, series, 0)  # infinity has no difference from itself
    differences = series[0] - series[1]
    is_rounding = np.abs(differences) <= _ROUNDING * np.abs(series).max(0)
    differences = np.where(is_rounding, 0, differences)
    above, below = (float((sign * differences[defined] > 0).mean()) for sign in (1, -1))
    averaged = series if yes_or_no else differences[None]
    means = _Means.of(averaged, defined, groups if over_groups else (), images)
    value = float(means.values[0] - means.values[1] if yes_or_no else means.values[0])
    if means.images < 2:
        low = high = p = math.nan
    elif yes_or_no and above == below == 0:
        # Readings that agree on n images may differ on others: with r = 1 nothing would be left.
        _, most = _exact_interval(0.0, means.images, 1 - CONFIDENCE)
        low, high, p = -most, most, 1.0
    elif yes_or_no:
        low, high = means.interval_of_shares(1 - CONFIDENCE)
        p = _smallest_alpha(means.interval_of_shares)
    else:
        low, high = means.interval(0, 1 - CONFIDENCE, yes_or_no=False)
        p = means.student_p()
    return PairedDifference(value, low, high, p, means.n, means.images, above, below)


@dataclass(frozen=True, eq=False)
class _Means:
    """Means of S series of readings of the same maps.

    Attributes:
        values: The means, `[S]`.
        without: The means without each image, `[S, I]`.
        n: How many maps there are.
    """

    values: np.ndarray
    without: np.ndarray
    n: int

    @classmethod
    def of(
        cls,
        series: np.ndarray,
        defined: np.ndarray,
        groups: Sequence[str],
        images: Sequence[str] | None,
    ) -> _Means:
        """Return the means of series `[S, N]` over the defined maps; over groups if there are any.

        They do not depend on the order of the maps, to the last digit.
        """
        readings = series[:, defined]
        group = _numbers(groups or [""] * len(defined), defined)
        image = _numbers(range(len(defined)) if images is None else images, defined)
        if images is None:
            order = np.lexsort((*readings, group))
        else:
            order = np.lexsort((*readings, group, image))
        readings, group = readings[:, order], group[order]
        image = np.arange(len(order)) if images is None else image[order]
        count, clusters = int(group.max()) + 1, int(image.max()) + 1
        sizes = np.bincount(group)
        sums = np.array([[math.fsum(row[group == g]) for g in range(count)] for row in readings])
        group_means = sums / sizes
        values = np.array([math.fsum(row) for row in group_means]) / count
        if clusters < 2:
            return cls(values, np.empty((len(values), 1)), len(order))
        # The maps of one image in one group leave the group's mean together.
        pair, member = np.unique(image * count + group, return_inverse=True)
        pair_image, pair_group = np.divmod(pair, count)
        pair_sums = np.stack([np.bincount(member, row) for row in readings])
        rest = sizes[pair_group] - np.bincount(member)
        rest_means = (sums[:, pair_group] - pair_sums) / np.maximum(rest, 1)
        changes = np.where(rest > 0, rest_means, 0) - group_means[:, pair_group]
        changed = np.stack([np.bincount(pair_image, row) for row in changes])
        groups_left = count - np.bincount(pair_image, rest == 0)
        without = (values[:, None] * count + changed) / groups_left
        constant = readings.min(1) == readings.max(1)
        without[constant] = values[constant, None]  # rounding is no variance
        return cls(values, without, len(order))

    @property
    def images(self) -> int:
        """How many images the maps are of."""
        return int(self.without.shape[1])

    @cached_property
    def covariance(self) -> np.ndarray:
        """The covariance of the means, `[S, S]`, by the jackknife."""
        changes = self.without - self.values[:, None]  # exactly 0 where no image changes the mean
        deviations = changes - changes.mean(1, keepdims=True)
        covariance: np.ndarray = (self.images - 1) / self.images * deviations @ deviations.T
        return covariance

    def interval(self, number: int, alpha: float, *, yes_or_no: bool) -> tuple[float, float]:
        """Return the interval of a mean that misses the truth with the share alpha."""
        value = float(self.values[number])
        if self.images < 2:
            return math.nan, math.nan
        if yes_or_no:
            return _exact_interval(value, self._independent_maps(number), alpha)
        quantile = _student_quantile(self.images - 1, 1 - alpha / 2)
        half = quantile * math.sqrt(self.covariance[number, number])
        return value - half, value + half

    def interval_of_shares(self, alpha: float) -> tuple[float, float]:
        """Return the interval of the difference of two yes-or-no means, the first less the second.

        It misses the truth with the share alpha.
        """
        (low_a, high_a), (low_b, high_b) = (
            self.interval(number, alpha, yes_or_no=True) for number in (0, 1)
        )
        a, b = map(float, self.values)
        covariance = self.covariance
        deviation = math.sqrt(covariance[0, 0] * covariance[1, 1])
        r = covariance[0, 1] / deviation if deviation > 0 else 0.0
        return (
            max(-1.0, a - b - length_of_difference(a - low_a, high_b - b, r)),
            min(1.0, a - b + length_of_difference(high_a - a, b - low_b, r)),
        )

    def student_p(self) -> float:
        """Return the smallest alpha for which the interval of the first mean does not hold 0."""
        value, error = float(self.values[0]), math.sqrt(self.covariance[0, 0])
        if error == 0:
            return 1.0 if value == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.images - 1, -abs(value) / error))

    def _independent_maps(self, number: int) -> float:
        """Return how many independent yes-or-no maps have a mean of the same variance.

        They are at most as many as there are maps. Where no image changes the mean, the variance
        says nothing, and each image counts as one.
        """
        share, variance = float(self.values[number]), self.covariance[number, number]
        alone = share * (1 - share) / (self.n - 1)
        if variance <= _ROUNDING**2 * alone:
            return self.images
        of_maps, of_images = (
            _student_quantile(count - 1, (1 + CONFIDENCE) / 2) for count in (self.n, self.images)
        )
        design = (of_maps / of_images) ** 2
        return float(self.n * min(1.0, alone / variance * design))


def _are_bits(readings: np.ndarray) -> bool:
    """Return whether all readings are 0 or 1."""
    return bool(np.isin(readings, (0, 1)).all())


def _numbers(names: Sequence[object], defined: np.ndarray) -> np.ndarray:
    """Return a number for each different name of the defined maps."""
    kept = [str(name) for name, keep in zip(names, defined, strict=True) if keep]
    _, numbers = np.unique(kept, return_inverse=True)
    return np.asarray(numbers)


def _student_quantile(freedom: int, share: float) -> float:
    """Return the quantile of Student's distribution with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _exact_interval(share: float, n: float, alpha: float) -> tuple[float, float]:
    """Return the exact interval of a proportion: Clopper and Pearson 1934, by the beta quantile."""
    from scipy.special import betaincinv

    hits = share * n
    low = betaincinv(hits, n - hits + 1, alpha / 2) if share > 0 else 0.0
    high = betaincinv(hits + 1, n - hits, 1 - alpha / 2) if share < 1 else 1.0
    return float(low), float(high)


def length_of_difference(a: float, b: float, r: float) -> float:
    """Return the length of the sum of two vectors of lengths a and b with correlation -r."""
    return math.sqrt(max(a**2 - 2 * r * a * b + b**2, 0.0))


#: The smallest alpha that is looked for.
_LEAST_ALPHA = 1e-15


def _smallest_alpha(interval: Callable[[float], tuple[float, float]]) -> float:
    """Return the smallest alpha for which an interval does not hold 0, by bisection."""

    def holds_zero(alpha: float) -> bool:
        low, high = interval(alpha)
        return low <= 0 <= high

    if holds_zero(1.0):
        return 1.0
    if not holds_zero(_LEAST_ALPHA):
        return _LEAST_ALPHA
    below, above = math.log(_LEAST_ALPHA), 0.0
    for _ in range(50):
        middle = (below + above) / 2
        if holds_zero(math.exp(middle)):
            below = middle
        else:
            above = middle
    return math.exp(above)
