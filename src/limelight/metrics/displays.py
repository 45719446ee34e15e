"""What a notebook shows of a measurement and of a recommendation: sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import Estimate
from limelight.notebook import Table, TablesView, tables_html

#: How many candidates are shown.
_MOST_CANDIDATES = 14


def measurement_html(
    rankings: Mapping[str, Sequence[MetricEstimate]],
    names: Mapping[tuple[str, str], str],
    sentence: str,
    notes: Sequence[str],
) -> str:
    """Return the means of each metric, best first, beside those of the controls.

    Args:
        rankings: By metric, the estimates.
        names: What to call each method at a layer.
        sentence: The verdict.
        notes: What could not be measured, and which maps show nothing.
    """
    tables = [
        Table(
            caption=f"{metric} ({ranking[0].better} is better)",
            columns=(
                "method",
                "beats chance",
                "mean",
                "95 % interval",
                "random maps",
                "centre blob",
                "maps",
            ),
            rows=[_row(names[each.method, each.layer], each) for each in ranking],
            words=2,
            strong=frozenset(n for n, each in enumerate(ranking) if each.beats_chance),
        )
        for metric, ranking in rankings.items()
        if ranking
    ]
    return tables_html(TablesView(sentence, tables, notes=notes, folded=_folded(notes)))


def recommendation_html(
    sentence: str,
    python: str,
    rows: Sequence[tuple[str, float, float, Sequence[MetricEstimate]]],
    evidence: Sequence[str],
) -> str:
    """Return a recommendation with its line of Python, its candidates and its evidence.

    Args:
        sentence: The recommendation.
        python: The line of Python that makes the map; "" for none.
        rows: The candidates, best first: name, rank, seconds, and what each metric says of it.
        evidence: A sentence for each figure.
    """
    metrics = list(dict.fromkeys(each.metric for row in rows for each in _judged(row[3])))
    table = Table(
        caption="candidates, best first",
        columns=("candidate", "mean rank", *metrics, "seconds a map"),
        rows=[
            [
                name,
                f"{rank:.1f}",
                *(_of_metric(estimates, metric) for metric in metrics),
                f"{seconds:.2f}",
            ]
            for name, rank, seconds, estimates in rows[:_MOST_CANDIDATES]
        ],
        strong=frozenset({0} if python else ()),
    )
    tables = [table] if rows else []
    return tables_html(
        TablesView(sentence, tables, python, notes=evidence, folded="On the other photos")
    )


def _row(name: str, estimate: MetricEstimate) -> list[str]:
    own = estimate.own
    interval = "" if math.isnan(own.low) else f"{own.low:.3f} to {own.high:.3f}"
    controls = [_mean(estimate.random), _mean(estimate.centre)]
    return [name, _claim(estimate), _mean(own), interval, *controls, str(own.n)]


def _claim(estimate: MetricEstimate) -> str:
    """Return whether a method beats chance, in a word or two."""
    if not estimate.judged:
        return "-"
    if estimate.beats_chance is None:
        return "too few images"
    return "yes" if estimate.beats_chance else "not shown"


def _mean(estimate: Estimate) -> str:
    return "-" if math.isnan(estimate.value) else f"{estimate.value:.3f}"


def _judged(estimates: Iterable[MetricEstimate]) -> list[MetricEstimate]:
    return [each for each in estimates if each.judged and each.part == "value"]


def _of_metric(estimates: Sequence[MetricEstimate], metric: str) -> str:
    return next((_mean(each.own) for each in _judged(estimates) if each.metric == metric), "-")


def _folded(notes: Sequence[str]) -> str:
    """Return what is seen of many notes."""
    return f"{len(notes)} remarks" if len(notes) > 3 else ""
