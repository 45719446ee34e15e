"""Which method earned trust: figures beside chance, and a sentence about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from limelight.metrics.statistics import Estimate

#: So many names are told in a sentence.
_LISTED = 6


#: Of fewer images a bootstrap interval is so narrow that chance beats chance too often.
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure: what one metric says of one method at one layer, beside what chance has.

    Attributes:
        method: The method, with its options.
        layer: The layer it was cut at.
        metric: The metric, with its options.
        part: Which of its figures: `value` is the metric itself.
        better: Which way is better.
        own: The mean over images, with its interval.
        random: The same of random maps on the same grid.
        centre: The same of a blob in the middle.
        judged: Whether a map has to beat chance in this metric.
    """

    method: str
    layer: str
    metric: str
    part: str
    better: Literal["higher", "lower"]
    own: Estimate
    random: Estimate
    centre: Estimate
    judged: bool

    def beats(self, control: Estimate) -> bool | None:
        """Say whether it is better than a control, the intervals apart; None without intervals."""
        if math.isnan(self.own.low) or math.isnan(control.low):
            return None
        if self.better == "higher":
            return self.own.low > control.high
        return self.own.high < control.low

    @property
    def beats_chance(self) -> bool | None:
        """Whether it is better than both controls, the intervals apart; None without intervals."""
        both = self.beats(self.random), self.beats(self.centre)
        return None if None in both else all(both)

    @property
    def ahead(self) -> bool:
        """Whether its mean alone is better than those of both controls."""
        sign = 1 if self.better == "higher" else -1
        return all(sign * self.own.value > sign * c.value for c in (self.random, self.centre))


def ranked(figures: Sequence[Measured]) -> list[Measured]:
    """Return figures of one metric, best first; what has no value last."""

    def key(one: Measured) -> float:
        value = one.own.value
        return math.inf if math.isnan(value) else -value if one.better == "higher" else value

    return sorted(figures, key=key)


class Verdict(NamedTuple):
    """Which method earned trust.

    Attributes:
        method: The best of those that did; None when none did.
        trusted: All that did, best first; none on fewer than 8 images.
        sentence: The same, for people to read.
    """

    method: str | None
    trusted: tuple[str, ...]
    sentence: str


class _Standing(NamedTuple):
    """How one method did: what to call it, in how many metrics it won, of how many, its place."""

    name: str
    won: int
    metrics: int
    place: float

    @property
    def everywhere(self) -> bool:
        """Whether it won in every metric."""
        return self.won == self.metrics


def judge(figures: Sequence[Measured], names: Mapping[tuple[str, str], str], n: int) -> Verdict:
    """Say which method earned trust, or that none did; see `Measurement.verdict`.

    Args:
        figures: All figures.
        names: What to call each method at a layer.
        n: How many images were measured.
    """
    judged = [one for one in figures if one.judged]
    if not judged:
        return Verdict(None, (), "Nothing was measured in which a map has to beat chance.")
    metrics = dict.fromkeys(one.metric for one in judged)
    ranking = [ranked([one for one in judged if one.metric == metric]) for metric in metrics]
    single = all(one.beats_chance is None for one in judged)
    if not any(one.own.n for one in judged):
        return Verdict(None, (), "No metric is defined on these images: no object in them, say.")
    images = max(one.own.images for one in judged)
    standings = []
    for key, name in names.items():
        own = [one for one in judged if (one.method, one.layer) == key]
        if not own:
            continue
        won = sum(one.ahead if single else bool(one.beats_chance) for one in own)
        places = [row.index(one) for row in ranking for one in own if one in row]
        standings.append(_Standing(name, won, len(metrics), sum(places) / len(places)))
    standings.sort(key=lambda one: (one.metrics - one.won, one.place))
    trusted = tuple(one.name for one in standings if one.everywhere)
    sentence = _sentence(standings, single=single, n=n, images=images)
    if single or images < FEWEST or not trusted:
        return Verdict(None, (), sentence)
    return Verdict(trusted[0], trusted, sentence)


def _sentence(standings: Sequence[_Standing], *, single: bool, n: int, images: int) -> str:
    best = standings[0]
    told_n = f"{n} explanations" if n == images else f"{n} explanations of {images} images"
    trusted = [one.name for one in standings if one.everywhere]
    over = {1: "the one metric", 2: "both metrics"}.get(best.metrics, f"all {best.metrics} metrics")
    some = f"{best.won} of {best.metrics} metric{'s' if best.metrics > 1 else ''}"
    if single:
        told = f"{_listed(trusted)} did better than random and centre in {over}"
        if not trusted:
            told = f"{best.name} did better than random and centre in {some}"
        return (
            f"{'On one image' if images == 1 else f'On {images} images'} nothing has an interval, "
            f"so nothing earned trust yet; {told}. Measure a folder of photos."
        )
    if images < FEWEST:
        told = f"{_listed(trusted)} beat random and centre in {over}"
        if not trusted:
            told = f"{best.name} beat random and centre in {some}"
        return (
            f"{images} images are too few to earn trust on, as intervals of fewer than {FEWEST} "
            f"are too narrow; {told}. Measure more photos."
        )
    if not trusted:
        return (
            f"No method earned trust on this network in {told_n}: the nearest, "
            f"{best.name}, beat random and centre, intervals apart, in {some}."
        )
    others = f"; so did {_listed(trusted[1:])}" if len(trusted) > 1 else ", alone"
    return (
        f"{best.name} earned trust on this network in {told_n}: it beat random and centre "
        f"in {over}, intervals apart{others}."
    )


def _listed(names: Sequence[str]) -> str:
    """Return names with commas between them; of many the first."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[: _LISTED - 1])} and {len(names) - _LISTED + 1} more"
