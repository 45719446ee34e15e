"""What a pass does differently: other rules for single operations, without touching the model.

Each is a mode that sees the calls of torch functions while it is entered: the same forward, with
something kept, or with another gradient.
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
    """Sees every call of a torch function while it is entered."""

    @abstractmethod
    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns."""

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Hand the call on, with whatever it was given."""
        return self.call(func, args, kwargs or {})


class GuidedReLU(Rule):
    """Lets only positive gradients through a ReLU: guided backpropagation.

    `R_in = 1[x > 0] 1[R_out > 0] R_out` (Springenberg et al. 2015, section 3.4 and figure 1), and
    the same for ReLU6, whose own gradient is 1 for `0 < x < 6`.

    Attributes:
        met: How many ReLUs the pass ran.
    """

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self.met = 0

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a ReLU with the guided gradient."""
        limits = _relu_limits(func, args, kwargs)
        if limits is None:
            return func(*args, **kwargs)
        self.met += 1
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
    """What a layer with a bias put out.

    Attributes:
        output: The output, part of the graph.
        bias: `[K]`, or more axes for a layer norm over several.
        last: Whether the bias goes with the last axes, rather than with the second.
    """

    output: Tensor
    bias: Tensor
    last: bool


class KeepBiases(Rule):
    """Keeps what every layer with a bias puts out, in the order in which they run.

    Of a batch norm the bias is what it adds in evaluation mode, `beta - gamma mu / sigma`.

    Attributes:
        kept: Each output, with its bias.
    """

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self.kept: list[KeptBias] = []

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep an output, and hand on a clone, which a later in-place operation may change."""
        result = func(*args, **kwargs)
        names = _WITH_BIAS.get(func)
        if names is None:
            return result
        given = dict(zip(names, args, strict=False)) | kwargs
        bias: Tensor | None = given.get("bias")
        mean: Tensor | None = given.get("running_mean")
        if mean is not None:
            scale = (given["running_var"] + given.get("eps", 1e-5)).rsqrt()
            weight = given.get("weight")
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
    F.instance_norm: _NORM,  # the sixth, never read, is called otherwise there
    F.layer_norm: ("input", "normalized_shape", "weight", "bias"),
    F.group_norm: ("input", "num_groups", "weight", "bias"),
}


class KeepAttention(Rule):
    """Keeps the attention matrices of a pass, also where they are computed in one fused step.

    Fused attention (`scaled_dot_product_attention`, and what `nn.MultiheadAttention` calls) is
    written out: `A = softmax(Q K^T / sqrt(d) + mask)`, then `A V`. Attention that a network writes
    out itself is met at its softmax.

    Attributes:
        kept: Each matrix `[B, heads, N, N]` in the order in which they ran, part of the graph.
    """

    def __init__(self, batch: int, tokens: Collection[int]) -> None:
        """Look for the attention over `batch` images, in which there are so many tokens."""
        super().__init__()
        self.batch, self.tokens = batch, frozenset(tokens)
        self.kept: list[Tensor] = []

    def call(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write attention out, and keep it."""
        if func is F.scaled_dot_product_attention:
            kwargs = {name: value for name, value in kwargs.items() if name != "dropout_p"}
            output, weights = _attention(*args, **kwargs)
            self.kept.append(weights)
            return output
        if func is F.multi_head_attention_forward:
            asked = bool(kwargs.get("need_weights", True)), kwargs.get("average_attn_weights", True)
            kwargs = kwargs | {"need_weights": True, "average_attn_weights": False}
            output, weights = func(*args, **kwargs)
            # What is returned is a view made after use; the softmax itself is on the way.
            self.kept.append(weights if weights._base is None else weights._base)
            if not asked[0]:
                return output, None
            return output, weights.mean(-3) if asked[1] else weights
        result = func(*args, **kwargs)
        if func in _SOFTMAX and isinstance(result, Tensor) and result.ndim in (3, 4):
            rows, columns = result.shape[-2:]
            by_head = result.ndim == 4 and not self.tokens.isdisjoint((rows, columns))
            if (rows == columns > 1 or by_head) and result.shape[0] % self.batch == 0:
                self.kept.append(result)
        return result


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    _dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `softmax(Q K^T scale + mask) V` and the softmax; dropout is off in evaluation mode."""
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
    hidden = similarity.isneginf().all(-1, keepdim=True)  # from everything: attends to nothing
    weights = similarity.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)
    return weights @ value, weights
