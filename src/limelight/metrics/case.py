"""What a metric may read: maps, the network to run on changed images, and where the objects are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from limelight.errors import MetricError
from limelight.evidence import MakeVariants, at_least_float32
from limelight.finish import AxisSpan, relu, resize
from limelight.inputs import ModelInputs
from limelight.layers import INPUT
from limelight.metrics.objects import Objects
from limelight.options import Options
from limelight.pixels import as_pixels, in_floating_point
from limelight.progress import RunCallback
from limelight.runtime.cut import cut_layers
from limelight.runtime.randomise import cascade
from limelight.runtime.rerun import Rerunner
from limelight.target_evidence import TargetEvidence
from limelight.targets import FixedScore, ScoreTarget
from limelight.targets.scores import CustomScore, Scores

_Result = TypeVar("_Result")


class Maps(NamedTuple):
    """Maps of B images.

    Attributes:
        raw: The signed maps on the grid, `[B, *grid]`.
        heatmap: M, in [0, 1], `[B, *image]`.
        span: How long the grid is along each axis, in picture lengths.
    """

    raw: Tensor
    heatmap: Tensor
    span: tuple[AxisSpan, ...] = ()


class Remake(Protocol):
    """A function that makes maps as they were made before, for other images or another model."""

    def __call__(
        self,
        perturbed: PerturbedModel,
        inputs: ModelInputs,
        model: nn.Module | None = None,
        score: FixedScore | None = None,
    ) -> Maps:
        """Return the maps for these inputs, and for this model and this score if they are given.

        Otherwise the score is that of `perturbed`, with the classes as they were chosen there.
        """


class PerturbedModel:
    """A network, images and a score, to be run on changed images.

    What does not depend on a map is computed once, for all maps of the same images.

    Attributes:
        model: The network.
        inputs: The inputs that are explained.
        scores: What is explained.
        progress: Called as progress(done, total) while the network runs; None to report nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        target: ScoreTarget,
        options: Options,
    ) -> None:
        """Run the network once.

        Raises:
            LayerError: The inputs are no images that can be changed.
        """
        (cut,) = cut_layers(model, inputs, [INPUT], options, input_requires_grad=False)
        self._evidence = TargetEvidence(cut, target, options)
        self.model, self.inputs = model, inputs
        self.scores: Scores = self._evidence.scores
        self.progress: RunCallback | None = None
        self._computed = dict[Hashable, Any]()

    @property
    def images(self) -> Tensor:
        """The images x, `[B, C, *image]`, in floating point."""
        return in_floating_point(self.inputs.image)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """A digest of each image; different images have different digests."""
        return digests(self.inputs.image)

    @property
    def size(self) -> tuple[int, ...]:
        """The sizes of the image axes."""
        return tuple(self.images.shape[2:])

    @property
    def has_probability(self) -> bool:
        """Whether the score has a probability: of one class among several, or of words."""
        return self.scores.probability is not None

    @property
    def has_custom_score(self) -> bool:
        """Whether the score is a callable of the user's, which may return a probability."""
        return isinstance(self._evidence.target, CustomScore)

    @cached_property
    def value(self) -> Tensor:
        """f(x), `[B]`: the probability `p_c(x)` if the score has one, else the score itself."""
        probability = self._evidence.cut.probability(self.scores)
        return self.score if probability is None else at_least_float32(probability)

    @property
    def score(self) -> Tensor:
        """`y_c(x)`, the score that is explained, `[B]`."""
        return at_least_float32(self.scores.values.detach())

    def values(self, count: int, make: MakeVariants) -> Tensor:
        """Return f of changed images, `[V, B]`.

        Args:
            count: V, how many variants there are of each image.
            make: Makes some variants of one image. It is given their numbers, `[M]`, and the
                number of the image, and returns `[M, C, *image]`.
        """
        if self.scores.probability is None:
            return self.score_values(count, make)
        probabilities = self.scores._replace(values=self.value, read_again=self.scores.probability)
        return self._run(self._evidence.rerunner(probabilities), count, make)

    def score_values(self, count: int, make: MakeVariants) -> Tensor:
        """Return the score `y_c` of changed images, `[V, B]`, as `values` does for f."""
        return self._run(self._evidence.rerunner(self.scores), count, make)

    def _run(self, runner: Rerunner, count: int, make: MakeVariants) -> Tensor:
        runner.progress = self.progress or (lambda _done, _count: None)
        all_variants = torch.ones(count, len(self.images), dtype=torch.bool, device="cpu")
        return runner.scores(all_variants.to(self.images.device), make)

    def cascade(self, steps: int, seed: int) -> Iterator[tuple[str, float, nn.Module]]:
        """Yield the network with more and more weights drawn anew; see `runtime.randomise`."""
        return cascade(self.model, self.inputs, steps, seed)

    def begin(self, task: str) -> None:
        """Report the runs from now on as those of a task."""
        progress = self._evidence.options.progress
        self.progress = None if progress is None else partial(progress, task)

    def fixed_score(self) -> FixedScore:
        """Return the score as a target for other outputs of the same images."""
        return FixedScore(self.scores.read_again)

    def score_of_another_class(self, seed: int) -> FixedScore:
        """Return the score of another class of each image, drawn at random, as a target.

        All classes but the explained one are equally likely. The draw depends on the seed and on
        the image in float32 alone, so not on the batch.

        Raises:
            MetricError: The score is not that of one class among several.
        """
        others, explained = self.scores.others, self.scores.indices
        if others is None or explained is None:
            raise MetricError(
                "The metric explains another class too, and "
                f"{self.scores.labels[0]!r} is not one class among several. Take a class of a "
                "network with at least two as the target, or another metric of sanity "
                "(parameter-randomisation)."
            )
        drawn = [
            int(np.random.default_rng([seed, int(digest, 16)]).integers(others.count - 1))
            for digest in digests(self.images.float())
        ]
        # The classes behind the explained one move up by one, so that it is never drawn.
        classes = torch.tensor(drawn, device="cpu")
        return FixedScore(others.read(classes + (classes >= explained.cpu())))

    def once(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """Return the result of `compute` under a key; only the first call with it computes it."""
        if key not in self._computed:
            self._computed[key] = compute()
        result: _Result = self._computed[key]
        return result


def digests(images: Tensor, size: int = 8) -> tuple[str, ...]:
    """Return a digest, of `size` bytes, of each image `[B, ...]`; different images differ in it."""
    rows = images.detach().cpu().contiguous().flatten(1)
    hashes = (blake2b(row.view(torch.uint8).numpy().tobytes(), digest_size=size) for row in rows)
    return tuple(each.hexdigest() for each in hashes)


@dataclass(frozen=True, eq=False)
class MapCase:
    """Maps of one batch of images, and all that a metric may read of them.

    Attributes:
        maps: The maps that are measured.
        perturbed: The network, run on changed images.
        remake: Makes the maps again; None for maps whose origin is not known.
        objects: Where the objects are; None when that is not known.
    """

    maps: Maps
    perturbed: PerturbedModel
    remake: Remake | None = None
    objects: Objects | None = None

    @property
    def heatmap(self) -> Tensor:
        """M, the heatmaps in [0, 1], `[B, *image]`."""
        return self.maps.heatmap

    @cached_property
    def contributions(self) -> Tensor:
        """The raw maps, signed, resized to the image, `[B, *image]`."""
        return resize(self.maps.raw, self.perturbed.size, self.maps.span)

    @cached_property
    def relevance(self) -> Tensor:
        """The positive part of the raw maps, `[B, *image]`: heatmaps before they are scaled."""
        return resize(relu(self.maps.raw), self.perturbed.size, self.maps.span)

    @cached_property
    def masked_value(self) -> Tensor:
        """f(x * M), `[B]`: f of the images multiplied by their heatmaps."""
        images, heatmap = self.perturbed.images, self.heatmap
        values = self.perturbed.values(1, lambda _number, b: (images[b] * heatmap[b])[None])
        return values[0]

    def remade(
        self, images: Tensor, model: nn.Module | None = None, score: FixedScore | None = None
    ) -> Maps:
        """Return the maps for other images `[B, C, *image]`, another model or another score.

        Raises:
            MetricError: How the maps were made is not known.
        """
        if self.remake is None:
            raise MetricError(
                "The metric makes the maps again, on changed images or weights, and how these were "
                "made is not known. Pass what limelight.explain returned rather than its heatmap."
            )
        inputs = self.perturbed.inputs
        changed = inputs.on(as_pixels(images, inputs.image.dtype))
        return self.remake(self.perturbed, changed, model, score)
