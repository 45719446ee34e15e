"""What comes after a cut, run again on many variants: in chunks, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from limelight.cut.passes import differentiate, with_graph
from limelight.evidence import Make, at_least_float32
from limelight.targets import Scores

#: Is told how many runs are done, and of how many.
Progress = Callable[[int, int], None]


class Rerunner:
    """Runs `y = head(A)`, or the whole network, on variants of what it was given."""

    def __init__(
        self,
        run: Callable[[Tensor, Tensor], Any],
        scores: Scores,
        chunk: int,
        progress: Progress | None,
    ) -> None:
        """Prepare.

        Args:
            run: From variants `[M, ...]` and the images `[M]` that they are of to an output.
            scores: What is explained.
            chunk: How many variants are run together.
            progress: Is told how many of them are done.
        """
        self._run, self._scores, self._chunk = run, scores, chunk
        self._progress = progress or (lambda _done, _count: None)

    def scores(self, wanted: Tensor, make: Make) -> Tensor:
        """Return the score of each variant of each image, `[V, B]`; see `limelight.evidence`."""
        explained = at_least_float32(self._scores.values.detach())
        found = explained.repeat(len(wanted), 1)
        with torch.inference_mode():
            for variants, images in self._chunks(wanted):
                output = self._run(make(variants, images), images)
                found[variants, images] = self._scores.again(output, images).to(found.dtype)
        return found

    def gradients(self, weights: Tensor, make: Make) -> Tensor:
        """Return `sum_v weights_v dy_c/dA` at the variants v of each image, `[B, K, *grid]`."""
        total: Tensor | None = None
        everything = torch.ones(len(weights), len(self._scores.values), dtype=torch.bool)
        for variants, images in self._chunks(everything.to(weights.device)):
            with with_graph():
                leaf = make(variants, images).detach().requires_grad_()
                scores = self._scores.again(self._run(leaf, images), images)
                (gradient,) = differentiate(scores.sum(), [leaf], retain=False)
            if total is None:
                total = gradient.new_zeros(len(self._scores.values), *gradient.shape[1:])
            share = weights[variants].to(gradient).reshape(-1, *[1] * (gradient.ndim - 1))
            total.index_add_(0, images, share * gradient)
        assert total is not None
        return total

    def _chunks(self, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield variants and their images `[M]`; a chunk is of one image, so it shares its record.

        Progress is told after each.
        """
        count, done = int(wanted.sum()), 0
        for image in range(wanted.shape[1]):
            numbers = wanted[:, image].nonzero()[:, 0]
            for variants in torch.split(numbers, self._chunk) if len(numbers) else ():
                yield variants, torch.full_like(variants, image)
                done += len(variants)
                self._progress(done, count)
