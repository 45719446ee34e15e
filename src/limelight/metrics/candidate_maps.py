"""The candidates' maps of one photo after another, and what is measured of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from limelight.errors import LimelightError, PhotoError, TargetError
from limelight.explanation import Explanation
from limelight.layers import INPUT
from limelight.methods import Method
from limelight.metrics import METRICS, Metric
from limelight.metrics.candidates import MapCandidate, explain_by, seconds_of
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_sources import LoadedPhoto, PhotoSource
from limelight.metrics.run import measure_all, measure_randomised
from limelight.options import Options
from limelight.pipeline import Skipped, explain_layers
from limelight.runtime.cut import cut_layers


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


class CandidateMaps:
    """Makes and measures maps, and keeps a list of what could not be made.

    Attributes:
        keys: Method and layer, as a measurement names them, of each candidate that can be made.
        skipped: Why a candidate cannot be made, by its name.
        failed: Why a photo could not be used, by its name.
    """

    def __init__(self, model: nn.Module, spec: ChoiceSpec, options: Options) -> None:
        """Begin with no maps."""
        self._model, self._spec, self._options = model, spec, options
        self.keys = dict[MapCandidate, tuple[str, str]]()
        self.skipped, self.failed = dict[str, Skipped](), dict[str, str]()

    def load(self, photo: PhotoSource) -> LoadedPhoto | None:
        """Load a photo; note why, if it cannot be."""
        try:
            return photo.load()
        except PhotoError as error:
            self.failed[photo.name] = str(error)
            return None

    def loaded(self, photos: Sequence[PhotoSource], most: int) -> list[LoadedPhoto]:
        """Load up to so many of some photos."""
        loaded = filter(None, map(self.load, photos))
        return list(islice(loaded, most))

    def mapped(
        self, photo: PhotoSource, candidates: Sequence[MapCandidate]
    ) -> tuple[LoadedPhoto, dict[MapCandidate, Explanation]] | None:
        """Load a photo and make the candidates' maps; note why, if there are none."""
        loaded = self.load(photo)
        if loaded is None:
            return None
        try:
            maps, skipped = self.explained(loaded, candidates)
        except TargetError as error:  # a detector found nothing on this photo, say
            self.failed[photo.name] = f"{photo.name}: {error}"
            return None
        if not maps:
            reasons = dict.fromkeys(gap.reason for gap in skipped.values())
            self.failed[photo.name] = f"{photo.name}: {' '.join(reasons)}"
            return None
        self.skipped |= skipped
        return loaded, maps

    def explained(
        self, loaded: LoadedPhoto, candidates: Sequence[MapCandidate]
    ) -> tuple[dict[MapCandidate, Explanation], dict[str, Skipped]]:
        """Return the map of each candidate that can be made, and by name why others cannot."""
        maps, skipped = dict[MapCandidate, Explanation](), dict[str, Skipped]()
        for candidate, result in explain_by(
            self._model, loaded.inputs, candidates, loaded.target, self._options
        ):
            if isinstance(result, Skipped):
                skipped[candidate.name] = result
            else:
                maps[candidate] = result
                self.keys.setdefault(candidate, (result.method, result.layer))
        return maps, skipped

    def default_map(self, loaded: LoadedPhoto) -> list[Explanation]:
        """Return what `explain` makes when nothing is named; nothing, if it cannot be made."""
        with suppress(LimelightError):
            ((default,),) = explain_layers(
                self._model, loaded.inputs, [loaded.target], None, [None], self._options
            )
            return [default]
        return []

    def measured(self, loaded: LoadedPhoto, explanations: list[Explanation]) -> Measurement:
        """Measure maps of a photo by the metrics."""
        return measure_all(
            self._model,
            loaded.inputs,
            explanations,
            self._options,
            metrics=self._spec.metrics,
            objects=loaded.objects,
        )

    def randomised(self, loaded: LoadedPhoto, maps: dict[MapCandidate, Explanation]) -> Measurement:
        """Measure by the test of sanity how far random weights change the maps of a photo."""
        row = METRICS["parameter-randomisation"].set(steps=self._spec.steps, seed=self._spec.seed)
        _, measurement = measure_randomised(
            self._model, loaded.inputs, list(maps.values()), row, self._options
        )
        return measurement

    def times(
        self, loaded: LoadedPhoto, candidates: Sequence[MapCandidate]
    ) -> tuple[float, dict[MapCandidate, float]]:
        """Return the seconds of one run of the network, and of one map of each candidate."""
        start = time.perf_counter()
        cut_layers(self._model, loaded.inputs, [INPUT], self._options, input_requires_grad=False)
        if loaded.inputs.image.is_cuda:  # the run goes on while Python does
            torch.cuda.synchronize(loaded.inputs.image.device)
        run = time.perf_counter() - start
        return run, {
            candidate: seconds_of(
                self._model, loaded.inputs, candidate, loaded.target, self._options
            )
            for candidate in candidates
        }
