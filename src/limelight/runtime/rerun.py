"""The head, or the whole network, run again on many variants: in chunks, with bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from limelight.evidence import MakeVariants, at_least_float32
from limelight.progress import RunCallback
from limelight.runtime.autograd import differentiate, with_graph
from limelight.targets import Scores

_log = logging.getLogger(__name__)

#: From this many runs on, two more are spent to find out which memory format is faster.
_WORTH_A_TRIAL = 64


class Rerunner:
    """Runs `y = head(A)`, or the whole network, on variants of its input: a `Rerun` for methods."""

    def __init__(
        self,
        network: Callable[[Tensor, Tensor], Any],
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
            network: From variants `[M, ...]` and the number of the image of each, `[M]`, to an
                output.
            scores: What is explained.
            chunk: How many variants are run together.
            progress: Called as progress(done, total).
            inference: Whether scores are read in inference mode. This is safe only if the network
                stores no tensors: those of such a pass cannot take part in training later.
            mixed: Whether variants of several images may run together. For a head they may not:
                variants of one image share that image's record.
            suits_channels_last: Returns whether images should be run in channels-last memory
                format; finding that out takes two runs.
        """
        self._network, self._scores, self._chunk, self._mixed = network, scores, chunk, mixed
        self._suits_channels_last = suits_channels_last
        self._mode = torch.inference_mode if inference else torch.no_grad
        self.progress: RunCallback = progress or (lambda _done, _count: None)

    def scores(self, wanted: Tensor, make: MakeVariants) -> Tensor:
        """Return the score of each variant of each image, `[V, B]`; see `limelight.evidence`."""
        explained = at_least_float32(self._scores.values.detach())
        scores = explained.repeat(len(wanted), 1)
        with self._mode():
            done, count = 0, int(wanted.sum())
            _log.debug("%d runs, up to %d together", count, self._chunk)
            channels_last = count >= _WORTH_A_TRIAL and self._suits_channels_last()
            memory_format = torch.channels_last if channels_last else torch.preserve_format
            for pieces in self._together(wanted):
                variants = torch.cat([numbers for numbers, _ in pieces])
                rows = torch.cat([torch.full_like(numbers, b) for numbers, b in pieces])
                made = [make(numbers, b) for numbers, b in pieces]
                batch = made[0] if len(made) == 1 else torch.cat(made)
                output = self._network(batch.to(memory_format=memory_format), rows)
                scores[variants, rows] = self._scores.read_again(output, rows).to(scores.dtype)
                self.progress(done := done + len(variants), count)
        return scores

    def gradients(self, weights: Tensor, make: MakeVariants) -> Tensor:
        """Return `sum_v weights_v dy_c/dA` at the variants v of each image, `[B, K, *grid]`."""
        total: Tensor | None = None
        wanted = torch.ones(len(weights), len(self._scores.values), dtype=torch.bool, device="cpu")
        done, count = 0, wanted.numel()
        _log.debug("%d runs with a gradient, up to %d together", count, self._chunk)
        for variants, b in self._chunks(wanted.to(weights.device)):
            rows = torch.full_like(variants, b)
            with with_graph():
                leaf = make(variants, b).detach().requires_grad_()
                scores = self._scores.read_again(self._network(leaf.clone(), rows), rows)
                (gradient,) = differentiate(scores.sum(), [leaf], retain=False)
            if total is None:
                total = gradient.new_zeros(len(self._scores.values), *gradient.shape[1:])
            share = weights[variants].to(gradient).reshape(-1, *[1] * (gradient.ndim - 1))
            total[b] += (share * gradient).sum(0)
            self.progress(done := done + len(variants), count)
        assert total is not None
        return total

    def _together(self, wanted: Tensor) -> Iterator[list[tuple[Tensor, int]]]:
        """Yield what runs together: numbers of variants, with the number of their image."""
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
        """Yield the numbers of up to `chunk` variants, and of the one image that they belong to."""
        for image in range(wanted.shape[1]):
            numbers = wanted[:, image].nonzero()[:, 0]
            for variants in torch.split(numbers, self._chunk) if len(numbers) else ():
                yield variants, image
