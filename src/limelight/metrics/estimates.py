"""What a metric says of a method: the mean over images, beside the means of the controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from limelight.metrics.metric import Better
from limelight.metrics.statistics import Estimate


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
        judged: Whether the method has to beat chance in this metric to earn trust.
    """

    method: str
    layer: str
    metric: str
    part: str
    better: Better
    own: Estimate
    random: Estimate
    centre: Estimate
    judged: bool

    def beats(self, control: Estimate) -> bool | None:
        """Return whether the method is better than a control, and their intervals do not overlap.

        Without intervals this is None.
        """
        if math.isnan(self.own.low) or math.isnan(control.low):
            return None
        if self.better == "higher":
            return self.own.low > control.high
        return self.own.high < control.low

    @property
    def beats_chance(self) -> bool | None:
        """Whether the method beats both controls; None without intervals."""
        both = self.beats(self.random), self.beats(self.centre)
        return None if None in both else all(both)

    @property
    def ahead(self) -> bool:
        """Whether the method's mean is better than both controls' means, whatever the intervals."""
        sign = 1 if self.better == "higher" else -1
        return all(sign * self.own.value > sign * c.value for c in (self.random, self.centre))


def best_first(estimates: Sequence[MetricEstimate]) -> list[MetricEstimate]:
    """Return the estimates of one metric, best first; those without a value come last."""

    def key(estimate: MetricEstimate) -> float:
        value = estimate.own.value
        return math.inf if math.isnan(value) else -value if estimate.better == "higher" else value

    return sorted(estimates, key=key)
