"""What a row of METHODS is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from limelight.evidence import Evidence, Need
from limelight.registry import Entry

Family = Literal["weighted", "pointwise", "spectral", "pixels", "perturbed", "attention", "control"]


Place = Literal["layer", "input", "network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Entry):
    """A row of METHODS: its function goes from evidence to a raw map `[B, *grid]`.

    Attributes:
        family: The shape of its formula.
        needs: What it reads besides the activations.
        place: Where the network is cut when no layer is named: at the chosen `layer`; at the
            `input`; or at the input only, because it reads the whole `network`.
        by_channel: Whether the map is a sum over channels, so that eigen smoothing makes sense.
        sums_to: From evidence (and the options) to what the map should sum to, `[B]`, if the method
            promises that.
    """

    family: Family
    needs: frozenset[Need] = frozenset()
    place: Place = "layer"
    by_channel: bool = False
    sums_to: Callable[..., Tensor] | None = None

    def raw(self, evidence: Evidence) -> Tensor:
        """Return the raw map `[B, *grid]`."""
        found: Tensor = self.function(evidence, **dict(self.options))
        return found
