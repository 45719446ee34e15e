"""What comes after a cut, run again on many variants: in chunks, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from limelight.evidence import Make, at_least_float32
from limelight.progress import RunCallback
from limelight.runtime.autograd import differentiate, with_graph
from limelight.targets import Scores

#: How many runs are worth two more, to find out how they are faster.
_MANY = 64


class Rerunner:
    """Runs `y = head(A)`, or the whole network, on variants of what it was given."""

    def __init__(
        self,
        run: Callable[[Tensor, Tensor], Any],
        scores: Scores,
        chunk: int,
        progress: RunCallback | None,
        *,
        inference: bool,
        mixed: bool = False,
        suits_channels_last: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare.

        Args:
            run: From variants `[M, ...]` and the images `[M]` that they are of to an output.
            scores: What is explained.
            chunk: How many variants are run together.
            progress: Is told how many of them are done.
            inference: Whether scores are found in inference mode. What a network kept of such a
                pass for later could not take part in training.
            mixed: Whether variants of several images may run together; a head shares the records
                of one image.
            suits_channels_last: Whether pictures should be run channels last, which takes two runs
                to find out.
        """
        self._run, self._scores, self._chunk, self._mixed = run, scores, chunk, mixed
        self._suits_channels_last = suits_channels_last
        self._mode = torch.inference_mode if inference else torch.no_grad
        self.progress: RunCallback = progress or (lambda _done, _count: None)

    def scores(self, wanted: Tensor, make: Make) -> Tensor:
        """Return the score of each variant of each image, `[V, B]`; see `limelight.evidence`."""
        explained = at_least_float32(self._scores.values.detach())
        found = explained.repeat(len(wanted), 1)
        with self._mode():
            done, count = 0, int(wanted.sum())
            last = count >= _MANY and self._suits_channels_last()
            layout = torch.channels_last if last else torch.preserve_format
            for parts in self._together(wanted):
                variants = torch.cat([numbers for numbers, _ in parts])
                rows = torch.cat([torch.full_like(numbers, b) for numbers, b in parts])
                made = [make(numbers, b) for numbers, b in parts]
                together = made[0] if len(made) == 1 else torch.cat(made)
                output = self._run(together.to(memory_format=layout), rows)
                found[variants, rows] = self._scores.again(output, rows).to(found.dtype)
                self.progress(done := done + len(variants), count)
        return found

    def gradients(self, weights: Tensor, make: Make) -> Tensor:
        """Return `sum_v weights_v dy_c/dA` at the variants v of each image, `[B, K, *grid]`."""
        total: Tensor | None = None
        everything = torch.ones(
            len(weights), len(self._scores.values), dtype=torch.bool, device="cpu"
        )
        done, count = 0, everything.numel()
        for variants, b in self._chunks(everything.to(weights.device)):
            rows = torch.full_like(variants, b)
            with with_graph():
                leaf = make(variants, b).detach().requires_grad_()
                scores = self._scores.again(self._run(leaf.clone(), rows), rows)
                (gradient,) = differentiate(scores.sum(), [leaf], retain=False)
            if total is None:
                total = gradient.new_zeros(len(self._scores.values), *gradient.shape[1:])
            share = weights[variants].to(gradient).reshape(-1, *[1] * (gradient.ndim - 1))
            total[b] += (share * gradient).sum(0)
            self.progress(done := done + len(variants), count)
        assert total is not None
        return total

    def _together(self, wanted: Tensor) -> Iterator[list[tuple[Tensor, int]]]:
        """Yield what runs together: the numbers of variants, by the image that they are of."""
        waiting, room = list[tuple[Tensor, int]](), self._chunk
        for numbers, image in self._chunks(wanted):
            if waiting and (not self._mixed or len(numbers) > room):
                yield waiting
                waiting, room = [], self._chunk
            waiting.append((numbers, image))
            room -= len(numbers)
        if waiting:
            yield waiting

    def _chunks(self, wanted: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Yield the numbers of variants, and the one image whose records they share."""
        for image in range(wanted.shape[1]):
            numbers = wanted[:, image].nonzero()[:, 0]
            for variants in torch.split(numbers, self._chunk) if len(numbers) else ():
                yield variants, image
