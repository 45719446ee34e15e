"""What a row of METRICS is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import Tensor

from limelight.metrics.statistics import Estimate, mean
from limelight.registry import Entry

if TYPE_CHECKING:
    from limelight.metrics.case import MapCase


Family = Literal["faithfulness", "localisation", "robustness", "sanity"]


Better = Literal["higher", "lower"]


#: What a metric may need besides maps and network: where the objects are, a score that has a
#: probability, and how the maps were made.
Need = Literal["objects", "probability", "recipe"]


#: What a metric read off a batch: by name, `[B]`, or a curve `[B, P]`. `value` is the metric
#: itself; NaN where it is not defined.
Readings = Mapping[str, Tensor]


class Axes(NamedTuple):
    """What curves are drawn over.

    Attributes:
        along: What is along.
        up: What is up.
        points: The places along of so many points.
    """

    along: str
    up: str
    points: Callable[[int], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Entry):
    """A row of METRICS: a pure pair of `update`, from a batch to readings, and `compute`.

    Attributes:
        family: Whether it is about what the score depends on, where the object is, what a small
            change does, or what random weights do.
        better: Which way is better.
        needs: What it needs besides maps and network.
        axes: Of a metric with curves, what they are over.
        over: How readings `[N]` become one number, given the class of each.
        lower: Parts of which lower is better, though of the metric higher is.
    """

    family: Family
    better: Better
    needs: frozenset[Need] = frozenset()
    axes: Axes | None = None
    over: Callable[[Tensor, Sequence[str], Sequence[str]], Estimate] = mean
    lower: frozenset[str] = frozenset()

    def update(self, case: MapCase) -> Readings:
        """Return what the metric reads off a batch of B images."""
        found: Readings = self.function(case, **dict(self.options))
        return {name: values.detach().cpu().double() for name, values in found.items()}

    def compute(
        self, readings: Readings, groups: Sequence[str], images: Sequence[str]
    ) -> dict[str, Estimate]:
        """Return the figures of N images: the metric's `value`, and its parts, without curves.

        Args:
            readings: Of all batches, one after the other.
            groups: The class of each image, `[N]`.
            images: Which image each reading is of, `[N]`.
        """
        parts = {name: values for name, values in readings.items() if values.ndim == 1}
        return {name: self.over(values, groups, images) for name, values in parts.items()}

    @property
    def judged(self) -> bool:
        """Whether a map has to beat chance in it."""
        return self.family in ("faithfulness", "localisation")
