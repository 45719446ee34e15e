"""The evidence on a cut and a target; each kind is found once, for all methods that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import (
    Attention,
    Combine,
    Evidence,
    EvidenceKind,
    at_least_float32,
    total,
)
from limelight.layers import INPUT
from limelight.methods import Method
from limelight.options import Options
from limelight.pixels import as_pixels, in_floating_point
from limelight.progress import ProgressCallback, RunCallback
from limelight.runtime.cut import Cut
from limelight.runtime.deep import refuse_whole_numbers
from limelight.runtime.rerun import Rerunner
from limelight.status import cancels
from limelight.targets import FixedScore, Scores, ScoreTarget


class TargetEvidence:
    """The evidence on one cut and one target: each kind is found when a method first needs it."""

    def __init__(self, cut: Cut, target: ScoreTarget, options: Options) -> None:
        """Score the images; all other evidence is found when it is needed."""
        self.cut, self.target, self.options = cut, target, options
        self.scores = cut.score(target)
        self.progress: RunCallback | None = None  # of the method that is applied now
        self._found = dict[EvidenceKind, Any]()
        self._attention = dict[tuple[EvidenceKind, str], Attention | str]()  # or why there is none

    def begin(self, method: str) -> None:
        """Report runs from now on as those of this method."""
        progress = self.options.progress
        self.progress = None if progress is None else partial(progress, method)

    def reporting(self, method: str, progress: ProgressCallback | None) -> TargetEvidence:
        """Return the same evidence, whose runs are reported as those of a method.

        What either finds, the other has found too; this one reports as before.
        """
        other = copy(self)
        other.options = replace(self.options, progress=progress)
        other.begin(method)
        return other

    def evidence(self, needs: frozenset[EvidenceKind], combine: Combine = total) -> Evidence:
        """Return the evidence for a method with these needs."""
        found = {need: self._get(need) for need in sorted(needs)}
        return Evidence(
            activations=at_least_float32(self.cut.activations),
            image=in_floating_point(self.cut.image),
            score=at_least_float32(self.scores.values.detach()),
            found=found,
            combine=combine,
            span=self.cut.layout.span,
        )

    def connections(self, method: Method) -> Sequence[Tensor]:
        """Return the gradients, or CAM's class weights, that a method read, `[B, ...]` each.

        If one of them is zero for an image, its score is disconnected from the layer. Guided
        gradients also vanish where the plain ones are negative; then those say it.
        """
        needs = method.needs
        if needs == {"guided gradients"}:
            guided: Tensor = self._found["guided gradients"]
            if bool(guided.flatten(1).any(1).all()):
                return []
            cut, scores = self._with_graph()
            return [cut.gradients(scores)]
        values = [self._found.get(need) for need in needs - {"curvature", "guided gradients"}]
        last = [found.last.gradients for found in self.attention_read(method)]
        return [gradient for gradient in (*values, *last) if isinstance(gradient, Tensor)]

    def attention_read(self, method: Method) -> list[Attention]:
        """Return the attention that a method read, of the tower that its options name."""
        tower = str(method.known_options.get("tower", ""))
        found = (self._attention.get((need, tower)) for need in sorted(method.needs))
        return [one for one in found if isinstance(one, Attention)]

    def cancelled(self, method: Method) -> Tensor | None:
        """Return for each image whether what a method sums up cancels, `[B]`.

        It is None for a method that sums nothing that may.
        """
        if method.sums_over is None or (method.sums_over == "channels" and self.options.eigen):
            return None
        gradients = self._get("gradients")
        if method.sums_over == "channels":
            gradients = gradients * at_least_float32(self.cut.activations)
        return cancels(gradients, method.sums_over)

    def skipped(self, needs: frozenset[EvidenceKind]) -> list[int]:
        """Return the images whose score no gradient leads from to the layer.

        It is [] for methods that need no gradient.
        """
        if "gradients" not in needs:
            return []
        reached = self._get("gradients").flatten(1).any(1)
        return [image for image, is_reached in enumerate(reached.tolist()) if not is_reached]

    def why_disconnected(self) -> str:
        """Return why no gradient of the score arrives at the layer, and what to do."""
        cut, scores = self._with_graph()
        return cut.why_disconnected(self.target, scores)

    def _with_graph(self) -> tuple[Cut, Scores]:
        """Return the cut, and its scores, with a graph: a cut at the input may have none."""
        if self.cut.layer != INPUT or not self.cut.image.is_floating_point():
            return self.cut, self.scores
        cut = self.cut.on(self.cut.image, with_graph=True)
        return cut, cut.score(FixedScore(self.scores.read_again))

    def rerunner(self, scores: Scores) -> Rerunner:
        """Return the whole network, to be run on other images and read by these scores."""
        return self._rerunner(self.cut.network, self.cut.image, scores, whole=True)

    def _get(self, need: EvidenceKind) -> Any:
        """Return one kind of evidence; numbers are found once and kept."""
        if need == "head":
            whole = self.cut.layer == INPUT
            head = partial(self.cut.head, may_overwrite=True)
            return self._rerunner(head, self.cut.activations, self.scores, whole=whole)
        if need == "network":
            return self.rerunner(self.scores)
        if need in ("attention", "layer attention"):
            return partial(self._attention_of, need)
        if need not in self._found:
            try:
                self._found[need] = self._find(need)
            except MethodError as error:  # kept, so that no other method tries again
                self._found[need] = str(error)
        if isinstance(self._found[need], str):
            raise MethodError(self._found[need])
        return self._found[need]

    def _find(self, need: EvidenceKind) -> Any:
        """Ask the cut for one kind of evidence."""
        cut, scores = self.cut, self.scores
        if need == "gradients" and cut.layer == INPUT:
            refuse_whole_numbers(cut.image)
        if need not in ("gradients", "class weights"):  # these raise the same error themselves
            cut.check_gradient(scores)
        match need:
            case "gradients":
                found = cut.gradients(scores)
            case "curvature":
                found = cut.curvature(scores)
            case "class weights":
                found = cut.class_weights(scores)
            case "guided gradients":
                found = cut.guided_gradients(scores)
            case "bias gradients":
                layers = cut.bias_gradients(scores)
                return [layer._replace(values=at_least_float32(layer.values)) for layer in layers]
            case _:
                return cut.word_logits(scores)
        return at_least_float32(found)

    def _attention_of(self, need: EvidenceKind, tower: str) -> Attention:
        """Return the attention of one tower; it is found once and kept."""
        key = need, tower
        if key not in self._attention:
            by_layer = need == "layer attention"
            try:
                found = self.cut.attention(self.scores, by_layer=by_layer, tower=tower)
                self._attention[key] = found
            except MethodError as error:  # kept, so that no other method tries again
                self._attention[key] = str(error)
        found_or_not = self._attention[key]
        if isinstance(found_or_not, str):
            raise MethodError(found_or_not)
        return found_or_not

    def _rerunner(
        self, network: Callable[..., Any], like: Tensor, scores: Scores, *, whole: bool
    ) -> Rerunner:
        """Return what runs a network on variants of a tensor `like` A or the images.

        `whole` says that it is the whole network rather than a head.
        """
        chunk = self.options.chunk or _chunk(like, whole=whole)

        def run(variants: Tensor, rows: Tensor) -> Any:
            if variants.requires_grad:
                refuse_whole_numbers(like)
            return network(as_pixels(variants, like.dtype), rows=rows)

        return Rerunner(
            run,
            scores,
            chunk,
            self.progress,
            inference=self.cut.keeps_nothing,
            mixed=whole,
            suits_channels_last=lambda: whole and self.cut.suits_channels_last,
        )


def _chunk(like: Tensor, *, whole: bool) -> int:
    """Return how many variants to run together if the user did not say.

    For a whole network on a CPU this is up to 8: more do not fit the caches, and took up to twice
    as long each; fewer if images are large. For a head it is as many as hold 2^22 numbers: each run
    has a cost of its own, and so has memory that is allocated anew each time.
    """
    most, numbers = 128, 2**22
    if whole:
        most, numbers = (8, 2**21) if like.device.type == "cpu" else (32, 2**24)
    return max(1, min(most, numbers // like[0].numel()))
