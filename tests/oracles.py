"""Grad-CAM and CAM derived again, slowly, from their papers.

Nothing of limelight is used here: a deep copy of the model, one ordinary forward hook, a full
forward and a full backward. How a layer's output becomes a grid `[B, K, *grid]` is told, not found.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: A layer's output as a grid `[B, K, *grid]`.
Grid = Callable[[Tensor], Tensor]
#: A model's output as one score per image, `[B]`.
Score = Callable[[Any], Tensor]

#: How far two results may be apart, as a share of the largest absolute value expected.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


class Probe(NamedTuple):
    """What a full forward and backward found at a layer."""

    output: Any
    raw: Tensor  # the layer's output, as it was when the layer returned
    activations: Tensor  # [B, K, *grid]
    gradients: Tensor  # [B, K, *grid]


def channels_first(raw: Tensor) -> Tensor:
    return raw


def channels_last(raw: Tensor) -> Tensor:
    return torch.stack(list(raw.unbind(-1)), dim=1)


def tokens(prefix: int, grid: Sequence[int]) -> Grid:
    def as_grid(raw: Tensor) -> Tensor:
        batch, count, width = raw.shape
        assert count == prefix + math.prod(grid)
        return torch.stack([raw[:, prefix:, k].reshape(batch, *grid) for k in range(width)], dim=1)

    return as_grid


def classes(indices: Sequence[int], logits: Callable[[Any], Tensor] = lambda y: y) -> Score:
    """`y^c`: the logit of one class per image."""
    return lambda y: torch.stack([logits(y)[b, c] for b, c in enumerate(indices)])


def probe(
    model: nn.Module, layer: str, inputs: Any, score: Score, grid: Grid, *, call: int = 1
) -> Probe:
    """Run the whole model and differentiate each image's score by the layer's output, in turn."""
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Any) -> Any:
        # A clone, lest it be the layer's input as well; and another goes on, so that no later
        # in-place operation reaches what was kept.
        tensor = (output[0] if isinstance(output, tuple) else output).clone()
        seen.append(tensor)
        return (tensor.clone(), *output[1:]) if isinstance(output, tuple) else tensor.clone()

    twin.get_submodule(layer).register_forward_hook(keep)
    with torch.inference_mode(False), torch.enable_grad():
        output = run(twin, inputs)
        raw = seen[call - 1]
        gradients = torch.zeros_like(raw)
        for b, one in enumerate(score(output)):
            (gradient,) = torch.autograd.grad(one, raw, retain_graph=True)
            gradients[b] = gradient[b]
    return Probe(output, raw.detach(), grid(raw.detach()), grid(gradients))


def run(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def substituted(model: nn.Module, layer: str, inputs: Any, raw: Tensor, *, call: int = 1) -> Any:
    """Run the whole model afresh, with `raw` in place of what the layer puts out at that call."""
    twin = copy.deepcopy(model).eval()
    calls = 0

    def replace(_module: nn.Module, _args: object, _output: Any) -> Any:
        nonlocal calls
        calls += 1
        return raw.clone() if calls == call else None

    twin.get_submodule(layer).register_forward_hook(replace)
    with torch.no_grad():
        return run(twin, inputs)


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM without its ReLU, `[B, *grid]`; Selvaraju et al. 2017.

    Eq. 1: `alpha_k^c = 1/Z sum_i sum_j dy^c / dA^k_ij`. Eq. 2: `L^c = ReLU(sum_k alpha_k^c A^k)`.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            alpha = g_k.sum() / g_k.numel()
            total = total + alpha * a_k
        maps.append(total)
    return torch.stack(maps)


def cam(activations: Tensor, weight: Tensor, indices: Sequence[int]) -> Tensor:
    """CAM, `[B, *grid]`, from the linear layer's weight `[C, K]`; Zhou et al. 2016.

    Eq. 1: `S_c = sum_k w_k^c sum_xy f_k(x, y)`. Eq. 2: `M_c(x, y) = sum_k w_k^c f_k(x, y)`.
    """
    maps = []
    for f, c in zip(activations, indices, strict=True):
        total = torch.zeros_like(f[0])
        for k, f_k in enumerate(f):
            total = total + weight[c, k] * f_k
        maps.append(total)
    return torch.stack(maps).detach()


def assert_agrees(found: Tensor, expected: Tensor, *, rel: float | None = None) -> None:
    """Assert that two results agree, relative to the largest absolute value expected."""
    rel = TOLERANCE[expected.dtype] if rel is None else rel
    assert found.shape == expected.shape, f"{list(found.shape)}, not {list(expected.shape)}"
    assert found.dtype == expected.dtype, f"{found.dtype}, not {expected.dtype}"
    largest = expected.abs().max().item()
    assert largest > 0, "what is expected is zero everywhere: nothing would be compared"
    gap = (found - expected).abs().max().item()
    assert gap <= rel * largest, f"apart by {gap / largest:.1e}, more than {rel:.0e}"
