"""What methods read, found again: activations, gradients and scores, by ordinary hooks.

Nothing of limelight is used here: deep copies of the model, ordinary forward hooks, full forwards
and full backwards. How a layer's output becomes a grid `[B, K, *grid]` is told, not found.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: A layer's output as a grid `[B, K, *grid]`.
Grid = Callable[[Tensor], Tensor]
#: A model's output as one score per image, `[B]`.
Score = Callable[[Any], Tensor]


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
        gradients = []
        for b, one in enumerate(score(output)):
            (gradient,) = torch.autograd.grad(one, raw, retain_graph=True)
            gradients.append(grid(gradient)[b])
    return Probe(output, raw.detach(), grid(raw.detach()), torch.stack(gradients))


def run(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def substituted(model: nn.Module, layer: str, inputs: Any, raw: Tensor, *, call: int = 1) -> Any:
    """Run the whole model afresh, with `raw` in place of what the layer puts out at that call.

    The output has a graph if `raw` has one.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    calls = 0

    def replace(_module: nn.Module, _args: object, _output: Any) -> Any:
        nonlocal calls
        calls += 1
        return raw.clone() if calls == call else None

    twin.get_submodule(layer).register_forward_hook(replace)
    with torch.set_grad_enabled(raw.requires_grad):
        return run(twin, inputs)


#: The score of each image of a batch, `[B]`, were these its activations `[B, K, *grid]`, or its
#: pixels `[B, C, *image]`.
ScoreOf = Callable[[Tensor], Tensor]


def upsampled(channel: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate linearly between the middles of the cells, which hold to the edges."""
    for axis, pixels in enumerate(size):
        cells = channel.unbind(axis)
        rows = []
        for pixel in range(pixels):
            at = (pixel + 0.5) / pixels * len(cells) - 0.5  # in cells, 0 at the middle of the first
            at = min(max(at, 0.0), len(cells) - 1.0)
            left = min(int(at), len(cells) - 1)
            right = min(left + 1, len(cells) - 1)
            rows.append((1 - (at - left)) * cells[left] + (at - left) * cells[right])
        channel = torch.stack(rows, dim=axis)
    return channel


def cells_of(size: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the indices of all cells of a grid, the last axis running fastest."""
    return list(product(*(range(n) for n in size)))


def score_behind(
    model: nn.Module,
    layer: str,
    images: Tensor,
    score: Score,
    raw_of: Callable[[Tensor], Tensor] = channels_first,
) -> ScoreOf:
    """Return the whole model afresh, with given activations in place of the layer's output.

    Of the layer "<input>" the activations are the images; `raw_of` turns a grid into what the layer
    puts out.
    """
    twin = copy.deepcopy(model).eval()

    def score_of(activations: Tensor) -> Tensor:
        if layer == "<input>":
            return score(twin(activations.clone()))
        handle = twin.get_submodule(layer).register_forward_hook(
            lambda *_: raw_of(activations).clone()
        )
        try:
            return score(twin(images))
        finally:
            handle.remove()

    return score_of


def tokens_with(prefix: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what puts a grid `[B, K, *grid]` behind prefix tokens `[B, P, K]`."""

    def as_tokens(activations: Tensor) -> Tensor:
        cells = [activations[(..., *ij)] for ij in cells_of(activations.shape[2:])]
        return torch.cat([prefix, torch.stack(cells, dim=1)], dim=1)

    return as_tokens


def slopes(score: ScoreOf, activations: Tensor) -> Tensor:
    """Return `dy_c/dA` `[B, K, *grid]`, of each image's score in turn."""
    with torch.enable_grad():
        leaf = activations.detach().clone().requires_grad_()
        rows = [
            torch.autograd.grad(one, leaf, retain_graph=True)[0][b]
            for b, one in enumerate(score(leaf))
        ]
    return torch.stack(rows)
