"""The networks of a page: each is in memory once, for all who ask."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from limelight.errors import OptionError
from limelight.inputs import ModelInputs
from limelight.layers.choice import candidates, stages
from limelight.layers.record import ModuleCall
from limelight.methods import METHODS
from limelight.models.network import Network
from limelight.options import Options
from limelight.runtime.cut import cut_layers
from limelight.runtime.detectors import read_detected
from limelight.runtime.record import cached_record
from limelight.targets.outputs import Detected, class_logits
from limelight.web.serving.refusals import Refusal

#: What a network answers: one class of the photo, a class of each pixel, or objects in boxes.
NetworkKind = Literal["classifier", "segmenter", "detector"]


#: How many numbers all layers of a network put out for each of its input, before that is known.
_OUTPUTS_OVER_INPUT = 100


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
        options: How its output is read.
        chosen: The layer that limelight takes when none is named.
    """

    network: Network
    kind: NetworkKind
    options: Options
    chosen: ServedLayer

    @classmethod
    def of(cls, network: Network) -> ServedNetwork:
        """Find out what a network answers and where it is cut, on a picture of noise."""
        options = Options.read(classes=network.classes)
        inputs = ModelInputs.of(_noise(network))
        (cut,) = cut_layers(network.model, inputs, [None], options)
        chosen = ServedLayer(cut.layer, tuple(cut.layout.grid), True, cut.reason)
        return cls(network, _kind(network, cut.output, inputs), options, chosen)

    @cached_property
    def layers(self) -> tuple[ServedLayer, ...]:
        """Its stages, early to late, the chosen one among them.

        To find them each layer is placed on the picture, which takes seconds the first time.
        """
        known = {each.path: each for each in candidates(self._calls)}
        paths = stages(self._calls)
        layers = []
        for path in paths if self.chosen.path in paths else [*paths, self.chosen.path]:
            if path == self.chosen.path:
                layers.append(self.chosen)
            elif layout := known[path].call.layout:
                layers.append(ServedLayer(path, tuple(layout.grid), False, known[path].objection))
        return tuple(layers)

    @property
    def offered(self) -> tuple[ServedLayer, ...]:
        """The layers that were found so far: at least the chosen one."""
        return self.layers if "layers" in self.__dict__ else (self.chosen,)

    @property
    def graph_bytes(self) -> int:
        """About how many bytes the graph of one pass takes: the outputs, and as much again."""
        noise = _noise(self.network)
        if "_calls" in self.__dict__:
            outputs = sum(math.prod(call.shape) for call in self._calls)
        else:  # not known yet
            outputs = _OUTPUTS_OVER_INPUT * noise.numel()
        return 2 * outputs * noise.element_size()

    @cached_property
    def _calls(self) -> Sequence[ModuleCall]:
        inputs = ModelInputs.of(_noise(self.network))
        return cached_record(self.network.model, inputs, self.options.spec)

    def facts(self, *, layers: bool) -> dict[str, Any]:
        """Return what the page needs to know of it, as plain values.

        Args:
            layers: Whether to find all layers that are offered, which may take seconds.
        """
        network, size = self.network, self.network.preprocess.size
        offered = self.layers if layers else self.offered
        return {
            "name": network.name,
            "weights": network.weights,
            "kind": self.kind,
            "classes": list(network.classes or ()),
            "input": None if size is None else list(size),
            "layers": [
                {"path": e.path, "grid": list(e.grid), "chosen": e.chosen, "reason": e.reason}
                for e in offered
            ],
        }


class ServedNetworks:
    """The networks of a page by their names."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        """Offer networks; the first is the one that is shown when none is named.

        Raises:
            OptionError: One takes volumes.
        """
        for network in networks.values():
            if network.preprocess.takes_volumes:
                raise OptionError(
                    f"The network {network.name!r} takes volumes; the page shows pictures. Explain "
                    "volumes by limelight.explain."
                )
        self._networks = dict(networks)
        self._served = dict[str, ServedNetwork]()
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._networks)

    def get(self, name: str | None = None) -> ServedNetwork:
        """Return a network; None for the first.

        Raises:
            Refusal: There is none of that name.
            LimelightError: The page cannot show it.
        """
        name = self.names[0] if name is None else name
        if name not in self._networks:
            raise Refusal("no-such-network", 404, name=repr(name), known=", ".join(self.names))
        with self._lock:
            if name not in self._served:
                self._served[name] = ServedNetwork.of(self._networks[name])
            return self._served[name]


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
