"""From a cut to evidence: each thing is found out once, for all the methods that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from limelight.cut import Cut
from limelight.cut.rerun import Progress, Rerunner
from limelight.errors import MethodError
from limelight.evidence import Attention, Evidence, Need, at_least_float32, total
from limelight.targets import Target


class Gathered:
    """What is known of one cut and one target, growing as methods ask for it."""

    def __init__(
        self,
        cut: Cut,
        target: Target,
        *,
        chunk: int,
        progress: Progress | None = None,
    ) -> None:
        """Score the images; everything else waits until it is needed."""
        self.cut, self.scores = cut, cut.score(target)
        self._chunk = chunk
        self.progress = progress  # of the method at work
        self._found = dict[Need, Any]()

    def evidence(
        self, needs: frozenset[Need], combine: Callable[[Tensor], Tensor] = total
    ) -> Evidence:
        """Return what a method with these needs may read."""
        for need in sorted(needs):
            if need not in self._found:
                try:
                    self._found[need] = self._find(need)
                except MethodError as error:  # so that it is not tried for every method
                    self._found[need] = MethodError(str(error))
            if isinstance(self._found[need], MethodError):
                raise self._found[need]
        return Evidence(
            activations=at_least_float32(self.cut.activations),
            image=self.cut.image,
            score=at_least_float32(self.scores.values.detach()),
            found={need: self._found[need] for need in needs},
            combine=combine,
        )

    def connections(self, needs: frozenset[Need]) -> Sequence[Tensor]:
        """Return what was found that is zero of an image whose score does not depend on the cut."""
        found = [self._found[need] for need in needs if need != "curvature"]
        slopes = [one.gradients[-1] if isinstance(one, Attention) else one for one in found]
        return [slope for slope in slopes if isinstance(slope, Tensor)]

    def _find(self, need: Need) -> Any:  # noqa: PLR0911 (a line per need)
        cut, scores = self.cut, self.scores
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
            case "attention" | "layer attention":
                return cut.attention(scores, by_layer=need == "layer attention")
            case "head" | "network":
                whole = need == "network"
                run = cut.network if whole else cut.head
                like = cut.image if whole else cut.activations
                return Rerunner(
                    lambda variants, images: run(variants.to(like.dtype), rows=images),
                    scores,
                    self._chunk,
                    self._tell,
                )

    def _tell(self, done: int, count: int) -> None:
        if self.progress:
            self.progress(done, count)
