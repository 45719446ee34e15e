"""The networks of a page: each is loaded once, for all who ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from limelight.errors import OptionError
from limelight.inputs import ModelInputs
from limelight.layers.choice import candidates, stages
from limelight.methods import METHODS
from limelight.models.network import Network
from limelight.options import Options
from limelight.runtime.cut import Cut, cut_layers
from limelight.runtime.detectors import read_detected
from limelight.runtime.record import cached_record
from limelight.targets.outputs import Detected, class_logits
from limelight.web.serving.refusals import Refusal

#: What a network answers: one class of the photo, a class of each pixel, or objects in boxes.
NetworkKind = Literal["classifier", "segmenter", "detector"]


@dataclass(frozen=True, slots=True)
class ServedLayer:
    """A layer that the page offers.

    Attributes:
        path: Its dotted path.
        grid: The sizes of its grid.
        chosen: Whether limelight takes it when none is named.
        reason: Why it is chosen, or why it would not be; "" if there is nothing to say.
    """

    path: str
    grid: tuple[int, ...]
    chosen: bool
    reason: str = ""


@dataclass(eq=False)
class ServedNetwork:
    """A network of the page.

    Attributes:
        network: The network.
        kind: What it answers.
        layers: Its stages, early to late, the chosen one among them.
        options: How its output is read.
    """

    network: Network
    kind: NetworkKind
    layers: tuple[ServedLayer, ...]
    options: Options

    @classmethod
    def of(cls, network: Network) -> ServedNetwork:
        """Find out what a network answers, and where it can be cut, on a picture of noise.

        Raises:
            OptionError: It takes volumes.
        """
        if network.preprocess.takes_volumes:
            raise OptionError(
                f"The network {network.name!r} takes volumes; the page shows pictures. Explain "
                "volumes by limelight.explain."
            )
        options = Options.read(classes=network.classes)
        inputs = ModelInputs.of(_noise(network))
        (cut,) = cut_layers(network.model, inputs, [None], options)
        layers = _layers(network, inputs, options, cut)
        return cls(network, _kind(network, cut.output, inputs), layers, options)

    def facts(self) -> dict[str, Any]:
        """Return what the page needs to know of it, as plain values."""
        network, size = self.network, self.network.preprocess.size
        return {
            "name": network.name,
            "weights": network.weights,
            "kind": self.kind,
            "classes": list(network.classes or ()),
            "input": None if size is None else list(size),
            "layers": [
                {"path": e.path, "grid": list(e.grid), "chosen": e.chosen, "reason": e.reason}
                for e in self.layers
            ],
        }


class ServedNetworks:
    """The networks of a page by their names, loaded when they are first asked for."""

    def __init__(self, loaders: Mapping[str, Callable[[], Network]]) -> None:
        """Offer networks; the first is the one that is shown when none is named.

        Args:
            loaders: What loads each of them.
        """
        self._loaders = dict(loaders)
        self._loaded = dict[str, ServedNetwork]()
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._loaders)

    @property
    def loaded(self) -> int:
        """How many are in memory."""
        return len(self._loaded)

    def get(self, name: str | None = None) -> ServedNetwork:
        """Return a network, which is loaded if it was not; None for the first.

        Raises:
            Refusal: There is none of that name.
            LimelightError: It cannot be loaded.
        """
        name = self.names[0] if name is None else name
        if name not in self._loaders:
            raise Refusal("no-such-network", 404, name=repr(name), known=", ".join(self.names))
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = ServedNetwork.of(self._loaders[name]())
            return self._loaded[name]


def method_facts() -> list[dict[str, Any]]:
    """Return what the page needs to know of each method, as plain values."""
    quick = {"gradients", "class weights", "curvature", "attention", "layer attention"}
    return [
        {
            "name": name,
            "family": method.family,
            "place": method.place,
            "quick": method.needs <= quick and method.family != "words",
            "formula": method.formula,
            "use": method.use,
            "paper": method.paper,
        }
        for name, method in METHODS.items()
    ]


def _noise(network: Network) -> torch.Tensor:
    """Return a picture of noise as the network takes it, `[1, C, H, W]`."""
    preprocess = network.preprocess
    height, width = (preprocess.size or (256, 256))[-2:]
    generator = torch.Generator("cpu").manual_seed(0)
    noise = torch.randn((1, preprocess.channels, height, width), generator=generator)
    return noise.to(next(network.model.parameters(), noise))


def _kind(network: Network, output: Any, inputs: ModelInputs) -> NetworkKind:
    read = read_detected(output, inputs, network.model)
    if isinstance(read, Detected | list):
        return "detector"
    return "segmenter" if class_logits(read).ndim == 4 else "classifier"


def _layers(
    network: Network, inputs: ModelInputs, options: Options, chosen: Cut
) -> tuple[ServedLayer, ...]:
    """Return the stages of a network, and the chosen layer if it is none of them."""
    calls = cached_record(network.model, inputs, options.spec)
    known = {each.path: each for each in candidates(calls)}
    paths = stages(calls)
    layers = []
    for path in paths if chosen.layer in paths else [*paths, chosen.layer]:
        if path == chosen.layer:
            layers.append(ServedLayer(path, tuple(chosen.layout.grid), True, chosen.reason))
        elif layout := known[path].call.layout:
            layers.append(ServedLayer(path, tuple(layout.grid), False, known[path].objection))
    return tuple(layers)
