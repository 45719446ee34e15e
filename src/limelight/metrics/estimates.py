"""What a metric says of a method: the mean over images, beside the means of the controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from limelight.metrics.holm import adjusted
from limelight.metrics.intervals import CONFIDENCE, FEWEST_IMAGES, Estimate, PairedDifference
from limelight.metrics.metric import Better
from limelight.metrics.statistics import ranks


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """What one metric says of one method at one layer, beside the same for the controls.

    Attributes:
        method: The method, with its options.
        layer: The layer at which the network was cut.
        metric: The metric, with its options.
        part: Which part of the metric; `value` is the metric itself.
        better: Whether higher or lower values are better.
        own: The mean over images of the method's own maps, with its interval.
        random: The mean over images of random maps on the same grid, with its interval.
        centre: The mean over images of a blob in the middle, with its interval.
        over_random: By how much the method is better than the random maps of the same images;
            positive where it is better, also if lower is better.
        over_centre: The same, for the blob in the middle.
        judged: Whether the method has to beat chance in this metric to earn trust.
        p: The p-value of "better than both controls", after Holm's correction for all methods and
            layers in the same table; NaN where no claim is made.
    """

    method: str
    layer: str
    metric: str
    part: str
    better: Better
    own: Estimate
    random: Estimate
    centre: Estimate
    over_random: PairedDifference
    over_centre: PairedDifference
    judged: bool
    p: float = math.nan

    @property
    def beats_chance(self) -> bool | None:
        """Whether the method beats both controls; None on too few images for any claim."""
        return None if math.isnan(self.p) else self.p < 1 - CONFIDENCE

    @property
    def lead(self) -> PairedDifference:
        """By how much the method is better than the better of the two controls."""
        return min(self.over_random, self.over_centre, key=lambda lead: lead.value)

    @property
    def ahead(self) -> bool:
        """Whether the method's mean is better than both controls' means, by chance or not."""
        sign = 1 if self.better == "higher" else -1
        return all(sign * self.own.value > sign * c.value for c in (self.random, self.centre))

    @property
    def sentence(self) -> str:
        """What the figures say, in plain words."""
        if not self.own.n:
            return f"{self.metric} is not defined for any map of {self.method}."
        on = f"{self.own.n} map{'s' if self.own.n > 1 else ''}"
        on += "" if self.own.images == self.own.n else f" of {self.own.images} images"
        means = (
            f"{self.metric} of {self.method} is {self.own.value:.3f} on {on}, where random maps "
            f"have {self.random.value:.3f} and a blob in the centre has {self.centre.value:.3f}"
        )
        if not (self.over_random.n and self.over_centre.n):
            return f"{means}."
        lead = self.lead
        control = "random maps" if lead is self.over_random else "the blob"
        direction = "better" if lead.value >= 0 else "worse"
        by = f"{abs(lead.value):.3f} {direction} than {control}"
        if not math.isnan(lead.low):
            ends = sorted(abs(end) for end in (lead.low, lead.high))
            if lead.low < 0 < lead.high:
                by += f", and from {-lead.low:.3f} worse to {lead.high:.3f} better is possible"
            else:
                by += f" (between {ends[0]:.3f} and {ends[1]:.3f})"
        return f"{means}. Image by image it is {by}, on {lead.above:.0%} of them: {self._finding}."

    @property
    def _finding(self) -> str:
        if self.beats_chance is None:
            return f"too few images for a claim, which takes {FEWEST_IMAGES}"
        if self.beats_chance:
            return "it beats chance"
        return "that it beats chance was not shown"


def with_claims(estimates: Sequence[MetricEstimate]) -> list[MetricEstimate]:
    """Return estimates with their p-values: Holm's correction over each metric and part.

    To beat chance a method has to beat both controls, so the larger of its two p-values counts. A
    control that is not beaten, whose difference is 0 or negative, has the p-value 1.
    """
    claimed = dict[int, MetricEstimate]()
    numbered = sorted(enumerate(estimates), key=lambda pair: (pair[1].metric, pair[1].part))
    for _, table in groupby(numbered, key=lambda pair: (pair[1].metric, pair[1].part)):
        rows = list(table)
        p_values = adjusted([_p_of_both(estimate) for _, estimate in rows])
        for (number, estimate), p in zip(rows, p_values, strict=True):
            claimed[number] = replace(estimate, p=p)
    return [claimed[number] for number in range(len(estimates))]


def _p_of_both(estimate: MetricEstimate) -> float:
    """Return the p-value of "better than both controls"; NaN on too few images."""
    both = estimate.over_random, estimate.over_centre
    if min(lead.images for lead in both) < FEWEST_IMAGES:
        return math.nan
    return max(lead.p if lead.value > 0 else 1.0 for lead in both)


def best_first(estimates: Sequence[MetricEstimate]) -> list[MetricEstimate]:
    """Return the estimates of one metric, best first; those without a value come last."""

    def key(estimate: MetricEstimate) -> float:
        value = estimate.own.value
        return math.inf if math.isnan(value) else -value if estimate.better == "higher" else value

    return sorted(estimates, key=key)


def mean_ranks(rows: Sequence[Sequence[MetricEstimate]]) -> list[float]:
    """Return the mean rank over the judged metrics of each candidate, 1 for the best.

    Values that differ by rounding alone share their mean rank; a metric that could not be measured
    counts as the last.
    """
    metrics = dict.fromkeys(e.metric for estimates in rows for e in estimates if e.judged)
    losses = [[_loss(estimates, metric) for estimates in rows] for metric in metrics]
    if not losses:
        return [0.0] * len(rows)
    return list(ranks(torch.tensor(losses, dtype=torch.float64, device="cpu")).mean(0).tolist())


def _loss(estimates: Sequence[MetricEstimate], metric: str) -> float:
    """Return a number that is lower for better values of a metric; infinity without one."""
    value = next((estimate for estimate in estimates if estimate.metric == metric), None)
    if value is None or math.isnan(value.own.value):
        return math.inf
    loss = -value.own.value if value.better == "higher" else value.own.value
    return float(f"{loss:.5g}")
