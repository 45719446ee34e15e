"""What a method may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from limelight.errors import MethodError

#: What a method may need besides the activations.
Need = Literal["gradients", "class weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one pass found out about B images and one score each; a method reads nothing else.

    What a method's row in METHODS says it needs is there; asking for anything else is an error.

    Attributes:
        activations: A, the layer's output, `[B, K, *grid]`.
        found: The rest, by need.
    """

    activations: Tensor
    found: Mapping[Need, Tensor] = field(default_factory=dict, repr=False)

    @property
    def gradients(self) -> Tensor:
        """`dy_c/dA`, the gradient of each image's score, `[B, K, *grid]`."""
        return self._have("gradients")

    @property
    def class_weights(self) -> Tensor:
        """`w^c`, the linear layer's weights for the explained class, `[B, K]`."""
        return self._have("class weights")

    @property
    def axes(self) -> tuple[int, ...]:
        """The grid axes of `activations`, for sums and means over the grid."""
        return tuple(range(2, self.activations.ndim))

    def _have(self, need: Need) -> Tensor:
        if need not in self.found:
            raise MethodError(
                f"The method reads the {need}, which were not gathered. Add {need!r} to the "
                "`needs` of its row in METHODS."
            )
        return self.found[need]
