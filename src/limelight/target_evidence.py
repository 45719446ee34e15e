"""From a cut to evidence: each thing is found out once, for all the methods that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Attention, Combine, Evidence, Need, at_least_float32, total
from limelight.layers import INPUT
from limelight.options import Options
from limelight.progress import ProgressCallback, RunCallback
from limelight.runtime.cut import Cut
from limelight.runtime.rerun import Rerunner
from limelight.targets import Scores, ScoreTarget


class TargetEvidence:
    """What is known of one cut and one target, growing as methods ask for it."""

    def __init__(self, cut: Cut, target: ScoreTarget, options: Options) -> None:
        """Score the images; everything else waits until it is needed."""
        self.cut, self.target, self.options = cut, target, options
        self.scores = cut.score(target)
        self.progress: RunCallback | None = None  # of the method at work
        self._found = dict[Need, Any]()

    def begin(self, method: str, progress: ProgressCallback | None) -> None:
        """Report the runs of a method from now on."""
        self.progress = None if progress is None else partial(progress, method)

    def evidence(self, needs: frozenset[Need], combine: Combine = total) -> Evidence:
        """Return what a method with these needs may read."""
        found = {need: self._get(need) for need in sorted(needs)}
        return Evidence(
            activations=at_least_float32(self.cut.activations),
            image=self.cut.image,
            score=at_least_float32(self.scores.values.detach()),
            found=found,
            combine=combine,
            span=self.cut.layout.span,
        )

    def connections(self, needs: frozenset[Need]) -> Sequence[Tensor]:
        """Return what was found that is zero of an image whose score does not depend on the cut."""
        found = [self._found.get(need) for need in needs if need != "curvature"]
        slopes = [one.gradients[-1] if isinstance(one, Attention) else one for one in found]
        return [slope for slope in slopes if isinstance(slope, Tensor)]

    def rerunner(self, scores: Scores) -> Rerunner:
        """Return the whole network, to be run on other images, and read like these scores."""
        return self._rerunner(self.cut.network, self.cut.image, scores, whole=True)

    def _get(self, need: Need) -> Any:
        if need == "head":
            whole = self.cut.layer == INPUT
            head = partial(self.cut.head, spent=True)
            return self._rerunner(head, self.cut.activations, self.scores, whole=whole)
        if need == "network":
            return self.rerunner(self.scores)
        if need not in self._found:
            try:
                self._found[need] = self._find(need)
            except MethodError as error:  # so that it is not tried for every method
                self._found[need] = str(error)
        if isinstance(self._found[need], str):
            raise MethodError(self._found[need])
        return self._found[need]

    def _find(self, need: Need) -> Any:
        cut, scores = self.cut, self.scores
        if need != "class weights":
            cut.check_gradient(scores)
        match need:
            case "gradients":
                return at_least_float32(cut.gradients(scores))
            case "curvature":
                return at_least_float32(cut.curvature(scores))
            case "class weights":
                return at_least_float32(cut.class_weights(scores))
            case "guided gradients":
                return at_least_float32(cut.guided_gradients(scores))
            case "bias gradients":
                return [at_least_float32(one) for one in cut.bias_gradients(scores)]
            case _:
                return cut.attention(scores, by_layer=need == "layer attention")

    def _rerunner(
        self, run: Callable[..., Any], like: Tensor, scores: Scores, *, whole: bool
    ) -> Rerunner:
        chunk = self.options.chunk or _chunk(like, whole=whole)
        return Rerunner(
            lambda variants, rows: run(variants.to(like.dtype), rows=rows),
            scores,
            chunk,
            self.progress,
            inference=self.cut.keeps_nothing,
            mixed=whole,
            suits_channels_last=lambda: whole and self.cut.suits_channels_last,
        )


def _chunk(like: Tensor, *, whole: bool) -> int:
    """Return how many variants to run together when nobody said.

    Of a whole network on a CPU up to 8: more do not fit its caches, and took up to twice as long
    for each; fewer where images are large. Of a head as many as hold 2^22 numbers: a run has a cost
    of its own, and so has memory that is asked for anew each time.
    """
    most, numbers = 128, 2**22
    if whole:
        most, numbers = (8, 2**21) if like.device.type == "cpu" else (32, 2**24)
    return max(1, min(most, numbers // like[0].numel()))
