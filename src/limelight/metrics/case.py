"""What a metric may read: maps, the network to run on other images, and where the objects are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from limelight.errors import MetricError
from limelight.evidence import MakeVariants, at_least_float32
from limelight.finish import relu, resize
from limelight.inputs import ModelInputs
from limelight.layers import INPUT
from limelight.metrics.objects import Objects
from limelight.options import Options
from limelight.progress import RunCallback
from limelight.runtime.cut import cut_layers
from limelight.runtime.randomise import cascade
from limelight.runtime.rerun import Rerunner
from limelight.target_evidence import TargetEvidence
from limelight.targets import FixedScore, ScoreTarget
from limelight.targets.scores import CustomScore

_Found = TypeVar("_Found")


class Maps(NamedTuple):
    """Maps of B images.

    Attributes:
        raw: Signed, on the grid, `[B, *grid]`.
        heatmap: M, in [0, 1], `[B, *image]`.
        span: How long the grid is along each axis, in picture lengths.
    """

    raw: Tensor
    heatmap: Tensor
    span: tuple[float, ...] = ()


class Again(Protocol):
    """Makes maps again in the same way, of other images or with another model."""

    def __call__(
        self, probe: PerturbedModel, given: ModelInputs, model: nn.Module | None = None
    ) -> Maps:
        """Return the maps of the score that the probe is about."""


class PerturbedModel:
    """A network, images and a score, to be run on changed images.

    What is found without looking at a map is found once, for all maps of the same images.

    Attributes:
        model: The network.
        given: What it was given.
        scores: What is explained.
    """

    def __init__(
        self,
        model: nn.Module,
        given: ModelInputs,
        target: ScoreTarget,
        options: Options,
    ) -> None:
        """Run the network once.

        Raises:
            LayerError: The inputs are no images that can be changed.
        """
        (cut,) = cut_layers(model, given, [INPUT], options, follow_input=False)
        self._gathered = TargetEvidence(cut, target, options)
        self.model, self.given, self.scores = model, given, self._gathered.scores
        self.progress: RunCallback | None = None
        self._kept = dict[Hashable, Any]()

    @property
    def images(self) -> Tensor:
        """The images x, `[B, C, *image]`."""
        return self.given.image

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What tells the images apart, also from those of other probes: a digest of each."""
        rows = self.images.detach().cpu().contiguous().flatten(1)
        digests = (blake2b(row.view(torch.uint8).numpy().tobytes(), digest_size=8) for row in rows)
        return tuple(one.hexdigest() for one in digests)

    @property
    def size(self) -> tuple[int, ...]:
        """The sizes of the image axes."""
        return tuple(self.images.shape[2:])

    @property
    def probable(self) -> bool:
        """Whether the score has a probability: of one class among several, or of words."""
        return self.scores.probability is not None

    @property
    def custom(self) -> bool:
        """Whether the score is a callable of the user's, which may return a probability."""
        return isinstance(self._gathered.target, CustomScore)

    @cached_property
    def value(self) -> Tensor:
        """`p_c(x)`, the probability of what is explained; the score where there is none, `[B]`."""
        likely = self._gathered.cut.probability(self.scores)
        return self.score if likely is None else at_least_float32(likely)

    @property
    def score(self) -> Tensor:
        """`y_c(x)`, the score that is explained, `[B]`."""
        return at_least_float32(self.scores.values.detach())

    def values(self, count: int, make: MakeVariants) -> Tensor:
        """Return `p_c` (or the score, where there is none) of changed images, `[V, B]`.

        Args:
            count: V, how many there are of each image.
            make: Makes a chunk of them: from their numbers `[M]` and which image it is to
                `[M, C, *image]`.
        """
        if self.scores.probability is None:
            return self.scored(count, make)
        likely = self.scores._replace(values=self.value, read_again=self.scores.probability)
        return self._run(self._gathered.rerunner(likely), count, make)

    def scored(self, count: int, make: MakeVariants) -> Tensor:
        """Return `y_c` of changed images, `[V, B]`; as `values`."""
        return self._run(self._gathered.rerunner(self.scores), count, make)

    def _run(self, runner: Rerunner, count: int, make: MakeVariants) -> Tensor:
        runner.progress = self.progress or (lambda _done, _count: None)
        everything = torch.ones(count, len(self.images), dtype=torch.bool, device="cpu")
        return runner.scores(everything.to(self.images.device), make)

    def cascade(self, steps: int, seed: int) -> Iterator[tuple[str, float, nn.Module]]:
        """Yield the network with more and more weights drawn anew; see `cut.randomise`."""
        return cascade(self.model, self.given, steps, seed)

    def begin(self, doing: str) -> None:
        """Report the runs of what is done from now on."""
        progress = self._gathered.options.progress
        self.progress = None if progress is None else partial(progress, doing)

    def read(self) -> FixedScore:
        """Return the score as a target for other outputs of the same images."""
        return FixedScore(self.scores.read_again)

    def once(self, key: Hashable, find: Callable[[], _Found]) -> _Found:
        """Find something the first time it is asked for."""
        if key not in self._kept:
            self._kept[key] = find()
        found: _Found = self._kept[key]
        return found


@dataclass(frozen=True, eq=False)
class MapCase:
    """Maps of one batch of images, and all that a metric may read of them.

    Attributes:
        maps: The maps that are measured.
        probe: The network, run on changed images.
        again: Makes the maps again; None for maps whose origin is not known.
        objects: Where the objects are; None when nobody said.
    """

    maps: Maps
    probe: PerturbedModel
    again: Again | None = None
    objects: Objects | None = None

    @property
    def heatmap(self) -> Tensor:
        """M, the heatmaps in [0, 1], `[B, *image]`."""
        return self.maps.heatmap

    @cached_property
    def contributions(self) -> Tensor:
        """The raw maps, signed, resized to the image, `[B, *image]`."""
        return resize(self.maps.raw, self.probe.size, self.maps.span)

    @cached_property
    def relevance(self) -> Tensor:
        """Their positive part, `[B, *image]`: the heatmap before it is scaled to [0, 1]."""
        return resize(relu(self.maps.raw), self.probe.size, self.maps.span)

    @cached_property
    def masked(self) -> Tensor:
        """`p_c(x * M)`, `[B]`."""
        images, heatmap = self.probe.images, self.heatmap
        found = self.probe.values(1, lambda _number, b: (images[b] * heatmap[b])[None])
        return found[0]

    def repeated(self, images: Tensor, model: nn.Module | None = None) -> Maps:
        """Return the same maps of other images `[B, C, *image]`, or with another model.

        Raises:
            MetricError: How the maps were made is not known.
        """
        if self.again is None:
            raise MetricError(
                "The metric makes the maps again, on changed images or weights, and how these were "
                "made is not known. Pass what limelight.explain returned rather than its heatmap."
            )
        return self.again(self.probe, self.probe.given.on(images), model)
