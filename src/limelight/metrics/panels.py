"""What pictures of a measurement consist of: ranked lines, and panels of means and of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.metric import CurveAxes
from limelight.metrics.readings import CHANCE
from limelight.metrics.statistics import Estimate
from limelight.render import Bars, Curves, MetricRanking


def ranking_lines(
    metric: str, ranking: Sequence[MetricEstimate], names: Mapping[tuple[str, str], str]
) -> MetricRanking:
    """Return the methods of a ranking as lines to be printed."""
    lines = [
        (
            names[estimate.method, estimate.layer],
            f"{estimate.own.value:.3f}",
            f"{estimate.random.value:.3f}",
            f"{estimate.centre.value:.3f}",
            estimate.ahead if estimate.beats_chance is None else estimate.beats_chance,
        )
        for estimate in ranking
    ]
    return MetricRanking(metric, f"{ranking[0].better} is better", lines)


def bars(
    metric: str, ranking: Sequence[MetricEstimate], names: Mapping[tuple[str, str], str]
) -> Bars:
    """Return the panel of a metric's means."""
    means, controls = {}, {}
    for estimate in ranking:
        name = names[estimate.method, estimate.layer]
        means[name] = _interval(estimate.own)
        controls[name] = {
            f"{CHANCE}random": _interval(estimate.random),
            f"{CHANCE}centre": _interval(estimate.centre),
        }
    return Bars(metric, f"{ranking[0].better} is better", means, controls)


def curves(title: str, axes: CurveAxes, by_method: Mapping[str, Tensor]) -> Curves:
    """Return the panel of mean curves `[P]`."""
    rows = {method: values.tolist() for method, values in by_method.items()}
    x = axes.x_values(len(next(iter(rows.values()))))
    return Curves(title, axes.x_label, axes.y_label, x, rows)


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
