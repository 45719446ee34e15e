"""Has the network learned anything? If not, there is nothing for a map to show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs
from limelight.layers import INPUT
from limelight.metrics.intervals import CONFIDENCE
from limelight.options import Options
from limelight.runtime.cut import cut_layers
from limelight.runtime.randomise import shuffled
from limelight.targets.outputs import class_logits

#: With fewer no p-value below 0.05 is possible, as two statistics are looked at.
SHUFFLES = 39


class Learned(NamedTuple):
    """Whether the predictions show that the network has learned anything.

    Attributes:
        information: What the predictions tell about which photo it is, in nats:
            `H(mean_n p_n) - mean_n H(p_n)`, H the entropy, p_n the probabilities of photo n.
        confidence: The mean probability of the predicted class.
        p: The p-value of "nothing was learned"; NaN where that is not known: the network gives no
            class logits `[B, C]`, and then information is NaN too, or the test was broken off.
    """

    information: float
    confidence: float
    p: float

    @property
    def is_shown(self) -> bool | None:
        """Whether it is shown that the network has learned something; None if not checked."""
        return None if math.isnan(self.p) else self.p <= 1 - CONFIDENCE

    @property
    def sentence(self) -> str:
        """What the test says, in plain words."""
        if self.is_shown is None and not math.isnan(self.information):
            return "The test whether this network has learned anything was broken off."
        if self.is_shown is None:
            return (
                "Whether this network has learned anything was not checked, because it gives no "
                "class logits."
            )
        if self.is_shown:
            return (
                "The network has learned something: its predictions are more informative or more "
                f"certain than those of {SHUFFLES} copies with shuffled weights."
            )
        return (
            "It is not shown that this network has learned anything: when its weights are "
            f"shuffled, its predictions are as informative and as certain (p = {self.p:.2f}). "
            "Load trained weights, or pass photos of what the network knows."
        )


def has_learned(
    model: nn.Module, photos: Sequence[ModelInputs], options: Options, *, seed: int = 0
) -> Iterator[Learned]:
    """Yield, after each of 40 networks is run, what is known of whether the network has learned.

    A permutation test. The network is compared with 39 copies whose weights are shuffled, each
    tensor by itself. If nothing was learned, all 40 are equally likely. Then the network's own
    predictions are the most informative of all, or the most confident, with a chance of 1 in 40
    each: `p = 2 min_s (1 + |{copies with a statistic s as high}|) / 40`.

    The last value counts; those before have `p` NaN, except where there are no class logits.
    """
    own = _statistics(model, photos, options)
    if own is None:
        yield Learned(math.nan, math.nan, math.nan)
        return
    information, confidence = own.tolist()
    reached = torch.ones(2, dtype=torch.float64, device="cpu")
    for number in range(SHUFFLES):
        yield Learned(information, confidence, math.nan)
        other = _statistics(shuffled(model, seed + number), photos, options)
        # What is not finite is no better than any.
        reached += 1.0 if other is None else ~(other < own)
    p = min(1.0, 2 * float(reached.min()) / (SHUFFLES + 1))
    yield Learned(information, confidence, p)


def _statistics(model: nn.Module, photos: Sequence[ModelInputs], options: Options) -> Tensor | None:
    """Return information and confidence of a network's predictions, `[2]`.

    They are None where the network gives no class logits `[1, C]` for a photo.
    """
    rows = list[Tensor]()
    for inputs in photos:
        (cut,) = cut_layers(model, inputs, [INPUT], options, input_requires_grad=False)
        logits = class_logits(cut.output, options.spec.key)
        if logits.ndim != 2 or len(logits) != inputs.batch or logits.shape[1] < 2:
            return None
        rows.append(logits.detach().cpu().double().softmax(1))
    p = torch.cat(rows)
    information = _entropy(p.mean(0)) - _entropy(p).mean()
    return torch.stack([information, p.amax(1).mean()])


def _entropy(p: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats."""
    entropy: Tensor = torch.special.entr(p).sum(-1)
    return entropy
