"""The type of a row of METRICS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import Tensor

from limelight.metrics.intervals import Estimate, PairedDifference, difference, mean
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
        over_groups: Whether the mean is over classes, of the mean of each class.
        yes_or_no: Whether the readings are 1 or 0.
        lower_parts: The parts of which lower is better, though higher is better for the metric.
    """

    family: MetricFamily
    better: Better
    needs: frozenset[MetricNeed] = frozenset()
    axes: CurveAxes | None = None
    over_groups: bool = False
    yes_or_no: bool = False
    lower_parts: frozenset[str] = frozenset()

    def update(self, case: MapCase) -> Readings:
        """Return what the metric reads off a batch of B images."""
        readings: Readings = self.function(case, **dict(self.options))
        return {name: values.detach().cpu().double() for name, values in readings.items()}

    def mean(
        self, values: Tensor, groups: Sequence[str], images: Sequence[str], part: str = "value"
    ) -> Estimate:
        """Return the mean over N maps, with its interval.

        Args:
            values: The readings `[N]` of all batches, one after the other.
            groups: The class of each map, `[N]`.
            images: Which image each map is of, `[N]`.
            part: Which part of the metric the readings are of.
        """
        return mean(
            values,
            groups,
            images,
            over_groups=self.over_groups,
            yes_or_no=self.yes_or_no and part == "value",
        )

    def lead(
        self,
        values: Tensor,
        others: Tensor,
        groups: Sequence[str],
        images: Sequence[str],
        part: str = "value",
    ) -> PairedDifference:
        """Return by how much readings `[N]` are better than others of the same maps, paired.

        It is positive where they are better, also if lower is better.
        """
        first, second = (others, values) if self.better_of(part) == "lower" else (values, others)
        return difference(
            first,
            second,
            groups,
            images,
            over_groups=self.over_groups,
            yes_or_no=self.yes_or_no and part == "value",
        )

    def better_of(self, part: str) -> Better:
        """Return whether higher or lower values of a part are better."""
        return "lower" if part in self.lower_parts else self.better

    @property
    def judged(self) -> bool:
        """Whether a method has to beat chance in this metric to earn trust."""
        return self.family in ("faithfulness", "localisation")
