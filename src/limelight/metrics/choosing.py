"""How a map is chosen: measured on some photos, put to the test of sanity, confirmed on others."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import nn

from limelight.errors import MethodError, PhotoError
from limelight.explanation import Explanation
from limelight.layers import INPUT
from limelight.methods import Method
from limelight.metrics import METRICS, Metric
from limelight.metrics.candidates import (
    MapCandidate,
    all_candidates,
    explain_by,
    seconds_of,
    stages_of,
)
from limelight.metrics.comparisons import MapsDifference, pairwise
from limelight.metrics.estimates import MetricEstimate, mean_ranks
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.learned import SHUFFLES, Learned, has_learned
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_sources import LoadedPhoto, PhotoSource, halves
from limelight.metrics.readings import ReadingsKey
from limelight.metrics.recommendation import RankedCandidate, Recommendation
from limelight.metrics.run import measure_all, measure_randomised
from limelight.metrics.sanity import SanityVerdict, verdict_of
from limelight.options import Options
from limelight.pipeline import Skipped, explain_layers
from limelight.runtime.cut import cut_layers

#: How many photos the tests of sanity and of learning look at.
_SANITY_PHOTOS, _LEARNED_PHOTOS = 12, 8


#: How many of the best candidates are put to the test of sanity, until one passes.
_MOST_TRIED = 5


#: Which share of the budget may be spent until the photos to choose on are measured.
_SHARE_TO_CHOOSE = 0.6


#: While time is short the worse half is given up, until so few are left.
_FEWEST_CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class ChoiceSpec:
    """What to choose among, and by what.

    Attributes:
        methods: The methods.
        layers: Where to cut; empty for the stages of the network.
        metrics: What the maps are measured by.
        steps: How many stages the test of sanity has.
        budget: How many seconds it may take; None for as long as it takes.
        seed: The seed of shuffled and random weights.
    """

    methods: Sequence[Method]
    metrics: Sequence[Metric]
    layers: Sequence[str] = ()
    steps: int = 5
    budget: float | None = None
    seed: int = 0


class Choosing:
    """One choice. `run` does the work step by step; `recommendation` may be asked at any time."""

    def __init__(
        self, model: nn.Module, photos: Sequence[PhotoSource], spec: ChoiceSpec, options: Options
    ) -> None:
        """Part the photos in two halves.

        Raises:
            InputError: There are fewer than 16 different photos.
        """
        self._to_choose, self._to_confirm = halves(photos)
        self._model, self._spec, self._options = model, spec, options
        self._started = time.perf_counter()
        self._learned: Learned | None = None
        self._seconds, self._run_seconds = dict[MapCandidate, float](), math.nan
        self._keys = dict[MapCandidate, tuple[str, str]]()
        self._chosen_on, self._confirmed_on = Measurement(), Measurement()
        self._default_on, self._sanity = Measurement(), Measurement()
        self._sane = dict[MapCandidate, SanityVerdict]()
        self._dropped = list[MapCandidate]()
        self._winner: MapCandidate | None = None
        self._skipped, self._failed = dict[str, Skipped](), dict[str, str]()
        self._nothing = "The choice was not finished."

    def run(self) -> Iterator[None]:
        """Choose, and yield after every photo that was measured.

        1. Is it shown that the network has learned anything?
        2. Measure all candidates on the photos to choose on.
        3. Take the best that is ahead of chance and whose maps random weights change.
        4. Confirm on the other photos that it beats chance, and that it passes again.
        """
        # 1. The network.
        inputs = [loaded.inputs for loaded in self._loaded(self._to_choose, _LEARNED_PHOTOS)]
        for number, learned in enumerate(
            has_learned(self._model, inputs, self._options, seed=self._spec.seed)
        ):
            self._learned = learned
            self._told("comparing with shuffled weights", number, SHUFFLES)
        if self._learned is not None and self._learned.is_shown is False:
            self._nothing = self._learned.sentence
            return
        # 2. The candidates.
        yield from self._measure_all()
        # 3. The winner.
        self._choose_winner()
        if self._winner is None:
            return
        # 4. The confirmation.
        yield from self._confirm(self._winner)
        self._judge(self._winner)

    def recommendation(self) -> Recommendation:
        """Return what was found so far."""
        best = self._winner if not self._nothing else None
        ranking = self._ranking()
        sentence = f"Nothing is recommended. {self._nothing}"
        if best is not None:
            sentence = self._praise(best)
        return Recommendation(
            best,
            sentence,
            self._learned,
            tuple(ranking),
            self._chosen_on,
            self._confirmed_on,
            self._sanity,
            tuple(self._beside_default()),
            self._run_seconds,
            tuple(self._skipped.values()),
            tuple(self._failed.items()),
        )

    # Measuring

    def _measure_all(self) -> Iterator[None]:
        """Measure the candidates on the photos to choose on, for as long as the budget lasts."""
        candidates = list[MapCandidate]()
        measured, started = 0, time.perf_counter()
        for number, photo in enumerate(self._to_choose):
            loaded = self._load(photo)
            if loaded is not None:
                candidates = candidates or self._first_candidates(loaded)
                explanations = self._explained(loaded, candidates)
                candidates = list(explanations)
                if measured == 1:  # what is done once was done on the first photo
                    self._time(loaded, candidates)
                self._chosen_on += self._measured(loaded, list(explanations.values()))
                measured += 1
                left = len(self._to_choose) - number - 1
                needed = (time.perf_counter() - started) / measured * left
                if measured >= _FEWEST_CANDIDATES and needed > self._time_left(_SHARE_TO_CHOOSE):
                    candidates = self._better_half(candidates)
            yield
            if self._time_left(_SHARE_TO_CHOOSE) <= 0:
                break

    def _first_candidates(self, loaded: LoadedPhoto) -> list[MapCandidate]:
        layers = list(self._spec.layers)
        if not layers and any(method.place == "layer" for method in self._spec.methods):
            layers = stages_of(self._model, loaded.inputs, self._options)
        return all_candidates(self._spec.methods, layers)

    def _explained(
        self, loaded: LoadedPhoto, candidates: Sequence[MapCandidate]
    ) -> dict[MapCandidate, Explanation]:
        """Return the map of each candidate that can be made."""
        maps = dict[MapCandidate, Explanation]()
        for candidate, result in explain_by(
            self._model, loaded.inputs, candidates, loaded.target, self._options
        ):
            if isinstance(result, Skipped):
                self._skipped.setdefault(candidate.name, result)
            else:
                maps[candidate] = result
                self._keys[candidate] = result.method, result.layer
        if not maps:
            reasons = "\n".join(f"  {name}: {gap.reason}" for name, gap in self._skipped.items())
            raise MethodError(f"None of the candidates can be made on this network:\n{reasons}")
        return maps

    def _measured(self, loaded: LoadedPhoto, explanations: list[Explanation]) -> Measurement:
        return measure_all(
            self._model,
            loaded.inputs,
            explanations,
            self._options,
            metrics=self._spec.metrics,
            objects=loaded.objects,
            groups=[loaded.label] if loaded.label else None,
        )

    def _time(self, loaded: LoadedPhoto, candidates: Sequence[MapCandidate]) -> None:
        """Take the time of one map of each candidate, and of one run of the network."""
        start = time.perf_counter()
        cut_layers(self._model, loaded.inputs, [INPUT], self._options, input_requires_grad=False)
        self._run_seconds = time.perf_counter() - start
        for candidate in candidates:
            self._seconds[candidate] = seconds_of(
                self._model, loaded.inputs, candidate, loaded.target, self._options
            )

    def _better_half(self, candidates: Sequence[MapCandidate]) -> list[MapCandidate]:
        """Give the worse half of the candidates up, but keep a few."""
        kept = max(_FEWEST_CANDIDATES, math.ceil(len(candidates) / 2))
        best = [row.candidate for row in self._ranking() if row.candidate in candidates]
        self._dropped += best[kept:]
        return best[:kept]

    # Choosing

    def _ranking(self) -> list[RankedCandidate]:
        """Return the candidates, best first; those that were given up come last.

        Among candidates of the same rank the fastest comes first.
        """
        by_key = dict[tuple[str, str], list[MetricEstimate]]()
        for estimate in self._chosen_on.estimates():
            if estimate.part == "value":
                by_key.setdefault((estimate.method, estimate.layer), []).append(estimate)
        known = [c for c, key in self._keys.items() if key in by_key]
        in_race = [candidate for candidate in known if candidate not in self._dropped]
        rows = list[RankedCandidate]()
        for group in (in_race, [c for c in reversed(self._dropped) if c in known]):
            ranks = mean_ranks([by_key[self._keys[candidate]] for candidate in group])
            of_group = [
                RankedCandidate(
                    candidate,
                    rank + len(rows),
                    tuple(by_key[self._keys[candidate]]),
                    self._seconds.get(candidate, math.nan),
                    self._sane.get(candidate),
                    candidate in self._dropped,
                )
                for candidate, rank in zip(group, ranks, strict=True)
            ]
            rows += sorted(of_group, key=lambda row: (row.rank, row.seconds))
        return rows

    def _choose_winner(self) -> None:
        """Take the best candidate that is ahead of chance and passes the test of sanity."""
        ranking = [row for row in self._ranking() if not row.dropped]
        n = max((row.own.images for row in self._chosen_on.estimates()), default=0)
        if n < FEWEST_IMAGES:
            self._nothing = (
                f"The maps of {n} photos were measured in the time that was given, and a choice "
                f"takes {FEWEST_IMAGES}. Give it more seconds, or fewer methods and layers."
            )
            return
        ahead = [row for row in ranking if row.ahead]
        if not ahead:
            self._nothing = (
                f"None of these {len(self._keys)} beats chance here: on the {n} photos to choose "
                "on, each is behind random maps or a blob in the centre in some metric."
            )
            return
        photos = self._to_choose[:_SANITY_PHOTOS]
        for row in ahead[:_MOST_TRIED]:
            randomised = Measurement()
            for loaded in self._loaded(photos, len(photos)):
                randomised += self._randomised(loaded, row.candidate)
            self._sane[row.candidate] = _verdict(randomised)
            if self._sane[row.candidate] == "passes":
                self._winner = row.candidate
                return
        tried = ", ".join(row.candidate.name for row in ahead[:_MOST_TRIED])
        self._nothing = (
            f"The best that are ahead of chance here ({tried}) do not pass the test of sanity: "
            "their maps stay much the same when the weights are random."
        )

    def _randomised(self, loaded: LoadedPhoto, candidate: MapCandidate) -> Measurement:
        """Measure by the test of sanity how far random weights change a candidate's map."""
        row = METRICS["parameter-randomisation"].set(steps=self._spec.steps, seed=self._spec.seed)
        maps = self._explained(loaded, [candidate])
        _, measurement = measure_randomised(
            self._model, loaded.inputs, list(maps.values()), row, self._options
        )
        return measurement

    # Confirming

    def _confirm(self, winner: MapCandidate) -> Iterator[None]:
        """Measure the winner, and the default map, on photos that had no part in the choice."""
        for number, photo in enumerate(self._to_confirm):
            loaded = self._load(photo)
            if loaded is not None:
                maps = list(self._explained(loaded, [winner]).values())
                self._confirmed_on += self._measured(loaded, maps)
                ((default,),) = explain_layers(
                    self._model, loaded.inputs, [loaded.target], None, [None], self._options
                )
                if (default.method, default.layer) != self._keys[winner]:
                    self._default_on += self._measured(loaded, [default])
                if number < _SANITY_PHOTOS:
                    self._sanity += self._randomised(loaded, winner)
            yield
            if self._time_left(1) <= 0:
                return

    def _judge(self, winner: MapCandidate) -> None:
        """Say what keeps the winner from being recommended, if anything does."""
        judged = [estimate for estimate in self._confirmed_on.estimates() if estimate.judged]
        images = min((estimate.own.images for estimate in judged), default=0)
        lost = [estimate for estimate in judged if not estimate.beats_chance]
        if images < FEWEST_IMAGES:
            self._nothing = (
                f"{winner.name} was best, and could be confirmed on {images} photos only, where "
                f"it takes {FEWEST_IMAGES}. Give it more photos or more seconds."
            )
        elif lost:
            self._nothing = (
                f"None of these {len(self._keys)} beats chance here: {winner.name} was best where "
                "it was chosen, and on the other photos that could not be confirmed. "
                f"{lost[0].sentence}"
            )
        elif _verdict(self._sanity) != "passes":
            self._nothing = (
                f"{winner.name} was best, and on the other photos it did not pass the test of "
                "sanity: its maps stay much the same when the weights are random."
            )
        else:
            self._nothing = ""

    def _praise(self, winner: MapCandidate) -> str:
        """Return the recommendation, and what it rests on."""
        judged = [estimate for estimate in self._confirmed_on.estimates() if estimate.judged]
        images = max(estimate.own.images for estimate in judged)
        leads = ", ".join(f"{estimate.metric} {estimate.lead}" for estimate in judged)
        likeness = self._sanity.ranking("parameter-randomisation")[0].own
        seconds = self._seconds.get(winner, math.nan)
        runs = seconds / self._run_seconds
        return (
            f"Use {winner.name}. On {images} photos that had no part in the choice it beats random "
            f"maps and a blob in the centre (lead over the better of them: {leads}), and random "
            f"weights change its maps (likeness {likeness}). One map takes {seconds:.2f} s, as "
            f"long as {runs:.1f} runs of the network."
        )

    def _beside_default(self) -> Iterator[MapsDifference]:
        """Yield by how much the winner leads the default map, for each metric."""
        for key, maps in self._confirmed_on.readings.items():
            for other, default in self._default_on.readings.items():
                if other.metric == key.metric:
                    yield from pairwise(key.metric, [(_named(key), maps), (_named(other), default)])

    # Photos and time

    def _load(self, photo: PhotoSource) -> LoadedPhoto | None:
        """Load a photo; note why, if it cannot be."""
        try:
            return photo.load()
        except PhotoError as error:
            self._failed[photo.name] = str(error)
            return None

    def _loaded(self, photos: Sequence[PhotoSource], most: int) -> list[LoadedPhoto]:
        """Load up to so many of some photos."""
        loaded = filter(None, map(self._load, photos))
        return list(islice(loaded, most))

    def _time_left(self, share: float) -> float:
        """Return how many seconds of a share of the budget are left."""
        if self._spec.budget is None:
            return math.inf
        return share * self._spec.budget - (time.perf_counter() - self._started)

    def _told(self, task: str, done: int, count: int) -> None:
        if self._options.progress:
            self._options.progress(task, done, count)


def _verdict(randomised: Measurement) -> SanityVerdict:
    """Return whether the maps of one candidate pass the test of sanity."""
    if not randomised.readings:
        return "unclear"
    return verdict_of(randomised.ranking("parameter-randomisation")[0])


def _named(key: ReadingsKey) -> str:
    return f"{key.method} at {key.layer}" if key.layer else key.method
