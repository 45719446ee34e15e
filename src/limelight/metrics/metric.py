"""The type of a row of METRICS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import Tensor

from limelight.metrics.statistics import Estimate, mean
from limelight.registry import Entry

if TYPE_CHECKING:
    from limelight.metrics.case import MapCase


MetricFamily = Literal["faithfulness", "localisation", "complexity", "robustness", "sanity"]


Better = Literal["higher", "lower"]


#: What a metric may need besides maps and network: `objects`, the places of the objects;
#: `probability`, a score that has one; `recipe`, how the maps were made.
MetricNeed = Literal["objects", "probability", "recipe"]


#: What a metric read off a batch, by name: numbers `[B]`, or curves `[B, P]`. `value` is the metric
#: itself; it is NaN where the metric is not defined.
Readings = Mapping[str, Tensor]


class CurveAxes(NamedTuple):
    """The axes over which the curves of a metric are drawn.

    Attributes:
        x_label: What the horizontal axis shows.
        y_label: What the vertical axis shows.
        x_values: Returns the horizontal positions of the points of a curve, given their number.
    """

    x_label: str
    y_label: str
    x_values: Callable[[int], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Entry):
    """A row of METRICS: `update` reads a batch of maps, `compute` averages all readings.

    Attributes:
        family: What it is about: what the score depends on (faithfulness), where the object is
            (localisation), how much of the image is lit (complexity), small changes of the image
            (robustness), or random weights and other classes (sanity).
        better: Whether higher or lower values are better.
        needs: What it needs besides maps and network.
        axes: The axes of its curves; None for a metric without curves.
        average: Returns the estimate from readings `[N]`, given the class and the image of each.
        lower_parts: The parts of which lower is better, though higher is better for the metric.
    """

    family: MetricFamily
    better: Better
    needs: frozenset[MetricNeed] = frozenset()
    axes: CurveAxes | None = None
    average: Callable[[Tensor, Sequence[str], Sequence[str]], Estimate] = mean
    lower_parts: frozenset[str] = frozenset()

    def update(self, case: MapCase) -> Readings:
        """Return what the metric reads off a batch of B images."""
        readings: Readings = self.function(case, **dict(self.options))
        return {name: values.detach().cpu().double() for name, values in readings.items()}

    def compute(
        self, readings: Readings, groups: Sequence[str], images: Sequence[str]
    ) -> dict[str, Estimate]:
        """Return the estimates over N maps: the metric's `value`, and its parts, without curves.

        Args:
            readings: The readings of all batches, one after the other.
            groups: The class of each map, `[N]`.
            images: Which image each map is of, `[N]`.
        """
        parts = {name: values for name, values in readings.items() if values.ndim == 1}
        return {name: self.average(values, groups, images) for name, values in parts.items()}

    @property
    def judged(self) -> bool:
        """Whether a method has to beat chance in this metric to earn trust."""
        return self.family in ("faithfulness", "localisation")
