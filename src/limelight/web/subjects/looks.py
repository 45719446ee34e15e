"""A photo as a network saw it: cut at its layers in one pass, from which all maps are made."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from limelight.application import (
    apply_method,
    apply_where_connected,
    cut_for_methods,
    layer_to_cut,
    method_for,
)
from limelight.evidence import total
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.resolved import INPUT
from limelight.methods import METHODS, Method, find_method
from limelight.photos.crops import CroppedPhoto
from limelight.progress import ProgressCallback
from limelight.runtime.cut import Cut
from limelight.target_evidence import TargetEvidence
from limelight.targets import Scores
from limelight.web.requests import MapRequest, TargetRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits
from limelight.web.subjects.answers import first_answers, found_objects
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.photo_store import StoredPhoto
from limelight.web.subjects.targets import read_target

#: How many pairs of layer and target keep their gradients; how many in front of the network, where
#: gradients may be those of all layers; and how many layers are kept that the page does not offer.
_MOST_EVIDENCE, _MOST_EVIDENCE_AT_INPUT, _MOST_OTHER_LAYERS = 48, 6, 4

#: How many maps and other results are kept.
_MOST_RESULTS = 24

#: Methods whose work grows with the cube of the cells and cannot be stopped; and the most cells
#: that these are given, which take about a second.
_CUBIC, _MOST_CELLS = ("kpcacam",), 1024

_Result = TypeVar("_Result")


class WeighedSum(NamedTuple):
    """Weights, `[B, K]` or `[B, K, *grid]`, and the values `[B, K, *grid]` that they multiply."""

    weights: Tensor
    values: Tensor


class MadeMap(NamedTuple):
    """A map of one image.

    Attributes:
        explanation: The map.
        method: The method that made it.
        sums: What the method added up over channels, if it did.
    """

    explanation: Explanation
    method: Method
    sums: tuple[WeighedSum, ...]


class Look:
    """A photo as a network saw it. It is used by one thread at a time.

    Attributes:
        stored: The photo.
        served: The network.
        crop: The photo, with the box of it that the network saw.
        inputs: What the network was given.
    """

    def __init__(self, stored: StoredPhoto, served: ServedNetwork, limits: Limits) -> None:
        """Prepare the photo; the network runs when it is first asked about it.

        Raises:
            Refusal: The network would take too much memory for so long a photo.
        """
        self._limits = limits
        served.check_size(stored.photo, limits.look_bytes)
        network = served.network
        self.stored, self.served = stored, served
        self.crop: CroppedPhoto = replace(network.preprocess.crop(stored.photo), name=stored.name)
        self.inputs = ModelInputs.of(network.images(stored.photo))
        self._cuts = dict[str | None, Cut]()
        self._graph_at_input: Cut | None = None
        self._others = list[Cut]()
        self._passes = 0
        self._evidence = OrderedDict[tuple[str | None, bool, TargetRequest], TargetEvidence]()
        self._results = OrderedDict[Hashable, Any]()

    @property
    def taken(self) -> int:
        """About how many bytes it takes: the graph of each pass that was made."""
        return self._passes * self.served.graph_bytes

    def cut(self, layer: str | None) -> Cut:
        """Return the network cut at a layer; at all layers that the page offers in one pass.

        Raises:
            LimelightError: As `limelight.cut`.
        """
        if layer not in self._cuts:
            offered = [None, *(each.path for each in self.served.offered)]
            layers = [each for each in offered if each not in self._cuts]
            layers = layers if layer in layers else [layer]
            cuts = self._cut(layers, METHODS["gradcam"])
            self._cuts |= dict(zip(layers, cuts, strict=True))
            others = [each for each in self._cuts if each not in (*offered, INPUT)]
            for other in others[:-_MOST_OTHER_LAYERS]:
                self._forget(other)
        return self._cuts[layer]

    def score(self, target: TargetRequest) -> Scores:
        """Return the score of a target."""
        return self.evidence_at(None, target, METHODS["gradcam"]).scores

    def answers(self, count: int = 5, output: Any = None) -> list[dict[str, Any]]:
        """Return the first answers of the network, as `first_answers`.

        Args:
            count: How many.
            output: What the network returned for a changed photo; None for the photo itself.
        """
        served, output = self.served, self.output if output is None else output
        if served.takes_texts:
            count = max(count, len(served.network.classes or ()))
        return first_answers(output, served.network, self.inputs, served.measure, count)

    def objects(self) -> list[dict[str, Any]] | None:
        """Return the objects that a detector found; None for a network that is none."""
        return found_objects(self.output, self.served.network, self.inputs, self.crop.box)

    @property
    def output(self) -> Any:
        """What the network returned."""
        return self.cut(None).output

    def explain(self, request: MapRequest, progress: ProgressCallback | None = None) -> Explanation:
        """Return the map that was asked for, to be drawn on the photo.

        Raises:
            LimelightError: As `limelight.explain`.
        """
        return self.made(request, progress).explanation

    def made(self, request: MapRequest, progress: ProgressCallback | None = None) -> MadeMap:
        """Return the map that was asked for, and the sums that it was made of; it is kept.

        Raises:
            LimelightError: As `limelight.explain`.
        """
        key = "map", request.target, request.method, request.layer
        return self.once(key, lambda: self._make(request, progress))

    def _make(self, request: MapRequest, progress: ProgressCallback | None) -> MadeMap:
        """Make a map.

        1. Take the method, or the default for the score.
        2. Take the cut that it reads, and the evidence for the target there.
        3. Apply the method, and note what it adds up.
        """
        # 1. The method.
        method = None if request.method is None else find_method(request.method)
        method = method_for(self.score(request.target), method)
        check_runs(method, self.inputs.image.numel(), self._limits)
        # 2. The evidence.
        layer = layer_to_cut(method, request.layer)
        assert layer is None or isinstance(layer, str)  # as a request names it
        evidence = self.evidence_at(layer, request.target, method)
        if method.place == "layer":
            check_cells(method, self.cut(layer))
        # Other work may read the same evidence before this has ended.
        evidence = evidence.reporting(str(method), progress)
        # 3. The map.
        sums = list[WeighedSum]()

        def noted_total(weights: Tensor, values: Tensor) -> Tensor:
            sums.append(WeighedSum(weights.detach(), values.detach()))
            return total(weights, values)

        if layer is None and method.place == "layer":
            explanation = apply_where_connected(evidence, method, self._others, noted_total)
        else:
            explanation = apply_method(evidence, method, noted_total)
        return MadeMap(explanation.drawn_on([self.crop]), method, tuple(sums))

    def once(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """Return the result of `compute` under a key; only the first call with it computes it.

        The results that were asked for last are kept.
        """
        if key not in self._results:
            self._results[key] = compute()
            while len(self._results) > _MOST_RESULTS:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        result: _Result = self._results[key]
        return result

    def evidence_at(
        self, layer: str | None, request: TargetRequest, method: Method
    ) -> TargetEvidence:
        """Return the evidence on a cut and a target; what was found there before is kept."""
        differentiated = layer == INPUT and "gradients" in method.needs
        key = layer, differentiated, request
        if key not in self._evidence:
            cut = self._cut_at_input(differentiated, method) if layer == INPUT else self.cut(layer)
            size = self.inputs.image.shape[2:]
            target = read_target(request, self.served, self.stored, size)
            self._evidence[key] = TargetEvidence(cut, target, self.served.options)
            while len(self._evidence) > _MOST_EVIDENCE:
                self._evidence.popitem(last=False)
            at_input = [each for each in self._evidence if each[0] == INPUT]
            for other in at_input[:-_MOST_EVIDENCE_AT_INPUT]:
                del self._evidence[other]
        self._evidence.move_to_end(key)
        return self._evidence[key]

    def _forget(self, layer: str | None) -> None:
        """Give free what is kept of a layer that had a pass of its own."""
        del self._cuts[layer]
        self._passes -= 1
        for key in [key for key in self._evidence if key[0] == layer]:
            del self._evidence[key]

    def _cut_at_input(self, differentiated: bool, method: Method) -> Cut:
        """Return the network cut in front of it; with a graph only for methods that read one."""
        if not differentiated:
            if INPUT not in self._cuts:
                (self._cuts[INPUT],) = self._cut([INPUT], method)
            return self._cuts[INPUT]
        if self._graph_at_input is None:
            (self._graph_at_input,) = self._cut([INPUT], method)
        return self._graph_at_input

    def _cut(self, layers: list[str | None], method: Method) -> list[Cut]:
        self._passes += 1
        with torch.inference_mode(False):
            model = self.served.network.model
            return cut_for_methods(model, self.inputs, [method], layers, self.served.options)


def check_runs(method: Method, numbers: int, limits: Limits) -> None:
    """Refuse options of a method that would take more memory than there may be.

    Args:
        method: The method.
        numbers: How many numbers the network's input has.
        limits: How much memory there may be.

    Raises:
        Refusal: They would.
    """
    most = max(1, limits.method_numbers // numbers)
    defaults = METHODS[method.name].known_options if method.name in METHODS else {}
    for name, value in method.options.items():
        allowed = max(most, defaults.get(name, 0))
        if isinstance(value, int) and name != "seed" and value > allowed:
            raise Refusal("too-many-runs", 422, method=str(method), name=name, most=allowed)


def check_cells(method: Method, cut: Cut) -> None:
    """Refuse a method that would keep everybody waiting on a fine grid.

    Raises:
        Refusal: It would.
    """
    grid = cut.layout.grid
    if method.name in _CUBIC and math.prod(grid) > _MOST_CELLS:
        values = {"layer": repr(cut.layer), "given": math.prod(grid), "most": _MOST_CELLS}
        raise Refusal("too-many-cells", 422, method=str(method), **values)


class Looks:
    """The photos that networks looked at last, bounded in bytes."""

    def __init__(self, limits: Limits) -> None:
        """Begin without any."""
        self._limits = limits
        self._looks = OrderedDict[tuple[str, ServedNetwork], Look]()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """About how many bytes they take."""
        with self._lock:
            return sum(look.taken for look in self._looks.values())

    def get(self, stored: StoredPhoto, served: ServedNetwork) -> Look:
        """Return a photo as a network saw it; those not asked for longest make room for it."""
        key = stored.id, served
        with self._lock:
            look = self._looks.pop(key, None)
        look = look or Look(stored, served, self._limits)  # nobody waits while it is prepared
        with self._lock:
            taken = look.taken + sum(each.taken for each in self._looks.values())
            while self._looks and taken > self._limits.look_bytes:
                taken -= self._looks.popitem(last=False)[1].taken
            if stored.held:  # else it was dropped meanwhile
                self._looks[key] = look
        return look

    def drop(self, photo_id: str) -> None:
        """Forget a photo."""
        with self._lock:
            for key in [key for key in self._looks if key[0] == photo_id]:
                del self._looks[key]
