"""How faithful one map of one photo is, by the library's metrics, beside the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from limelight.errors import unknown
from limelight.explanation import Explanation
from limelight.metrics import METRICS
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.metric import Metric
from limelight.metrics.run import QUICK_METRICS, measure_all
from limelight.translations.languages import Language
from limelight.web.answers.maps import shown_label
from limelight.web.answers.numbers import finite
from limelight.web.requests import FaithfulnessRequest
from limelight.web.serving.turns import Turns
from limelight.web.subjects.looks import Look
from limelight.web.wording import library_sentence, say

#: What one row says: better than both controls, than one, than none; or that this metric is not one
#: in which a map has to beat chance, or could not be measured.
RowVerdict = Literal["both", "random", "centre", "none", "not-judged", "not-measured"]


def offered_metrics(language: Language) -> list[dict[str, Any]]:
    """Return the metrics that need no objects marked on the photo, as plain values."""
    return [
        {
            "name": name,
            "family": metric.family,
            "better": metric.better,
            "formula": metric.formula,
            "paper": metric.paper,
            "use": say(f"page.metrics.{name}", language),
            "quick": name in QUICK_METRICS,
        }
        for name, metric in _offered().items()
    ]


def find_metrics(names: Sequence[str]) -> list[Metric]:
    """Return metrics by their names; the quick ones if there are none.

    They are taken without options, as those may ask for any number of runs.

    Raises:
        UnknownNameError: There is no such metric, or it needs to be told where the objects are.
    """
    offered = _offered()
    for name in names:
        if name not in offered:
            raise unknown("metric", name, list(offered), f"There are {', '.join(offered)}.")
    return [offered[name] for name in dict.fromkeys(names or QUICK_METRICS)]


def measure_faithfulness(
    look: Look, request: FaithfulnessRequest, turns: Turns, language: Language
) -> dict[str, Any]:
    """Measure a map by metrics one after the other, and return all rows.

    Each row is also told as soon as it is measured, `{"row": ...}`; before it, `{"progress": ...}`
    says how many runs of it are done, and which of how many metrics it is.

    Raises:
        UnknownNameError: As `find_metrics`.
        LimelightError: As `Look.explain`.
    """
    metrics = find_metrics(request.metrics)
    explanation = look.explain(request, turns.progress)
    rows = list[dict[str, Any]]()
    for number, metric in enumerate(metrics):

        def progress(_task: str, done: int, total: int, at: int = number) -> None:
            turns.tell(
                {
                    "progress": {
                        "task": metrics[at].name,
                        "done": done,
                        "total": total,
                        "number": at,
                        "count": len(metrics),
                    }
                }
            )
            turns.check()

        progress(metric.name, 0, 0)
        rows.append(_row(look, explanation, metric, progress, language))
        turns.check()  # `measure` takes any error for a metric that cannot be had
        turns.tell({"row": rows[-1]})
    judged = [row for row in rows if row["verdict"] in ("both", "random", "centre", "none")]
    return {
        "done": {
            "rows": rows,
            "judged": len(judged),
            "won": sum(row["verdict"] == "both" for row in judged),
            "method": explanation.method,
            "layer": explanation.layer,
            "label": shown_label(explanation.label[0], language),
        }
    }


def _offered() -> dict[str, Metric]:
    return {name: metric for name, metric in METRICS.items() if "objects" not in metric.needs}


def _row(
    look: Look, explanation: Explanation, metric: Metric, progress: Any, language: Language
) -> dict[str, Any]:
    """Return what one metric says of a map and of the controls on its grid, as plain values."""
    options = replace(look.served.options, progress=progress)
    model = look.served.network.model
    measured = measure_all(model, look.inputs, explanation, options, metrics=[metric])
    row: dict[str, Any] = {
        "metric": metric.name,
        "family": metric.family,
        "better": metric.better,
        "use": say(f"page.metrics.{metric.name}", language),
        "formula": metric.formula,
    }
    if measured.unmeasured:
        why = library_sentence(measured.unmeasured[0].reason, language)
        return {**row, "own": None, "random": None, "centre": None} | {
            "verdict": "not-measured",
            "why": why,
        }
    estimate = next(each for each in measured.estimates() if each.part == "value")
    own, random, centre = (
        finite(each.value) for each in (estimate.own, estimate.random, estimate.centre)
    )
    return {**row, "own": own, "random": random, "centre": centre, "verdict": _verdict(estimate)}


def _verdict(estimate: MetricEstimate) -> RowVerdict:
    if not estimate.own.n:
        return "not-measured"
    if not estimate.judged:
        return "not-judged"
    over_random, over_centre = (
        lead.value > 0 for lead in (estimate.over_random, estimate.over_centre)
    )
    if over_random and over_centre:
        return "both"
    return "random" if over_random else "centre" if over_centre else "none"
