"""Passes with a graph through the whole network, for evidence that is not at a single layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Attention, BiasGradient, at_least_float32
from limelight.inputs import substitute_first
from limelight.layers import Layout, resolve
from limelight.layers.tracks import Anchor
from limelight.pixels import input_problem
from limelight.runtime.autograd import differentiate, no_grad, node_of, with_graph
from limelight.runtime.execution import observe, run_network
from limelight.runtime.forward import Pass
from limelight.runtime.head import Head
from limelight.runtime.lineage import read_lineage
from limelight.runtime.record import token_layouts
from limelight.runtime.rules import GuidedReLU, KeepAttention, KeepBiases, KeptBias, Rule
from limelight.runtime.scripted import is_scripted
from limelight.runtime.shadow import shadow
from limelight.targets import Scores


def guided_gradients(run: Pass, scores: Scores) -> Tensor:
    """Return the guided gradient at the images, `[B, C, *image]`."""
    rule = GuidedReLU()
    refuse_whole_numbers(run.inputs.image)
    total, image = _rerun_under_rule(run, scores, rule)
    if not rule.relus:
        raise MethodError(
            "Guided backpropagation changes the gradient of ReLUs, and this network runs none "
            "(GELU and SiLU are others). Use 'input-x-gradient' or 'smoothgrad'."
        )
    return differentiate(total, [image], retain=False)[0]


def bias_gradients(run: Pass, scores: Scores) -> list[BiasGradient]:
    """Return `b_l * dy_c/dz_l` of every layer with a bias and a grid, `[B, K_l, *grid_l]`."""
    rule = KeepBiases()
    refuse_whole_numbers(run.inputs.image)
    total, image = _rerun_under_rule(run, scores, rule)
    anchors = [Anchor(n, shape=tuple(kept.output.shape)) for n, kept in enumerate(rule.kept)]
    nodes = [node_of(kept.output) for kept in rule.kept]
    tracks = read_lineage(nodes, anchors, 0, (node_of(image), image.shape)).tracks
    gradients = differentiate(total, [kept.output for kept in rule.kept], retain=False)
    on_grids, token_layouts = [], _token_layouts(run)
    for kept, track, gradient in zip(rule.kept, tracks, gradients, strict=True):
        layout = track.layout or _layout(run, kept, token_layouts)
        if layout is not None:
            axes = 0 if kept.last else gradient.ndim - 2
            values = gradient * kept.bias.reshape(*kept.bias.shape, *[1] * axes)
            on_grids.append(BiasGradient(layout.to_grid(values), layout.span))
    return on_grids


def attention(run: Pass, scores: Scores) -> Attention:
    """Return the attention matrices of all layers, with the gradient of the score at each."""
    layouts = _token_layouts(run)
    rule = KeepAttention(run.inputs.batch, layouts)
    total, _ = _rerun_under_rule(run, scores, rule)
    layout = _layout_of_attention(run, rule.kept, layouts)
    gradients = differentiate(total, rule.kept, retain=False)
    return _pack_attention(run, rule.kept, gradients, layout)


def layer_attention(run: Pass, scores: Scores) -> Attention:
    """Return the attention matrices of all layers, and for each the gradient of its own score.

    A layer's own score is that of the head behind the last block, run on the tokens that this
    layer's block put out.

    1. Run the network with a graph, keeping each attention matrix, and the output of the block
       around it.
    2. Check that each attention has a block of its own.
    3. Prepare the head behind the last block.
    4. For each block, run the head on its tokens, and differentiate the score by its attention.
    """
    _refuse_scripted(run)
    layouts = _token_layouts(run)
    rule = KeepAttention(run.inputs.batch, layouts)
    kept_at_entry, blocks = list[int](), dict[int, tuple[int, Tensor]]()

    def enter(_key: int, _arguments: object) -> None:
        kept_at_entry.append(len(rule.kept))

    def leave(key: int, _arguments: object, output: Any) -> Any:
        before = kept_at_entry.pop()
        if len(rule.kept) != before + 1:
            return output
        size = rule.kept[before].shape[-1]

        def keep(tensor: Tensor) -> Tensor:
            if tensor.ndim == 3 and tensor.shape[:2] == (run.inputs.batch, size):
                blocks[before] = key, tensor  # the outermost module around this attention alone
                return tensor.clone()
            return tensor

        return substitute_first(output, keep)

    # 1. The run with a graph.
    with with_graph():
        image = _image_in_graph(run)
        root, copies = shadow(run.model)
        with rule:
            observe(run.model, root, copies, run.inputs.on(image.clone()), enter, leave)

    # 2. The check.
    layout = _layout_of_attention(run, rule.kept, layouts)
    if len(blocks) < len(rule.kept) or len({key for key, _ in blocks.values()}) < len(blocks):
        raise MethodError(
            "LeGrad needs a block of its own around each attention, which puts out all tokens; "
            "here some share a module, or have none. Use 'attention-x-gradient'."
        )

    # 3. The head behind the last block.
    key, _ = blocks[len(rule.kept) - 1]
    last = resolve(run.model, next(module for module in run.model.modules() if id(module) == key))
    tokens = [blocks[number][1] for number in range(len(rule.kept))]
    # A layout of one axis hands on all tokens, the prefix too, as they are.
    every_token = Layout("channels first", (tokens[-1].shape[2],))
    with no_grad():
        head = Head(run.model, last, run.inputs, every_token)

    # 4. The gradient of each block's own score.
    rows = torch.arange(run.inputs.batch, device=image.device)
    gradients = []
    for weights, after in zip(rule.kept, tokens, strict=True):
        with with_graph():
            values = scores.read_again(head(after), rows)
            gradients += differentiate(values.sum(), [weights])
    return _pack_attention(run, rule.kept, gradients, layout)


def _layout_of_attention(
    run: Pass, kept: Sequence[Tensor], layouts: Mapping[int, Layout]
) -> Layout:
    """Return the layout of the tokens that every attention matrix is over.

    Raises:
        MethodError: There is no attention, or it is not over all the tokens of one grid.
    """
    batch = run.inputs.batch
    sizes = {size for weights in kept for size in weights.shape[-2:]}
    all_images = all(weights.ndim == 3 or weights.shape[0] == batch for weights in kept)
    if len(sizes) == 1 and all_images and sizes <= layouts.keys():
        return layouts[sizes.pop()]
    matrices = ", ".join(sorted({str(list(weights.shape[-2:])) for weights in kept}))
    tokens = " or ".join(map(str, sorted(layouts))) or "no"
    found = "has none"
    if matrices:
        found = (
            f"has {tokens} tokens on a grid, and attention matrices {matrices}: within windows or "
            "on several grids, or as a pool"
        )
    raise MethodError(
        "The method needs attention among all tokens of one grid in every layer; this network "
        f"{found}. Use 'gradcam' or 'layercam'."
    )


def _pack_attention(
    run: Pass, kept: Sequence[Tensor], gradients: Sequence[Tensor], layout: Layout
) -> Attention:
    def by_head(weights: Tensor) -> Tensor:
        weights = at_least_float32(weights.detach())
        return weights.reshape(run.inputs.batch, -1, *weights.shape[-2:])

    return Attention(
        weights=tuple(map(by_head, kept)),
        gradients=tuple(map(by_head, gradients)),
        layout=layout,
    )


def _rerun_under_rule(run: Pass, scores: Scores, rule: Rule) -> tuple[Tensor, Tensor]:
    """Run the network again under a rule; return the sum of scores, and the images as a leaf."""
    _refuse_scripted(run)
    with with_graph():
        image = _image_in_graph(run)
        inputs = run.inputs.on(image.clone())
        with rule:
            output = run_network(run.model, inputs)
        values = scores.read_again(output, torch.arange(inputs.batch, device=image.device))
        return values.sum(), image


def _image_in_graph(run: Pass) -> Tensor:
    """Return the images as a leaf of the graph, unless they are whole numbers."""
    image = run.inputs.image.clone()
    return image.requires_grad_() if image.is_floating_point() else image


def refuse_whole_numbers(image: Tensor) -> None:
    """Raise an error if images cannot be differentiated by, as they are whole numbers."""
    problem = input_problem(image, requires_grad=True)
    if problem:
        raise MethodError(problem)


def _refuse_scripted(run: Pass) -> None:
    """Raise an error if part of the network is scripted, as a rule does not reach inside it."""
    part = next((path for path, m in run.model.named_modules() if is_scripted(m)), None)
    if part is not None:
        raise MethodError(
            f"The method reads what every layer computes, and the inside of {part!r}, a "
            "ScriptModule, cannot be seen. Pass the eager model that it was scripted or traced "
            "from, or use 'gradcam' or 'saliency'."
        )


def _token_layouts(run: Pass) -> dict[int, Layout]:
    """Return the network's token layouts, by the number of tokens N."""
    return token_layouts(run.model, run.inputs, run.spec)


def _layout(run: Pass, kept: KeptBias, token_layouts: Mapping[int, Layout]) -> Layout | None:
    """Return how an output becomes a grid; None if it cannot."""
    shape, axes = kept.output.shape, run.inputs.image.ndim
    if shape[0] != run.inputs.batch or len(shape) < 3:
        return None
    if len(shape) == axes:
        channels_last = kept.last and kept.bias.ndim == 1
        kind: Literal["channels first", "channels last"]
        kind = "channels last" if channels_last else "channels first"
        return Layout(kind, tuple(shape[1:-1] if channels_last else shape[2:]))
    return token_layouts.get(shape[1]) if len(shape) == 3 else None
