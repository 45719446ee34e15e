"""The maps among which `choose` chooses: methods at layers, early to late, and fused."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from limelight.errors import LayerError, LimelightError
from limelight.explanation import Explanation
from limelight.fusion import fuse
from limelight.inputs import ModelInputs
from limelight.layers import stages
from limelight.methods import Method
from limelight.methods.fusing import Fusion
from limelight.options import Options
from limelight.pipeline import Skipped, explain_many
from limelight.runtime.record import cached_record
from limelight.runtime.unwrap import unwrap
from limelight.targets import ScoreTarget

#: How many stages of a network are tried when no layer is named.
_STAGES = 4


#: How the maps of several layers become one.
_FUSED: Fusion = "mean"


@dataclass(frozen=True, slots=True, eq=False)
class MapCandidate:
    """A way to make a map.

    Attributes:
        method: The method.
        layers: Where it cuts: one layer; several, whose maps are fused; or none, for a method that
            cuts at the input.
    """

    method: Method
    layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The method, and where it cuts."""
        if not self.layers:
            return str(self.method)
        return f"{self.method} {'at' if len(self.layers) == 1 else 'fused over'} {self.where}"

    @property
    def where(self) -> str:
        """The layers, with commas between them."""
        return ", ".join(self.layers)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `explain` that make this map."""
        arguments: dict[str, Any] = {"method": str(self.method)}
        if len(self.layers) == 1:
            arguments["layer"] = self.layers[0]
        elif self.layers:
            arguments |= {"layer": list(self.layers), "fuse": _FUSED}
        return arguments


def all_candidates(methods: Iterable[Method], layers: Sequence[str]) -> list[MapCandidate]:
    """Return each method at each layer, and fused over all of them; methods of the input once."""
    candidates = list[MapCandidate]()
    for method in methods:
        if method.place != "layer":
            candidates.append(MapCandidate(method))
            continue
        candidates += [MapCandidate(method, (layer,)) for layer in layers]
        if len(layers) > 1:
            candidates.append(MapCandidate(method, tuple(layers)))
    return candidates


def stages_of(model: nn.Module, inputs: ModelInputs, options: Options) -> list[str]:
    """Return the layers to try when none are named: the stages of the network, early to late.

    Raises:
        LayerError: The network has no layer to cut at.
    """
    layers = stages(cached_record(unwrap(model), inputs, options.spec), _STAGES)
    if not layers:
        raise LayerError(
            "The network has no layer whose output is a grid. Name the layers to try, or methods "
            "of the input alone (saliency, integrated-gradients)."
        )
    return layers


def explain_by(
    model: nn.Module,
    inputs: ModelInputs,
    candidates: Sequence[MapCandidate],
    target: ScoreTarget,
    options: Options,
) -> Iterator[tuple[MapCandidate, Explanation | Skipped]]:
    """Yield the map of each candidate, or why it cannot be made; each method takes one pass."""
    by_method = dict[str, list[MapCandidate]]()
    for candidate in candidates:
        by_method.setdefault(str(candidate.method), []).append(candidate)
    for of_method in by_method.values():
        layers = list(dict.fromkeys(layer for c in of_method for layer in c.layers))
        results = explain_many(
            model,
            inputs,
            methods=[of_method[0].method],
            targets=[target],
            layers=layers or [None],
            options=options,
        )
        by_layer = dict(zip(layers or [""], results, strict=True))
        for candidate in of_method:
            yield candidate, _joined(candidate, by_layer)


def _joined(
    candidate: MapCandidate, by_layer: Mapping[str, Explanation | Skipped]
) -> Explanation | Skipped:
    """Return the map of a candidate: that of its layer, or that of its layers fused."""
    results = [by_layer[layer] for layer in candidate.layers or ("",)]
    skipped = [result for result in results if isinstance(result, Skipped)]
    if skipped:
        return skipped[0]
    explanations = [result for result in results if isinstance(result, Explanation)]
    if len(explanations) == 1:
        return explanations[0]
    try:
        return fuse(explanations, _FUSED)
    except LimelightError as error:
        return Skipped(candidate.name, None, str(error))


def seconds_of(
    model: nn.Module,
    inputs: ModelInputs,
    candidate: MapCandidate,
    target: ScoreTarget,
    options: Options,
) -> float:
    """Return how long the map of one candidate takes, made alone."""
    quiet = replace(options, progress=None)
    start = time.perf_counter()
    for _ in explain_by(model, inputs, [candidate], target, quiet):
        pass
    return time.perf_counter() - start
