"""What pictures of a measurement consist of: ranked lines, and panels of means and of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import Estimate, PairedDifference
from limelight.metrics.metric import CurveAxes
from limelight.metrics.readings import CHANCE
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
    """Return the panel of a metric's means, by method and layer; see `labelled_bars`."""
    return labelled_bars(metric, [(names[e.method, e.layer], e) for e in ranking])


def labelled_bars(metric: str, rows: Sequence[tuple[str, MetricEstimate]]) -> Bars:
    """Return the panel of a metric's means, each with a name.

    The interval of a control is that of its difference from the method, laid at the method's mean:
    the method's mark lies outside it where the two differ, which their own intervals cannot show.
    """
    means, controls = {}, {}
    for name, estimate in rows:
        means[name] = _interval(estimate.own)
        sign = 1 if estimate.better == "higher" else -1
        controls[name] = {
            f"{CHANCE}random": _beside(estimate.own.value, sign, estimate.over_random),
            f"{CHANCE}centre": _beside(estimate.own.value, sign, estimate.over_centre),
        }
    better = rows[0][1].better
    side = "right" if better == "higher" else "left"
    note = f"{better} is better; a dot {side} of both bars is better than chance"
    return Bars(metric, note, means, controls)


def curves(title: str, axes: CurveAxes, by_method: Mapping[str, Tensor]) -> Curves:
    """Return the panel of mean curves `[P]`."""
    rows = {method: values.tolist() for method, values in by_method.items()}
    x = axes.x_values(len(next(iter(rows.values()))))
    return Curves(title, axes.x_label, axes.y_label, x, rows)


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _beside(mean: float, sign: int, lead: PairedDifference) -> tuple[float, float, float]:
    """Return where a control lies beside a mean, and the interval of the difference."""
    value, *ends = (mean - sign * difference for difference in (lead.value, lead.low, lead.high))
    return value, min(ends), max(ends)
