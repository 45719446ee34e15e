"""The type of a row of METHODS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Evidence, EvidenceKind
from limelight.registry import Entry
from limelight.status import SummedOver

MethodFamily = Literal[
    "weighted", "pointwise", "spectral", "pixels", "perturbed", "attention", "words", "control"
]


CutPlace = Literal["layer", "input", "network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Entry):
    """A row of METHODS; its function returns a raw map `[B, *grid]`, given evidence.

    Attributes:
        family: The kind of its formula.
        needs: The evidence that it reads besides the activations.
        place: Where the network is cut when no layer is named: at the chosen `layer`; at the
            `input`; or at the input only, because it reads the whole `network`.
        by_channel: Whether the map is a sum over channels: then eigen smoothing and the walkthrough
            can take it apart.
        sums_over: Whether it sums gradients over the `cells` of a channel, or gradient times
            activation over the `channels` of a cell, which may cancel: its map is rounding then.
        keeps_positive: Whether it leaves out what speaks against the score, so that a map of zeros
            says that nothing speaks for it.
        sums_to: Returns the number that each map has to sum to, `[B]`, given evidence and options;
            None if the method promises no sum.
    """

    family: MethodFamily
    needs: frozenset[EvidenceKind] = frozenset()
    place: CutPlace = "layer"
    by_channel: bool = False
    sums_over: SummedOver | None = None
    keeps_positive: bool = False
    sums_to: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        """Take a list or a set of the evidence, too."""
        object.__setattr__(self, "needs", frozenset(self.needs))

    def raw(self, evidence: Evidence) -> Tensor:
        """Return the raw map `[B, *grid]`.

        Raises:
            MethodError: The function returned no tensor with these axes.
        """
        raw = self.function(evidence, **dict(self.options))
        activations = evidence.activations
        axes, batch = activations.ndim - 1, activations.shape[0]
        if isinstance(raw, Tensor) and raw.ndim == axes and raw.shape[0] == batch:
            return raw
        returned = list(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        raise MethodError(
            f"The function of {self.name} returned {returned} for activations "
            f"{list(activations.shape)}; a raw map [B, *grid] was expected, without the channels."
        )
