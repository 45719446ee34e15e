"""What a sheet ranks below its maps; to know it takes no package that draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricRanking:
    """Methods ranked by one metric.

    Attributes:
        title: The metric.
        note: Whether lower or higher is better.
        lines: For each method its name, its value, the values of the random and the centre map, and
            whether it beats both.
    """

    title: str
    note: str
    lines: Sequence[tuple[str, str, str, str, bool]]
