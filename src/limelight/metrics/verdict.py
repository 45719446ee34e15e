"""Which method earned trust, and a sentence about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from limelight.metrics.estimates import MetricEstimate, best_first

#: How many names a sentence lists.
_MOST_NAMES = 6


#: With fewer images a bootstrap interval is so narrow that chance beats chance too often.
FEWEST_IMAGES = 8


class Verdict(NamedTuple):
    """Which method earned trust.

    Attributes:
        method: The best of the methods that earned trust; None when none did.
        trusted: All that did, best first; none on fewer than 8 images.
        sentence: The same as a sentence.
    """

    method: str | None
    trusted: tuple[str, ...]
    sentence: str


class _Standing(NamedTuple):
    """How one method did.

    Attributes:
        name: The method's name, with its layer if it has several.
        won: In how many metrics it beat chance.
        metrics: How many metrics there are.
        rank: Its mean rank over the metrics.
    """

    name: str
    won: int
    metrics: int
    rank: float

    @property
    def won_all(self) -> bool:
        """Whether it won in every metric."""
        return self.won == self.metrics


def judge(
    estimates: Sequence[MetricEstimate], names: Mapping[tuple[str, str], str], n: int
) -> Verdict:
    """Return which method earned trust, or that none did; see `Measurement.verdict`.

    Args:
        estimates: All estimates.
        names: What to call each method at a layer.
        n: How many explanations were measured.
    """
    judged = [estimate for estimate in estimates if estimate.judged]
    if not judged:
        return Verdict(None, (), "Nothing was measured in which a map has to beat chance.")
    if not any(estimate.own.n for estimate in judged):
        return Verdict(None, (), "No metric is defined on these images: no object in them, say.")
    without_intervals = all(estimate.beats_chance is None for estimate in judged)
    images = max(estimate.own.images for estimate in judged)
    standings = _standings(judged, names, by_mean=without_intervals)
    trusted = tuple(standing.name for standing in standings if standing.won_all)
    sentence = _sentence(standings, without_intervals=without_intervals, n=n, images=images)
    if without_intervals or images < FEWEST_IMAGES or not trusted:
        return Verdict(None, (), sentence)
    return Verdict(trusted[0], trusted, sentence)


def _standings(
    judged: Sequence[MetricEstimate], names: Mapping[tuple[str, str], str], *, by_mean: bool
) -> list[_Standing]:
    """Return how each method did, best first; with `by_mean`, by means without intervals."""
    metrics = dict.fromkeys(estimate.metric for estimate in judged)
    rankings = [best_first([e for e in judged if e.metric == metric]) for metric in metrics]
    standings = []
    for key, name in names.items():
        of_method = [e for e in judged if (e.method, e.layer) == key]
        if not of_method:
            continue
        won = sum(e.ahead if by_mean else bool(e.beats_chance) for e in of_method)
        ranks = [ranking.index(e) for ranking in rankings for e in of_method if e in ranking]
        standings.append(_Standing(name, won, len(metrics), sum(ranks) / len(ranks)))
    return sorted(standings, key=lambda standing: (standing.metrics - standing.won, standing.rank))


def _sentence(
    standings: Sequence[_Standing], *, without_intervals: bool, n: int, images: int
) -> str:
    best = standings[0]
    explanations = f"{n} explanations" if n == images else f"{n} explanations of {images} images"
    trusted = [standing.name for standing in standings if standing.won_all]
    in_all = {1: "the one metric", 2: "both metrics"}.get(
        best.metrics, f"all {best.metrics} metrics"
    )
    in_some = f"{best.won} of {best.metrics} metric{'s' if best.metrics > 1 else ''}"
    if without_intervals:
        result = f"{_name_list(trusted)} did better than random and centre in {in_all}"
        if not trusted:
            result = f"{best.name} did better than random and centre in {in_some}"
        return (
            f"{'On one image' if images == 1 else f'On {images} images'} nothing has an interval, "
            f"so nothing earned trust yet; {result}. Measure a folder of photos."
        )
    if images < FEWEST_IMAGES:
        result = f"{_name_list(trusted)} beat random and centre in {in_all}"
        if not trusted:
            result = f"{best.name} beat random and centre in {in_some}"
        return (
            f"{images} images are too few to earn trust on, as intervals of fewer than "
            f"{FEWEST_IMAGES} are too narrow; {result}. Measure more photos."
        )
    if not trusted:
        return (
            f"No method earned trust on this network in {explanations}: the nearest, "
            f"{best.name}, beat random and centre, intervals apart, in {in_some}."
        )
    others = f"; so did {_name_list(trusted[1:])}" if len(trusted) > 1 else ", alone"
    return (
        f"{best.name} earned trust on this network in {explanations}: it beat random and centre "
        f"in {in_all}, intervals apart{others}."
    )


def _name_list(names: Sequence[str]) -> str:
    """Return names with commas between them; only the first of many."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} more"
