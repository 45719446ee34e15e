"""What `choose` found: the map to use, with its evidence, or why none is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight.errors import InputError
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.metrics import storage
from limelight.metrics.candidates import MapCandidate
from limelight.metrics.comparisons import MapsDifference
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.learned import Learned
from limelight.metrics.measurement import Measurement
from limelight.metrics.sanity import SanityVerdict, verdict_of
from limelight.pipeline import Skipped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate, and how it did on the photos that it was chosen on.

    Attributes:
        candidate: The method, and where it cuts.
        rank: Its mean rank over the metrics, 1 for the best.
        estimates: What each metric says of it.
        seconds: How long one map takes.
        sanity: Whether random weights change its maps; None where that was not tried, because a
            better candidate was found.
        dropped: Whether it was given up before all photos were measured, for lack of time.
    """

    candidate: MapCandidate
    rank: float
    estimates: tuple[MetricEstimate, ...]
    seconds: float
    sanity: SanityVerdict | None = None
    dropped: bool = False

    @property
    def ahead(self) -> bool:
        """Whether its mean is better than both controls in every metric, by chance or not."""
        return all(estimate.ahead for estimate in self.estimates if estimate.judged)


@dataclass(frozen=True, eq=False, repr=False)
class Recommendation:
    """The map to use on a network, or that none is recommended, and the evidence.

    Attributes:
        best: The map to use; None when none is recommended.
        sentence: The recommendation and its evidence, in plain words.
        learned: Whether the network has learned anything; None if it was not run.
        ranking: All candidates, best first, on the photos that they were chosen on.
        chosen_on: What was measured on those photos.
        confirmed_on: What was measured on the other photos, of the winner alone.
        sanity: How the winner's maps of the other photos change with random weights.
        beside_default: For each metric, by how much the winner leads the map that `explain` makes
            when nothing is named, on the other photos; empty where the two are the same.
        seconds_of_a_run: How long one run of the network takes.
        skipped: The methods that cannot work on this network.
        failed: The photos that could not be used, each with the reason.
    """

    best: MapCandidate | None
    sentence: str
    learned: Learned | None
    ranking: tuple[RankedCandidate, ...] = ()
    chosen_on: Measurement = field(default_factory=Measurement)
    confirmed_on: Measurement = field(default_factory=Measurement)
    sanity: Measurement = field(default_factory=Measurement)
    beside_default: tuple[MapsDifference, ...] = ()
    seconds_of_a_run: float = float("nan")
    skipped: tuple[Skipped, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Return the recommended map, and the number of candidates."""
        return f"Recommendation({self._headline}; {len(self.ranking)} candidates)"

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `explain`: `limelight.explain(model, images, **found.arguments)`."""
        return {} if self.best is None else self.best.arguments

    @property
    def python(self) -> str:
        """The line of Python that makes the recommended map; "" without one."""
        if self.best is None:
            return ""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"limelight.explain(model, images{arguments})"

    @property
    def evidence(self) -> list[str]:
        """A sentence for each figure of the photos that had no part in the choice."""
        names = {
            (e.method, e.layer): row.candidate.name for row in self.ranking for e in row.estimates
        }
        found = [
            replace(estimate, method=names[estimate.method, estimate.layer]).sentence
            for estimate in self.confirmed_on.estimates()
            if estimate.judged
        ]
        for estimate in self.sanity.estimates():
            if estimate.part == "value":
                found.append(
                    f"With random weights its maps keep a likeness of {estimate.own}, where 1 is "
                    f"no change and 0.5 the limit: it {_SANITY_WORDS[verdict_of(estimate)]}."
                )
        reasons = {gap.metric: gap.reason for gap in self.confirmed_on.unmeasured}
        found += [f"{metric} could not be measured: {why}" for metric, why in reasons.items()]
        return [*found, *(difference.sentence for difference in self.beside_default)]

    def rows(self) -> list[dict[str, Any]]:
        """Return the candidates as plain values, one dict each, best first."""
        return [
            {
                "candidate": row.candidate.name,
                "method": str(row.candidate.method),
                "layers": " ".join(row.candidate.layers),
                "rank": row.rank,
                "seconds": row.seconds,
                "sanity": row.sanity,
                "dropped": row.dropped,
                **{
                    f"{metric} {name}": value
                    for metric in self.chosen_on.metrics
                    for name, value in _figures(_of_metric(row.estimates, metric)).items()
                },
            }
            for row in self.ranking
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "recommended": None if self.best is None else self.best.name,
            "sentence": self.sentence,
            "arguments": self.arguments,
            "python": self.python,
            "evidence": self.evidence,
            "learned": None if self.learned is None else self.learned._asdict(),
            "candidates": self.rows(),
            "confirmed": self.confirmed_on.rows(),
            "sanity": self.sanity.rows(),
            "beside_default": [storage.difference_row(pair) for pair in self.beside_default],
            "seconds_of_a_run": self.seconds_of_a_run,
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "failed": [{"photo": name, "error": error} for name, error in self.failed],
        }

    def figure(self, *, style: FigureStyle = USUAL_STYLE) -> Figure:
        """Draw for each metric the winner on the other photos, and below it the best candidates.

        Raises:
            InputError: Nothing was measured.
        """
        from limelight import render
        from limelight.metrics import panels

        if not self.ranking:
            raise InputError("Nothing was measured, so there is nothing to draw.")
        best = list(enumerate(self.ranking[:_MOST_DRAWN], 1))
        drawn = list[render.Bars | render.Curves]()
        for metric in self.chosen_on.metrics:
            rows = list[tuple[str, MetricEstimate]]()
            for confirmed in self.confirmed_on.estimates():
                if confirmed.metric == metric and confirmed.part == "value":
                    rows.append(("the winner on other photos", confirmed))
            for number, row in best:
                estimate = _of_metric(row.estimates, metric)
                if estimate is not None:
                    rows.append((f"{number}. {_label(row.candidate)}", estimate))
            drawn.append(panels.labelled_bars(metric, rows))
        return render.measurement_figure(drawn, title=self._headline, style=style)

    @property
    def _headline(self) -> str:
        """The recommendation without its evidence, which the figure shows."""
        if self.best is None:
            return "Nothing is recommended"
        return f"Use {self.best.name}"

    def _repr_html_(self) -> str:
        """Show the recommendation in a notebook, with its evidence and its candidates."""
        from limelight.metrics import displays

        rows = [(row.candidate.name, row.rank, row.seconds, row.estimates) for row in self.ranking]
        return displays.recommendation_html(self.sentence, self.python, rows, self.evidence)

    def save(self, path: str | Path, *, style: FigureStyle = USUAL_STYLE) -> Path:
        """Write everything (.json), the table of candidates (.csv), or a picture.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        return storage.save(path, self.as_dict, self.rows, lambda: self.figure(style=style))


_SANITY_WORDS = {
    "passes": "passes the test of sanity",
    "fails": "fails the test of sanity",
    "unclear": "neither passes nor fails the test of sanity",
}


#: How many candidates are drawn.
_MOST_DRAWN = 14


#: How long a candidate's name in the figure may be, without its number.
_LABEL_LETTERS = 24


def _figures(estimate: MetricEstimate | None) -> dict[str, float | None]:
    """Return a metric's means of a candidate and of the controls, and of how many maps."""
    if estimate is None:
        return dict.fromkeys(("value", "random", "centre", "n"))
    return {
        "value": estimate.own.value,
        "random": estimate.random.value,
        "centre": estimate.centre.value,
        "n": estimate.own.n,
    }


def _label(candidate: MapCandidate) -> str:
    """Return a name of a candidate that fits beside a panel: of a long path, its end."""
    if len(candidate.layers) > 1:
        return f"{candidate.method} fused"
    name = candidate.name
    if len(name) <= _LABEL_LETTERS or not candidate.layers:
        return name
    method = str(candidate.method)[: _LABEL_LETTERS // 2]
    return f"{method} …{candidate.where[len(method) + 2 - _LABEL_LETTERS :]}"


def _of_metric(estimates: Sequence[MetricEstimate], metric: str) -> MetricEstimate | None:
    return next((estimate for estimate in estimates if estimate.metric == metric), None)
