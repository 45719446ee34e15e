"""Rules for a pass: torch function modes that keep tensors of operations, or change gradients.

While a rule is entered, it sees every call of a torch function. The forward values stay the same,
and the model is not touched.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


_RELU = {F.relu, torch.relu, Tensor.relu}


_RELU_IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_}


_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}


class Rule(TorchFunctionMode, ABC):
    """A torch function mode that handles every call in a method `call`."""

    @abstractmethod
    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call, or one in its place, and return the result."""

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Pass the call on with its arguments."""
        return self.call(func, args, kwargs or {})


class GuidedReLU(Rule):
    """Lets only positive gradients through a ReLU: guided backpropagation.

    `R_in = 1[x > 0] 1[R_out > 0] R_out` (Springenberg et al. 2015, section 3.4 and figure 1), and
    the same for ReLU6, whose own gradient is 1 for `0 < x < 6`.

    Attributes:
        relus: How many ReLUs ran in the pass.
    """

    def __init__(self) -> None:
        """Begin with no ReLU counted."""
        super().__init__()
        self.relus = 0

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a ReLU with the guided gradient."""
        limits = _relu_limits(func, args, kwargs)
        if limits is None:
            return func(*args, **kwargs)
        self.relus += 1
        x = args[0] if args else kwargs["input"]
        high, in_place = limits
        return _Guided.apply(x, high, in_place)


def _relu_limits(
    func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float, bool] | None:
    """Return where a ReLU ends and whether it works in place; None for any other function."""
    in_place = bool(kwargs.get("inplace", False))
    if func in _RELU:
        return math.inf, in_place or (func is F.relu and len(args) > 1 and bool(args[1]))
    if func in _RELU_IN_PLACE:
        return math.inf, True
    if func is F.relu6:
        return 6.0, in_place or (len(args) > 1 and bool(args[1]))
    if func in (F.hardtanh, F.hardtanh_):
        values = dict(zip(("input", "min_val", "max_val", "inplace"), args, strict=False)) | kwargs
        if values.get("min_val", -1.0) == 0:
            return values.get("max_val", 1.0), func is F.hardtanh_ or bool(values.get("inplace"))
    return None


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float, in_place: bool) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < high))
        if in_place:
            ctx.mark_dirty(x)
            return x.clamp_(0, high)
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (passes,) = ctx.saved_tensors
        return gradient.clamp(min=0) * passes, None, None


class KeptBias(NamedTuple):
    """The output of a layer with a bias, and the bias.

    Attributes:
        output: The output, part of the graph.
        bias: `[K]`, or with more axes for a layer norm over several.
        last: Whether the bias is added along the last axes, rather than along the second.
    """

    output: Tensor
    bias: Tensor
    last: bool


class KeepBiases(Rule):
    """Keeps the output of every layer with a bias, in the order in which they run.

    The bias of a batch norm is what it adds in evaluation mode, `beta - gamma mu / sigma`.

    Attributes:
        kept: Each output, with its bias.
    """

    def __init__(self) -> None:
        """Begin with nothing kept."""
        super().__init__()
        self.kept: list[KeptBias] = []

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep the output, and return a clone of it, which in-place operations may change."""
        result = func(*args, **kwargs)
        names = _WITH_BIAS.get(func)
        if names is None:
            return result
        arguments = dict(zip(names, args, strict=False)) | kwargs
        bias: Tensor | None = arguments.get("bias")
        mean: Tensor | None = arguments.get("running_mean")
        if mean is not None:
            scale = (arguments["running_var"] + arguments.get("eps", 1e-5)).rsqrt()
            weight = arguments.get("weight")
            scale = scale if weight is None else scale * weight
            bias = (0 if bias is None else bias) - scale * mean
        if bias is None:
            return result
        self.kept.append(KeptBias(result, bias.detach(), func in (F.linear, F.layer_norm)))
        return result.clone()


_CONVOLUTION = ("input", "weight", "bias")


_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


#: Functions that add a bias per channel, and the names of their arguments.
_WITH_BIAS: dict[Function, tuple[str, ...]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.linear), _CONVOLUTION),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _CONVOLUTION),
    F.batch_norm: _NORM,
    F.instance_norm: _NORM,  # its sixth argument has another name, but is never read
    F.layer_norm: ("input", "normalized_shape", "weight", "bias"),
    F.group_norm: ("input", "num_groups", "weight", "bias"),
}


class KeptProduct(NamedTuple):
    """One product of attention, `A V` with `A = softmax(Q K^T / sqrt(d))`.

    Attributes:
        weights: A, `[..., M, N]`, part of the graph; row i says what query i attends to.
        queries: Q, `[..., M, d]`; None where they were not seen.
        keys: K, `[..., N, d]`; None where they were not seen.
    """

    weights: Tensor
    queries: Tensor | None
    keys: Tensor | None


class SeeAttentionByHead(Rule):
    """Sees whether a softmax runs that may be attention of a few queries, by its head.

    Attributes:
        seen: Whether one did: over four axes, of which the last two differ.
    """

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.seen = False

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function, and look at its result."""
        result = func(*args, **kwargs)
        if func in _SOFTMAX and isinstance(result, Tensor) and result.ndim == 4:
            self.seen |= result.shape[-2] != result.shape[-1]
        return result


class KeepAttention(Rule):
    """Keeps the attention matrices of a pass, also where fused kernels would never form them.

    Fused attention (`scaled_dot_product_attention`, and what `nn.MultiheadAttention` calls) is
    replaced by its plain implementation: `A = softmax(Q K^T / sqrt(d) + mask)`, then `A V`.
    Attention that a network implements itself is recognised by its softmax, and its queries and
    keys by the product before that.

    Attributes:
        kept: Each product, in the order in which they ran.
    """

    def __init__(self, tokens: Collection[int]) -> None:
        """Look for attention; `tokens` are the numbers of tokens to expect, of a few queries."""
        super().__init__()
        self.tokens = frozenset(tokens)
        self.kept: list[KeptProduct] = []
        self._product: tuple[Tensor, Tensor, Tensor] | None = None  # the last: result, factors

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run attention so that its matrix is computed, and keep the matrix."""
        if func is F.scaled_dot_product_attention:
            kwargs = {name: value for name, value in kwargs.items() if name != "dropout_p"}
            output, kept = _written_out_attention(*args, **kwargs)
            self.kept.append(kept)
            return output
        if func is F.multi_head_attention_forward:
            needed, averaged = (
                bool(kwargs.get("need_weights", True)),
                kwargs.get("average_attn_weights", True),
            )
            queries, keys = _projected(args, kwargs)
            kwargs = kwargs | {"need_weights": True, "average_attn_weights": False}
            output, weights = func(*args, **kwargs)
            # The returned weights may be a view made after use; the softmax itself is its base.
            used = weights if weights._base is None else weights._base
            self.kept.append(KeptProduct(used, queries, keys))
            if not needed:
                return output, None
            return output, weights.mean(-3) if averaged else weights
        result = func(*args, **kwargs)
        if func in _PRODUCT and not kwargs and isinstance(result, Tensor):
            self._product = result, args[-2], args[-1]
        if func in _SOFTMAX and isinstance(result, Tensor) and result.ndim in (3, 4):
            rows, columns = result.shape[-2:]
            by_head = result.ndim == 4 and not self.tokens.isdisjoint((rows, columns))
            if rows == columns > 1 or by_head:
                self.kept.append(KeptProduct(result, *self._factors(result)))
        return result

    def _factors(self, weights: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the queries and keys of a softmax: the factors of the product before it."""
        if self._product is None or self._product[0].shape != weights.shape:
            return None, None
        _, queries, keys = self._product
        return queries.detach(), keys.detach().transpose(-2, -1)


_PRODUCT = {
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.bmm,
    Tensor.bmm,
    torch.baddbmm,
    Tensor.baddbmm,
}


def _projected(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the queries and keys `[B, heads, N, d]` of a call of `multi_head_attention_forward`.

    They are None where the call adds keys of its own.
    """
    first = ("query", "key", "value", "width", "num_heads", "in_proj_weight", "in_proj_bias")
    names = (*first, "bias_k", "bias_v", "add_zero_attn")
    given = dict(zip(names, args, strict=False)) | kwargs
    if given["bias_k"] is not None or given["add_zero_attn"]:
        return None, None
    weights = given["in_proj_weight"]
    if given.get("use_separate_proj_weight", False):
        both = given["q_proj_weight"], given["k_proj_weight"]
    else:
        both = weights.chunk(3)[:2]
    bias = given["in_proj_bias"]
    biases = (None, None) if bias is None else bias.chunk(3)[:2]
    with torch.no_grad():
        found = []
        for given_as, weight, b in zip((given["query"], given["key"]), both, biases, strict=True):
            tokens = given_as[:, None] if given_as.ndim == 2 else given_as  # the batch is second
            joint = F.linear(tokens, weight, b)
            heads = joint.reshape(*joint.shape[:2], given["num_heads"], -1)
            found.append(heads.permute(1, 2, 0, 3))
    return found[0], found[1]


def _written_out_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    _dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, KeptProduct]:
    """Return `softmax(Q K^T scale + mask) V`, and what it is made of.

    Dropout is off in evaluation mode.
    """
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(groups, -3) for t in (key, value))
    similarity = query @ key.transpose(-2, -1)
    similarity = similarity * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        allowed = torch.ones(similarity.shape[-2:], dtype=torch.bool, device=query.device).tril()
        similarity = similarity.masked_fill(~allowed, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        similarity = similarity.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        similarity = similarity + attn_mask
    # A token for which everything is masked attends to nothing.
    hidden = similarity.isneginf().all(-1, keepdim=True)
    weights = similarity.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)
    return weights @ value, KeptProduct(weights, query.detach(), key.detach())
