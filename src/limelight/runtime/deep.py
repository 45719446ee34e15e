"""Passes with a graph through the whole network: what single layers cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Attention, at_least_float32
from limelight.inputs import substitute_first
from limelight.layers import Layout, resolve
from limelight.runtime.autograd import differentiate, no_grad, with_graph
from limelight.runtime.execution import observe, run_network
from limelight.runtime.forward import Pass
from limelight.runtime.head import Head
from limelight.runtime.record import cached_record
from limelight.runtime.rules import GuidedReLU, KeepAttention, KeepBiases, KeptBias, Rule
from limelight.runtime.shadow import shadow
from limelight.targets import Scores


def guided_gradients(run: Pass, scores: Scores) -> Tensor:
    """Return the guided gradient at the images, `[B, C, *image]`."""
    rule = GuidedReLU()
    total, image = _score_again(run, scores, rule)
    if not rule.met:
        raise MethodError(
            "Guided backpropagation changes the gradient of ReLUs, and this network runs none "
            "(GELU and SiLU are others). Use 'input-x-gradient' or 'smoothgrad'."
        )
    return differentiate(total, [image], retain=False)[0]


def bias_gradients(run: Pass, scores: Scores) -> list[Tensor]:
    """Return `b_l * dy_c/dz_l` of every layer with a bias and a grid, `[B, K_l, *grid_l]`."""
    rule = KeepBiases()
    total, _ = _score_again(run, scores, rule)
    slopes = differentiate(total, [kept.output for kept in rule.kept], retain=False)
    found, tokens = [], _token_layouts(run)
    for kept, slope in zip(rule.kept, slopes, strict=True):
        layout = _layout(run, kept, tokens)
        if layout is not None:
            axes = 0 if kept.last else slope.ndim - 2
            found.append(layout.to_grid(slope * kept.bias.reshape(*kept.bias.shape, *[1] * axes)))
    return found


def attention(run: Pass, scores: Scores) -> Attention:
    """Return the attention matrices of all layers and the gradient of the score by them."""
    layouts = _token_layouts(run)
    rule = KeepAttention(run.inputs.batch, layouts)
    total, _ = _score_again(run, scores, rule)
    layout = _checked(run, rule.kept, layouts)
    slopes = differentiate(total, rule.kept, retain=False)
    return _attention(run, rule.kept, slopes, layout)


def layer_attention(run: Pass, scores: Scores) -> Attention:
    """Return the attention matrices of all layers, and of each the gradient of its own score.

    That is the score when the head behind the last block gets the tokens that this block put out.
    """
    layouts = _token_layouts(run)
    rule = KeepAttention(run.inputs.batch, layouts)
    began, blocks = list[int](), dict[int, tuple[int, Tensor]]()

    def enter(_key: int) -> None:
        began.append(len(rule.kept))

    def leave(key: int, _arguments: object, output: Any) -> Any:
        before = began.pop()
        if len(rule.kept) != before + 1:
            return output
        size = rule.kept[before].shape[-1]

        def keep(tensor: Tensor) -> Tensor:
            if tensor.ndim == 3 and tensor.shape[:2] == (run.inputs.batch, size):
                blocks[before] = key, tensor  # the outermost module around this attention alone
                return tensor.clone()
            return tensor

        return substitute_first(output, keep)

    with with_graph():
        image = run.inputs.image.clone().requires_grad_()
        root, copies = shadow(run.model)
        with rule:
            observe(run.model, root, copies, run.inputs.on(image.clone()), enter, leave)
    layout = _checked(run, rule.kept, layouts)
    if len(blocks) < len(rule.kept) or len({key for key, _ in blocks.values()}) < len(blocks):
        raise MethodError(
            "LeGrad needs a block of its own around each attention, which puts out all tokens; "
            "here some share a module, or have none. Use 'attention-x-gradient'."
        )
    key, _ = blocks[len(rule.kept) - 1]
    last = resolve(run.model, next(one for one in run.model.modules() if id(one) == key))
    tokens = [blocks[number][1] for number in range(len(rule.kept))]
    # All tokens go in, the prefix too: as a grid of one axis, they pass as they are.
    every_token = Layout("channels first", (tokens[-1].shape[2],))
    with no_grad():
        head = Head(run.model, last, run.inputs, every_token)
    rows = torch.arange(run.inputs.batch, device=image.device)
    slopes = []
    for weights, after in zip(rule.kept, tokens, strict=True):
        with with_graph():
            values = scores.again(head(after), rows)
            slopes += differentiate(values.sum(), [weights])
    return _attention(run, rule.kept, slopes, layout)


def _checked(run: Pass, kept: Sequence[Tensor], layouts: Mapping[int, Layout]) -> Layout:
    """Return the layout of the tokens that all attention is among.

    Raises:
        MethodError: There is no attention, or not among all the tokens of one grid.
    """
    batch = run.inputs.batch
    sizes = {size for weights in kept for size in weights.shape[-2:]}
    whole = all(weights.ndim == 3 or weights.shape[0] == batch for weights in kept)
    if len(sizes) == 1 and whole and sizes <= layouts.keys():
        return layouts[sizes.pop()]
    met = ", ".join(sorted({str(list(weights.shape[-2:])) for weights in kept}))
    tokens = " or ".join(map(str, sorted(layouts))) or "no"
    has = "has none"
    if met:
        has = (
            f"has {tokens} tokens on a grid, and attention matrices {met}: within windows or on "
            "several grids, or as a pool"
        )
    raise MethodError(
        "The method needs attention among all tokens of one grid in every layer; this network "
        f"{has}. Use 'gradcam' or 'layercam'."
    )


def _attention(
    run: Pass, kept: Sequence[Tensor], slopes: Sequence[Tensor], layout: Layout
) -> Attention:
    def by_head(weights: Tensor) -> Tensor:
        weights = at_least_float32(weights.detach())
        return weights.reshape(run.inputs.batch, -1, *weights.shape[-2:])

    return Attention(
        weights=tuple(map(by_head, kept)),
        gradients=tuple(map(by_head, slopes)),
        prefix=layout.prefix,
        grid=layout.grid,
    )


def _score_again(run: Pass, scores: Scores, rule: Rule) -> tuple[Tensor, Tensor]:
    """Run the network once more under a rule; return the sum of scores, and the images, a leaf."""
    with with_graph():
        image = run.inputs.image.clone().requires_grad_()
        given = run.inputs.on(image.clone())
        with rule:
            output = run_network(run.model, given)
        values = scores.again(output, torch.arange(given.batch, device=image.device))
        return values.sum(), image


def _token_layouts(run: Pass) -> dict[int, Layout]:
    """Return the layouts of tokens that the network has, by their number N."""
    layouts = dict[int, Layout]()
    for call in cached_record(run.model, run.inputs, run.spec).calls:
        if call.layout is not None and call.layout.kind == "tokens":
            layouts.setdefault(call.shape[1], call.layout)
    return layouts


def _layout(run: Pass, kept: KeptBias, tokens: Mapping[int, Layout]) -> Layout | None:
    """Return how an output becomes a grid, None when it has none."""
    shape, axes = kept.output.shape, run.inputs.image.ndim
    if shape[0] != run.inputs.batch or len(shape) < 3:
        return None
    if len(shape) == axes:
        channels_last = kept.last and kept.bias.ndim == 1
        kind: Literal["channels first", "channels last"]
        kind = "channels last" if channels_last else "channels first"
        return Layout(kind, tuple(shape[1:-1] if channels_last else shape[2:]))
    return tokens.get(shape[1]) if len(shape) == 3 else None
