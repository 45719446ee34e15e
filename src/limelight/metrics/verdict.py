"""Which method earned trust, and a sentence about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from limelight.metrics.estimates import MetricEstimate, mean_ranks
from limelight.metrics.intervals import FEWEST_IMAGES

#: How many names a sentence lists.
_MOST_NAMES = 6


class Verdict(NamedTuple):
    """Which method earned trust.

    Attributes:
        method: The best of the methods that earned trust; None when none did.
        trusted: All that did, best first; none on too few images.
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
    images = max(estimate.own.images for estimate in judged)
    too_few = all(estimate.beats_chance is None for estimate in judged)
    standings = _standings(judged, names, by_mean=too_few)
    trusted = tuple(standing.name for standing in standings if standing.won_all)
    if too_few:
        return Verdict(None, (), _sentence_of_few(standings, images))
    sentence = _sentence(standings, n=n, images=images)
    return Verdict(trusted[0], trusted, sentence) if trusted else Verdict(None, (), sentence)


def _standings(
    judged: Sequence[MetricEstimate], names: Mapping[tuple[str, str], str], *, by_mean: bool
) -> list[_Standing]:
    """Return how each method did, best first; `by_mean`, by its means alone."""
    metrics = {estimate.metric for estimate in judged}
    rows = list[tuple[str, list[MetricEstimate]]]()
    for key, name in names.items():
        of_method = [e for e in judged if (e.method, e.layer) == key]
        if of_method:
            rows.append((name, of_method))
    standings = []
    ranks = mean_ranks([of_method for _, of_method in rows])
    for (name, of_method), rank in zip(rows, ranks, strict=True):
        won = sum(e.ahead if by_mean else bool(e.beats_chance) for e in of_method)
        standings.append(_Standing(name, won, len(metrics), rank))
    return sorted(standings, key=lambda standing: (standing.metrics - standing.won, standing.rank))


def _sentence_of_few(standings: Sequence[_Standing], images: int) -> str:
    """Return the verdict on too few images for any claim."""
    best = standings[0]
    ahead = [standing.name for standing in standings if standing.won_all]
    result = f"{_name_list(ahead)} did better than random and centre in {_all_metrics(best)}"
    if not ahead:
        result = f"{best.name} did better than random and centre in {_some_metrics(best)}"
    return (
        f"{images} image{' is' if images == 1 else 's are'} too few to earn trust on, which takes "
        f"{FEWEST_IMAGES}; {result}, by chance or not. Measure "
        f"{'a folder of photos' if images == 1 else 'more photos'}."
    )


def _sentence(standings: Sequence[_Standing], *, n: int, images: int) -> str:
    best = standings[0]
    explanations = f"{n} explanations" if n == images else f"{n} explanations of {images} images"
    trusted = [standing.name for standing in standings if standing.won_all]
    if not trusted:
        return (
            f"No method earned trust on this network in {explanations}: the nearest, "
            f"{best.name}, beat random and centre in {_some_metrics(best)}."
        )
    others = f"; so did {_name_list(trusted[1:])}" if len(trusted) > 1 else ", alone"
    return (
        f"{best.name} earned trust on this network in {explanations}: image by image it beat "
        f"random and centre in {_all_metrics(best)}{others}."
    )


def _all_metrics(standing: _Standing) -> str:
    names = {1: "the one metric", 2: "both metrics"}
    return names.get(standing.metrics, f"all {standing.metrics} metrics")


def _some_metrics(standing: _Standing) -> str:
    return f"{standing.won} of {standing.metrics} metric{'s' if standing.metrics > 1 else ''}"


def _name_list(names: Sequence[str]) -> str:
    """Return names with commas between them; only the first of many."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} more"
