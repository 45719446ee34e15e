"""The networks of a page: each is in memory once, for all who ask."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limelight.errors import OptionError
from limelight.evidence import at_least_float32
from limelight.inputs import ModelInputs
from limelight.layers.choice import candidates
from limelight.layers.record import ModuleCall
from limelight.methods import METHODS, Method
from limelight.models.network import Network
from limelight.models.prompted import takes_texts, with_texts
from limelight.models.vision_language import VisionLanguageModel
from limelight.options import Options
from limelight.photos.memory import Sized
from limelight.runtime.cut import cut_layers
from limelight.runtime.stages import stage_calls
from limelight.translations.languages import Language
from limelight.vision_language.prompts import is_chat
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.answers import (
    AnswerMeasure,
    NetworkKind,
    has_several_labels,
    kind_of,
    measure_of,
)
from limelight.web.wording import library_words

#: How many networks with texts of a request's own are held; they share their weights.
_MOST_WITH_TEXTS = 8

#: How many times as large as of a square photo the input of a network may be that sees all of it.
_MOST_OVER_SQUARE = 4

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
        measure: What the numbers of its answers are.
        options: How its output is read.
        chosen: The layer that limelight takes when none is named.
    """

    network: Network
    kind: NetworkKind
    measure: AnswerMeasure
    options: Options
    chosen: ServedLayer

    @classmethod
    def of(cls, network: Network) -> ServedNetwork:
        """Find out what a network answers and where it is cut, on a picture of noise."""
        options = Options.read(classes=network.classes)
        inputs = ModelInputs.of(_noise(network))
        (cut,) = cut_layers(network.model, inputs, [None], options)
        chosen = ServedLayer(cut.layer, tuple(cut.layout.grid), True, cut.reason)
        kind = kind_of(network, cut.output, inputs)
        return cls(network, kind, measure_of(kind, cut.output), options, chosen)

    def with_texts(self, texts: Sequence[str]) -> ServedNetwork:
        """Return the same network with other texts to compare photos with.

        Raises:
            Refusal: It compares photos with no texts.
            OptionError: It does not take these.
        """
        if not self.takes_texts:
            raise Refusal("no-texts", 422, name=repr(self.network.name))
        network = with_texts(self.network, texts)
        served = replace(self, network=network, options=Options.read(classes=network.classes))
        served.__dict__ |= {k: v for k, v in self.__dict__.items() if k in ("layers", "_stages")}
        return served

    @property
    def takes_texts(self) -> bool:
        """Whether it compares photos with texts, so that its classes are texts."""
        return takes_texts(self.network)

    @cached_property
    def has_several_labels(self) -> bool:
        """Whether a photo can have several of its classes at once, each a yes or no by itself."""
        return has_several_labels(self.network)

    def probability(self, share: Tensor | None, score: Tensor) -> Tensor | None:
        """Return the probability of a class, `[B]`, as its answers tell it; None if it has none.

        Args:
            share: Its share of the softmax, `[B]`; None for a score that is of no class.
            score: Its score, `[B]`.
        """
        if share is None or not self.has_several_labels:
            return share
        return at_least_float32(score.detach()).sigmoid()

    @cached_property
    def layers(self) -> tuple[ServedLayer, ...]:
        """Its stages, early to late, the chosen one among them.

        To find them takes a pass of the network and back, which may take seconds the first time.
        """
        paths, calls = self._stages
        known = {each.path: each for each in candidates(calls)}
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
        if "_stages" in self.__dict__:
            outputs = sum(math.prod(call.shape) for call in self._stages[1])
        else:  # not known yet
            outputs = _OUTPUTS_OVER_INPUT * noise.numel()
        return 2 * outputs * noise.element_size()

    def check_size(self, photo: Sized, most_bytes: int) -> None:
        """Refuse a photo for which one pass takes too much memory, as one that is very long.

        A detector makes every photo smaller by itself.

        Args:
            photo: The photo.
            most_bytes: How many bytes it may take, or as many as four square photos do.

        Raises:
            Refusal: It takes more.
        """
        preprocess = self.network.preprocess
        if preprocess.size is not None or self.kind == "detector":
            return
        height, width = preprocess.input_size(photo)
        pixels = math.prod(_noise(self.network).shape[2:])
        most = most_bytes * pixels / self.graph_bytes
        if isinstance(preprocess.resize, int):
            most = max(most, _MOST_OVER_SQUARE * preprocess.resize**2)
        if height * width > most:
            sizes = {"width": width, "height": height, "most": f"{most / 1e6:.1f}"}
            raise Refusal("input-too-large", 422, network=repr(self.network.name), **sizes)

    @cached_property
    def _stages(self) -> tuple[list[str], tuple[ModuleCall, ...]]:
        inputs = ModelInputs.of(_noise(self.network))
        return stage_calls(self.network.model, inputs, self.options.spec)

    def facts(self, language: Language, *, layers: bool) -> dict[str, Any]:
        """Return what the page needs to know of it, as plain values.

        Args:
            language: The language of the reasons.
            layers: Whether to find all layers that are offered, which may take seconds.
        """
        network, size = self.network, self.network.preprocess.size
        offered = self.layers if layers else self.offered
        return {
            "name": network.name,
            "weights": _told(network.weights),
            "kind": self.kind,
            "measure": self.measure,
            "classes": list(network.classes or ()),
            "takes_texts": self.takes_texts,
            "input": None if size is None else list(size),
            "layers": [
                {
                    "path": each.path,
                    "grid": list(each.grid),
                    "chosen": each.chosen,
                    "reason": library_words(each.reason, language),
                }
                for each in offered
            ],
        }


class ServedNetworks:
    """The networks of a page by their names."""

    def __init__(self, networks: Mapping[str, Network | VisionLanguageModel]) -> None:
        """Offer networks; the first is the one that is shown when none is named.

        Raises:
            OptionError: One takes volumes.
        """
        for network in networks.values():
            if isinstance(network, Network) and network.preprocess.takes_volumes:
                raise OptionError(
                    f"The network {network.name!r} takes volumes; the page shows pictures. Explain "
                    "volumes by limelight.explain."
                )
        self._networks = dict(networks)
        self._served = dict[str, ServedNetwork]()
        self._with_texts = OrderedDict[tuple[str, tuple[str, ...]], ServedNetwork]()
        self._lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._networks)

    def get(self, name: str | None = None, texts: Sequence[str] = ()) -> ServedNetwork:
        """Return a network; None for the first.

        Args:
            name: Its name.
            texts: The texts that it compares photos with; none for its own.

        Raises:
            Refusal: There is none of that name, it answers questions, or it takes no texts.
            LimelightError: The page cannot show it.
        """
        name, network = self._named(name)
        if isinstance(network, VisionLanguageModel):
            raise Refusal("answers-questions", 422, name=repr(name))
        with self._lock:
            if name not in self._served:
                self._served[name] = ServedNetwork.of(network)
            return self._compared(name, tuple(texts)) if texts else self._served[name]

    def answers_questions(self, name: str | None = None) -> bool:
        """Return whether a network answers questions in words; None for the first.

        Raises:
            Refusal: There is none of that name.
        """
        return isinstance(self._named(name)[1], VisionLanguageModel)

    def vision_language(self, name: str | None = None) -> VisionLanguageModel:
        """Return a model that answers questions about photos; None for the first.

        Raises:
            Refusal: There is none of that name, or none at all.
        """
        asked = [n for n, m in self._networks.items() if isinstance(m, VisionLanguageModel)]
        name, model = self._named(name if name is not None else next(iter(asked), None))
        if not isinstance(model, VisionLanguageModel):
            raise Refusal("answers-no-questions", 422, name=repr(name))
        return model

    def facts(self, name: str, language: Language, *, layers: bool) -> dict[str, Any]:
        """Return what the page needs to know of a network, as `ServedNetwork.facts`.

        Raises:
            Refusal, LimelightError: As `get`.
        """
        model = self._named(name)[1]
        if isinstance(model, VisionLanguageModel):
            return vision_language_facts(model)
        return self.get(name).facts(language, layers=layers)

    def _named(self, name: str | None) -> tuple[str, Network | VisionLanguageModel]:
        name = self.names[0] if name is None else name
        if name not in self._networks:
            raise Refusal("no-such-network", 404, name=repr(name), known=", ".join(self.names))
        return name, self._networks[name]

    def _compared(self, name: str, texts: tuple[str, ...]) -> ServedNetwork:
        """Return a network with other texts; those not asked for longest make room for it."""
        key = name, texts
        if key not in self._with_texts:
            self._with_texts[key] = self._served[name].with_texts(texts)
            while len(self._with_texts) > _MOST_WITH_TEXTS:
                self._with_texts.popitem(last=False)
        self._with_texts.move_to_end(key)
        return self._with_texts[key]


def vision_language_facts(model: VisionLanguageModel) -> dict[str, Any]:
    """Return what the page needs to know of a model that answers questions, as plain values."""
    return {
        "name": model.name,
        "weights": _told(model.weights),
        "kind": "vision-language",
        "measure": "probability",
        "classes": [],
        "takes_texts": False,
        "takes_questions": is_chat(model),
        "input": None,
        "layers": [],
    }


def is_quick(method: Method) -> bool:
    """Return whether a method reads one pass of the network and back, rather than many runs."""
    one_pass = {"gradients", "class weights", "curvature", "attention", "layer attention"}
    return method.needs <= one_pass and method.family != "words"


def method_facts(language: Language) -> list[dict[str, Any]]:
    """Return what the page needs to know of each method, as plain values, in a language."""
    return [
        {
            "name": name,
            "family": method.family,
            "place": method.place,
            "quick": is_quick(method),
            "formula": method.formula,
            "use": library_words(method.use, language),
            "paper": method.paper,
        }
        for name, method in METHODS.items()
    ]


def _told(weights: str) -> str:
    """Return where weights come from; of a file its name, and not where it is on this machine."""
    path = Path(weights)
    return path.name if path.is_absolute() or path.exists() else weights


def _noise(network: Network) -> torch.Tensor:
    """Return a picture of noise as the network takes it, `[1, C, H, W]`."""
    preprocess = network.preprocess
    height, width = (preprocess.size or (256, 256))[-2:]
    generator = torch.Generator("cpu").manual_seed(0)
    size = 1, preprocess.channels, height, width
    noise = torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")
    return noise.to(next(network.model.parameters(), noise))
