"""The evidence that a method may read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.finish import AxisSpan
from limelight.layers.layouts import Layout
from limelight.pixels import in_floating_point

#: The kinds of evidence that a method may need besides the activations.
EvidenceKind = Literal[
    "gradients",
    "curvature",
    "class weights",
    "head",
    "network",
    "guided gradients",
    "bias gradients",
    "attention",
    "layer attention",
]


#: Makes M variants of the activations of one image. It is given the numbers of the variants, `[M]`,
#: and the number of the image, and returns a new tensor `[M, K, *grid]`, which the network may
#: write on.
MakeVariants = Callable[[Tensor, int], Tensor]


class Rerun(Protocol):
    """Runs the head, or the whole network, again on variants of its input, a chunk at a time."""

    def scores(self, wanted: Tensor, make: MakeVariants) -> Tensor:
        """Return the score of each variant of each image, `[V, B]`.

        Args:
            wanted: Which variants to run, `[V, B]`; the others get the score of the image itself.
            make: Makes the variants of a chunk.
        """

    def gradients(self, weights: Tensor, make: MakeVariants) -> Tensor:
        """Return `sum_v weights_v dy_c/dA` at the variants v of each image, `[B, K, *grid]`.

        Args:
            weights: The weight of each variant, `[V]`.
            make: Makes the variants of a chunk.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The attention of all layers, first to last, over N tokens.

    Attributes:
        weights: Each layer's matrix `[B, heads, N, N]`; row i says what token i attends to.
        gradients: `dy_c/dA` for each matrix, of the same shape.
        layout: How the N tokens become a grid.
    """

    weights: tuple[Tensor, ...] = field(repr=False)
    gradients: tuple[Tensor, ...] = field(repr=False)
    layout: Layout

    def read(self, relevance: Tensor) -> Tensor:
        """Return the map `[B, *grid]` for a relevance `[B, N, N]`: of token j for token i.

        The rows of the relevance are averaged over the tokens that the score reads after the last
        attention: the tokens at which gradient arrives (the class token alone, or all tokens that
        are pooled).
        """
        reached = self.gradients[-1].abs().sum((1, 3)) > 0  # [B, N]
        rows = torch.where(reached.any(1, keepdim=True), reached, torch.ones_like(reached))
        share = rows.to(relevance.dtype) / rows.sum(1, keepdim=True)
        return self.layout.positions_to_grid((share[:, None] @ relevance)[:, 0])


class BiasGradient(NamedTuple):
    """What the bias of one layer contributes to the score.

    Attributes:
        values: `b_l * dy_c/dz_l`, `[B, K_l, *grid_l]`.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture.
    """

    values: Tensor
    span: tuple[AxisSpan, ...] = ()


_Kind = TypeVar("_Kind")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a tensor in at least float32: sums over channels and cells overflow in float16."""
    tensor = in_floating_point(tensor)
    return tensor.float() if torch.finfo(tensor.dtype).bits < 32 else tensor


#: Returns one map `[B, *grid]`, given weights `w`, `[B, K]` or `[B, K, *grid]`, and the values that
#: they multiply, `[B, K, *grid]`.
Combine = Callable[[Tensor, Tensor], Tensor]


def contributions(weights: Tensor, values: Tensor) -> Tensor:
    """Return what each channel contributes, `w_k V_k`, `[B, K, *grid]`.

    Args:
        weights: One per channel `[B, K]`, or one per cell `[B, K, *grid]`.
        values: The values that they multiply, mostly the activations, `[B, K, *grid]`.
    """
    return weights.reshape(*weights.shape, *(1,) * (values.ndim - weights.ndim)) * values


def total(weights: Tensor, values: Tensor) -> Tensor:
    """Return `sum_k w_k V_k`, `[B, *grid]`."""
    return contributions(weights, values).sum(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one pass found out about B images and one score each; a method reads nothing else.

    It holds the activations and the kinds of evidence in the `needs` of the method's row in
    METHODS; reading another kind is an error.

    Attributes:
        activations: A, the layer's output, `[B, K, *grid]`.
        image: The images, `[B, C, *image]`, in floating point.
        score: The explained score, `[B]`.
        found: The other evidence, by kind.
        combine: How weights and values become one map: `sum_k w_k V_k`, or smoothed.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture
            exactly.
    """

    activations: Tensor
    image: Tensor
    score: Tensor
    found: Mapping[EvidenceKind, Any] = field(default_factory=dict, repr=False)
    combine: Combine = field(default=total, repr=False)
    span: tuple[AxisSpan, ...] = ()

    @property
    def gradients(self) -> Tensor:
        """`dy_c/dA`, the gradient of each image's score, `[B, K, *grid]`."""
        return self._have("gradients", Tensor)

    @property
    def curvature(self) -> Tensor:
        """`H A`, the Hessian of each image's score times its activations, `[B, K, *grid]`."""
        return self._have("curvature", Tensor)

    @property
    def class_weights(self) -> Tensor:
        """`w^c`, the linear layer's weights for the explained class, `[B, K]`."""
        return self._have("class weights", Tensor)

    @property
    def guided_gradients(self) -> Tensor:
        """The guided gradient at the images, `[B, C, *image]`."""
        return self._have("guided gradients", Tensor)

    @property
    def bias_gradients(self) -> list[BiasGradient]:
        """`b_l * dy_c/dz_l` of every layer l with a bias and a grid, `[B, K_l, *grid_l]`."""
        return self._have("bias gradients", list)

    @property
    def attention(self) -> Attention:
        """The attention of all layers, with gradients."""
        return self._have("attention", Attention)

    @property
    def layer_attention(self) -> Attention:
        """The attention of all layers, with the gradients of each layer's own score."""
        return self._have("layer attention", Attention)

    @property
    def head(self) -> Rerun:
        """The head, to be run on other activations."""
        head: Rerun = self._have("head", object)  # type: ignore[assignment]
        return head

    @property
    def network(self) -> Rerun:
        """The whole network, to be run on other images."""
        network: Rerun = self._have("network", object)  # type: ignore[assignment]
        return network

    @property
    def axes(self) -> tuple[int, ...]:
        """The grid axes of `activations`, for sums and means over the grid."""
        return tuple(range(2, self.activations.ndim))

    def _have(self, need: EvidenceKind, kind: type[_Kind]) -> _Kind:
        """Return one kind of evidence, of this type; raise if the method did not ask for it."""
        if need not in self.found:
            raise MethodError(
                f"The method reads the {need}, which were not gathered. Add {need!r} to the "
                "`needs` of its row in METHODS."
            )
        value = self.found[need]
        assert isinstance(value, kind)
        return value
