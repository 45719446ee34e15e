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
from limelight.layers.merging import spread
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
    "word logits",
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
class AttentionLayer:
    """The attention of one layer, among all N tokens, or within windows of n of them.

    Attributes:
        weights: The matrix `[B, heads, M, N]`, in which row i says what query i attends to; within
            W windows `[B, heads, W, n, n]`. The queries are the tokens (M = N), but for a pool.
        gradients: `dy_c/dA`, of the same shape.
        layout: How the N tokens become a grid.
        windows: Which token stands at each place of the windows, `[W, n]`; -1 for padding. None
            without windows.
        count: N.
        queries: `[B, heads, M, d]`; None where they were not seen, and within windows.
        keys: `[B, heads, N, d]`; None likewise.
    """

    weights: Tensor = field(repr=False)
    gradients: Tensor = field(repr=False)
    layout: Layout
    windows: Tensor | None = None
    count: int
    queries: Tensor | None = field(default=None, repr=False)
    keys: Tensor | None = field(default=None, repr=False)

    @property
    def queries_read(self) -> Tensor:
        """The share of each query in what the score reads, `[B, M]`.

        It reads those at which gradient arrives, each with the same share: the class token alone,
        or all tokens that are pooled, or the words that are explained.
        """
        reached = self._by_query(self.gradients.abs().sum(1)) > 0
        rows = torch.where(reached.any(1, keepdim=True), reached, torch.ones_like(reached))
        return rows.to(self.weights.dtype) / rows.sum(1, keepdim=True)

    @property
    def all_queries(self) -> Tensor:
        """The same share for each query, `[B, M]`."""
        count = self.weights.shape[2] if self.windows is None else self.count
        return self.weights.new_full((self.weights.shape[0], count), 1 / count)

    def attended(self, shares: Tensor, matrix: Tensor) -> Tensor:
        """Return `s A`, the share of each token, `[B, N]`, for shares s of the queries, `[B, M]`.

        Args:
            shares: The shares of the queries.
            matrix: One matrix for all heads, `[B, M, N]`, or `[B, W, n, n]` within windows.
        """
        if self.windows is None:
            return (shares[:, None] @ matrix)[:, 0]
        windows = self.windows.to(shares.device)
        in_windows = torch.cat([shares, torch.zeros_like(shares[:, :1])], 1)[:, windows]
        found = (in_windows[:, :, None] @ matrix)[:, :, 0]
        return self._back(found, windows)

    def _by_query(self, matrix: Tensor) -> Tensor:
        """Return the sum of each row of a matrix for all heads, by query, `[B, M]`."""
        sums = matrix.sum(-1)
        return sums if self.windows is None else self._back(sums, self.windows.to(sums.device))

    def _back(self, in_windows: Tensor, windows: Tensor) -> Tensor:
        """Return numbers at the places of windows, `[B, W, n]`, by token, `[B, N]`."""
        whole = in_windows.new_zeros(in_windows.shape[0], self.count + 1)  # the last is padding's
        places = torch.where(windows < 0, self.count, windows).flatten()
        return whole.index_add(1, places, in_windows.flatten(1))[:, :-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The attention of one tower: all layers over its tokens, first to last.

    Attributes:
        layers: Each layer.
        pool: The attention by which a few queries that are no tokens of the picture read the last
            layer's; None without.
        tower: The dotted path of the module that holds the layers.
    """

    layers: tuple[AttentionLayer, ...]
    pool: AttentionLayer | None = None
    tower: str = ""

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Each layer's matrix, `[B, heads, N, N]`, or `[B, heads, W, n, n]` within windows."""
        return tuple(layer.weights for layer in self.layers)

    @property
    def gradients(self) -> tuple[Tensor, ...]:
        """`dy_c/dA` for each matrix, of the same shape."""
        return tuple(layer.gradients for layer in self.layers)

    @property
    def layout(self) -> Layout:
        """How the tokens of the first layer become a grid: that of the map."""
        return self.layers[0].layout

    @property
    def last(self) -> AttentionLayer:
        """The attention whose queries the score reads: the pool, or the last layer."""
        return self.pool or self.layers[-1]

    def onto_layer(self, number: int, shares: Tensor) -> Tensor:
        """Return shares of the tokens behind a layer, `[B, N']`, as shares of its own, `[B, N]`.

        They are the same but where the network merges tokens behind the layer: each token is then
        the mean of those that lie in its cell.

        Args:
            number: The number of the layer, from 0.
            shares: The shares of the tokens of the next layer; of the layer itself for the last.
        """
        layer = self.layers[number]
        after = self.layers[min(number + 1, len(self.layers) - 1)]
        if (after.layout, after.count) == (layer.layout, layer.count):
            return shares
        return spread(shares, after.layout, layer.layout, layer.count)


#: Finds the attention of a tower, by its name; "" for the picture's.
FindAttention = Callable[[str], Attention]


class WordLogits(NamedTuple):
    """What a language model makes of the picture: logits of words at the picture's positions.

    The words are the T tokens of a sentence that stand behind the picture.

    Attributes:
        at_picture: The logit of each word at each cell of the picture, `[B, T, *grid]`.
        at_words: The logit of word i at the position of word j, `[B, T, T]`.
        ids: The words' numbers, `[B, T]`.
        explained: Which of the words are explained.
        layout: How the positions of the sentence become the picture's grid.
    """

    at_picture: Tensor
    at_words: Tensor
    ids: Tensor
    explained: tuple[int, ...]
    layout: Layout


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
        """The attention of the picture's tower, with gradients."""
        return self.attention_of("")

    @property
    def layer_attention(self) -> Attention:
        """The attention of the picture's tower, with the gradients of each layer's own score."""
        return self.layer_attention_of("")

    @property
    def word_logits(self) -> WordLogits:
        """The logits of the words of a sentence, at the picture and at each other."""
        return self._have("word logits", WordLogits)

    def attention_of(self, tower: str) -> Attention:
        """Return the attention of a tower, with gradients; "" stands for the picture's.

        Raises:
            UnknownNameError: There is no such tower.
            MethodError: Its attention is not among the tokens of a grid.
        """
        return self._attention("attention", tower)

    def layer_attention_of(self, tower: str) -> Attention:
        """Return the attention of a tower, with the gradients of each layer's own score.

        Raises:
            UnknownNameError, MethodError: As `attention_of`.
        """
        return self._attention("layer attention", tower)

    def _attention(self, need: EvidenceKind, tower: str) -> Attention:
        find: FindAttention = self._have(need, object)  # type: ignore[assignment]
        return find(tower)

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
