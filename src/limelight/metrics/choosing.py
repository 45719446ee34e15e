"""How a map is chosen: measured on some photos, put to the test of sanity, confirmed on others."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from torch import nn

from limelight.errors import LayerError, MethodError, MetricError, TargetError
from limelight.layers.resolved import resolve
from limelight.metrics import choice_reasons
from limelight.metrics.candidate_maps import CandidateMaps, ChoiceSpec
from limelight.metrics.candidates import (
    MapCandidate,
    all_candidates,
    stages_of,
)
from limelight.metrics.comparisons import MapsDifference, pairwise
from limelight.metrics.estimates import MetricEstimate, mean_ranks
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.learned import SHUFFLES, Learned, has_learned
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_sources import LoadedPhoto, PhotoSource, halves
from limelight.metrics.recommendation import RankedCandidate, Recommendation
from limelight.metrics.sanity import SanityVerdict, verdict_of
from limelight.options import Options
from limelight.pipeline import Skipped
from limelight.runtime.unwrap import unwrap

#: How many photos the tests of sanity and of learning look at.
_SANITY_PHOTOS, _LEARNED_PHOTOS = 12, 8


#: How many of the best candidates are put to the test of sanity, until one passes.
_MOST_TRIED = 5


#: Which share of the budget may be spent until the photos to choose on are measured, and until the
#: test of sanity is done; the rest is for the confirmation.
_SHARE_TO_CHOOSE, _SHARE_OF_SANITY = 0.6, 0.8


#: If so many photos have nothing of the target, the target is wrong rather than the photos.
_PHOTOS_WITHOUT_TARGET = 3


#: While time is short the worse half is given up, until so few are left.
_FEWEST_CANDIDATES = 3


class Choosing:
    """One choice. `run` does the work step by step; `recommendation` may be asked at any time."""

    def __init__(
        self, model: nn.Module, photos: Sequence[PhotoSource], spec: ChoiceSpec, options: Options
    ) -> None:
        """Part the photos in two halves.

        Raises:
            InputError: There are fewer than 16 different photos.
            MetricError: By none of the metrics a map can be better than chance.
            UnknownNameError, LayerError: The network has no such layer.
        """
        if not any(metric.judged for metric in spec.metrics):
            raise MetricError(
                f"A map cannot be chosen by {', '.join(map(str, spec.metrics))} alone: good maps "
                "need not be ahead of chance in it. Add a metric of faithfulness or localisation."
            )
        for layer in spec.layers:
            resolve(unwrap(model), layer)
        self._to_choose, self._to_confirm = halves(photos)
        self._model, self._spec, self._options = model, spec, options
        self._started = time.perf_counter()
        self._learned: Learned | None = None
        self._seconds, self._run_seconds = dict[MapCandidate, float](), math.nan
        self._maps = CandidateMaps(model, spec, options)
        self._chosen_on, self._confirmed_on = Measurement(), Measurement()
        self._default_on, self._sanity = Measurement(), Measurement()
        self._sane = dict[MapCandidate, SanityVerdict]()
        self._dropped = list[MapCandidate]()
        self._winner: MapCandidate | None = None
        self._nothing = "The choice was not finished."

    def run(self) -> Iterator[None]:
        """Choose, and yield after every photo that was measured.

        1. Make every map of one photo: what cannot be done at all is said before the long work.
        2. Is it shown that the network has learned anything?
        3. Measure all candidates on the photos to choose on.
        4. Take the best that is ahead of chance and whose maps random weights change.
        5. Confirm on the other photos that it beats chance, and that it passes again.

        Raises:
            MethodError: None of the candidates can be made.
            TargetError: None of the first photos has what is to be explained.
        """
        # 1. The candidates.
        candidates = self._possible_candidates()
        # 2. The network.
        if not self._has_learned():
            return
        # 3. Their figures.
        yield from self._measure_all(candidates)
        # 4. The winner.
        self._choose_winner()
        if self._winner is None:
            return
        # 5. The confirmation.
        yield from self._confirm(self._winner)
        self._judge(self._winner)

    def recommendation(self) -> Recommendation:
        """Return what was found so far."""
        best = self._winner if not self._nothing else None
        sentence = f"Nothing is recommended. {self._nothing}"
        if best is not None:
            seconds = self._seconds.get(best, math.nan)
            sentence = choice_reasons.praise(
                best.name, self._confirmed_on, self._sanity, seconds, self._run_seconds
            )
        return Recommendation(
            best,
            sentence,
            self._learned,
            tuple(self._ranking()),
            self._chosen_on,
            self._confirmed_on,
            self._sanity,
            tuple(self._beside_default()),
            self._run_seconds,
            tuple(self._maps.skipped.values()),
            tuple(self._maps.failed.items()),
        )

    # Measuring

    def _possible_candidates(self) -> list[MapCandidate]:
        """Return the candidates of which a map can be made, tried on the first photo that allows.

        None of the photos may be usable; then there are none.
        """
        without_target = list[TargetError]()
        for photo in self._to_choose:
            loaded = self._maps.load(photo)
            if loaded is None:
                continue
            try:
                maps, skipped = self._maps.explained(loaded, self._all_candidates(loaded))
                self._maps.skipped |= skipped
            except TargetError as error:
                without_target.append(error)
                if len(without_target) == _PHOTOS_WITHOUT_TARGET:
                    raise
                continue
            if not maps:
                gaps = self._maps.skipped.items()
                reasons = "\n".join(f"  {name}: {gap.reason}" for name, gap in gaps)
                raise MethodError(f"None of the candidates can be made on this network:\n{reasons}")
            return list(maps)
        if without_target:
            raise without_target[0]
        return []

    def _all_candidates(self, loaded: LoadedPhoto) -> list[MapCandidate]:
        """Return the candidates, as far as there are layers to cut at.

        Raises:
            LayerError: No layer is named, and the network has none, which all methods need.
        """
        at_layers = [method for method in self._spec.methods if method.place == "layer"]
        layers = list(self._spec.layers)
        if at_layers and not layers:
            try:
                layers = stages_of(self._model, loaded.inputs, self._options)
            except LayerError as error:
                if len(at_layers) == len(self._spec.methods):
                    raise
                for name in map(str, at_layers):
                    self._maps.skipped[name] = Skipped(name, None, str(error))
        return all_candidates(self._spec.methods, layers)

    def _has_learned(self) -> bool:
        """Find out whether the network has learned anything; false if that ends the choice."""
        inputs = [loaded.inputs for loaded in self._maps.loaded(self._to_choose, _LEARNED_PHOTOS)]
        for number, learned in enumerate(
            has_learned(self._model, inputs, self._options, seed=self._spec.seed) if inputs else ()
        ):
            self._learned = learned
            if self._options.progress:
                self._options.progress("comparing with shuffled weights", number, SHUFFLES)
            if self._time_left(_SHARE_TO_CHOOSE) <= 0:
                break
        if self._learned is None or self._learned.is_shown is not False:
            return True
        self._nothing = self._learned.sentence
        return False

    def _measure_all(self, candidates: list[MapCandidate]) -> Iterator[None]:
        """Measure the candidates on the photos to choose on, for as long as the budget lasts."""
        measured = 0
        for number, photo in enumerate(self._to_choose):
            if self._time_left(_SHARE_TO_CHOOSE) <= 0 or not candidates:
                return
            start = time.perf_counter()
            mapped = self._maps.mapped(photo, candidates)
            if mapped is not None:
                loaded, maps = mapped
                for candidate in candidates:
                    if candidate not in maps:  # it cannot be made of every photo
                        self._maps.keys.pop(candidate, None)
                candidates = list(maps)
                self._chosen_on += self._maps.measured(loaded, list(maps.values()))
                measured += 1
                needed = (time.perf_counter() - start) * (len(self._to_choose) - number - 1)
                if measured == 1:  # by now everything that is done once has been done
                    self._run_seconds, self._seconds = self._maps.times(loaded, candidates)
                if measured >= _FEWEST_CANDIDATES and needed > self._time_left(_SHARE_TO_CHOOSE):
                    candidates = self._better_half(candidates)
            yield

    def _better_half(self, candidates: Sequence[MapCandidate]) -> list[MapCandidate]:
        """Give the worse half of the candidates up, but keep a few."""
        kept = max(_FEWEST_CANDIDATES, math.ceil(len(candidates) / 2))
        best = [row.candidate for row in self._ranking() if row.candidate in candidates]
        self._dropped += best[kept:]
        return best[:kept]

    # Choosing

    def _ranking(self) -> list[RankedCandidate]:
        """Return the candidates, best first; those that were given up come last.

        Among candidates of the same rank the one that was named first comes first.
        """
        by_key = dict[tuple[str, str], list[MetricEstimate]]()
        for estimate in self._chosen_on.estimates():
            if estimate.part == "value":
                by_key.setdefault((estimate.method, estimate.layer), []).append(estimate)
        known = [c for c, key in self._maps.keys.items() if key in by_key]
        in_race = [candidate for candidate in known if candidate not in self._dropped]
        rows = list[RankedCandidate]()
        for group in (in_race, [c for c in reversed(self._dropped) if c in known]):
            ranks = mean_ranks([by_key[self._maps.keys[candidate]] for candidate in group])
            of_group = [
                RankedCandidate(
                    candidate,
                    rank + len(rows),
                    tuple(by_key[self._maps.keys[candidate]]),
                    self._seconds.get(candidate, math.nan),
                    self._sane.get(candidate),
                    candidate in self._dropped,
                )
                for candidate, rank in zip(group, ranks, strict=True)
            ]
            rows += sorted(of_group, key=lambda row: row.rank)
        return rows

    def _choose_winner(self) -> None:
        """Take the best candidate that is ahead of chance and passes the test of sanity."""
        ranking = [row for row in self._ranking() if not row.dropped]
        n = max((row.own.images for row in self._chosen_on.estimates()), default=0)
        if n < FEWEST_IMAGES:
            self._nothing = choice_reasons.few(n, in_time=self._spec.budget is not None)
            return
        metrics = max(len(row.estimates) for row in ranking)
        ahead = [row for row in ranking if row.ahead and len(row.estimates) == metrics]
        if not ahead:
            self._nothing = choice_reasons.none_ahead(len(ranking), n)
            return
        tried = dict[str, SanityVerdict]()
        for row in ahead[:_MOST_TRIED]:
            randomised, count = Measurement(), 0
            for photo in self._to_choose:
                if self._time_left(_SHARE_OF_SANITY) <= 0:
                    self._nothing = choice_reasons.NO_TIME_FOR_SANITY
                    return
                mapped = self._maps.mapped(photo, [row.candidate])
                if mapped is not None:
                    randomised += self._maps.randomised(*mapped)
                    count += 1
                if count == _SANITY_PHOTOS:
                    break
            verdict = self._sane[row.candidate] = _verdict(randomised)
            if verdict == "passes":
                self._winner = row.candidate
                return
            tried[row.candidate.name] = verdict
        self._nothing = choice_reasons.none_sane(tried)

    # Confirming

    def _confirm(self, winner: MapCandidate) -> Iterator[None]:
        """Measure the winner, and the default map, on photos that had no part in the choice."""
        count = 0
        for photo in self._to_confirm:
            if self._time_left(1) <= 0:
                return
            mapped = self._maps.mapped(photo, [winner])
            if mapped is not None:
                loaded, maps = mapped
                self._confirmed_on += self._maps.measured(loaded, list(maps.values()))
                for default in self._maps.default_map(loaded):
                    if (default.method, default.layer) != self._maps.keys[winner]:
                        self._default_on += self._maps.measured(loaded, [default])
                if count < _SANITY_PHOTOS:
                    self._sanity += self._maps.randomised(loaded, maps)
                count += 1
            yield

    def _judge(self, winner: MapCandidate) -> None:
        """Say what keeps the winner from being recommended, if anything does."""
        judged = [estimate for estimate in self._confirmed_on.estimates() if estimate.judged]
        images = min((estimate.own.images for estimate in judged), default=0)
        lost = [estimate for estimate in judged if not estimate.beats_chance]
        verdict = _verdict(self._sanity)
        if images < FEWEST_IMAGES:
            self._nothing = choice_reasons.unconfirmed(
                winner.name, images, in_time=self._spec.budget is not None
            )
        elif lost:
            self._nothing = choice_reasons.lost(winner.name, lost)
        elif verdict != "passes":
            self._nothing = choice_reasons.not_sane(winner.name, verdict)
        else:
            self._nothing = ""

    def _beside_default(self) -> Iterator[MapsDifference]:
        """Yield by how much the winner leads the default map, for each metric."""
        for key, maps in self._confirmed_on.readings.items():
            for other, default in self._default_on.readings.items():
                if other.metric == key.metric and self._winner is not None:
                    name = f"the default, {other.method} at {other.layer},"
                    rows = [(self._winner.name, maps), (name, default)]
                    yield from pairwise(key.metric, rows)

    # Time

    def _time_left(self, share: float) -> float:
        """Return how many seconds of a share of the budget are left."""
        if self._spec.budget is None:
            return math.inf
        return share * self._spec.budget - (time.perf_counter() - self._started)


def _verdict(randomised: Measurement) -> SanityVerdict:
    """Return whether the maps of one candidate pass the test of sanity."""
    if not randomised.readings:
        return "unclear"
    return verdict_of(randomised.ranking("parameter-randomisation")[0])
