"""The attention of a tower, with the gradient of the score at each of its matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Attention, AttentionLayer, at_least_float32
from limelight.layers import Layout, resolve
from limelight.runtime.autograd import behind_node, differentiate, no_grad, node_of, with_graph
from limelight.runtime.deep import refuse_scripted
from limelight.runtime.forward import Pass
from limelight.runtime.head import Head
from limelight.runtime.rules import KeepAttention, KeptProduct
from limelight.runtime.towers import Around, Attending, Placed, Tower, find_tower, run_attended
from limelight.targets import Scores


def attention(run: Pass, scores: Scores, tower: str = "") -> Attention:
    """Return the attention of a tower, with the gradient of the score at each matrix.

    Layers behind the last that the score depends on are left out: a vision-language model may take
    the tokens in front of the last.

    Args:
        run: The pass.
        scores: The scores that were read from its output.
        tower: The path of the module that holds the layers; "" for the picture's tower.

    Raises:
        UnknownNameError: There is no such tower.
        MethodError: Its attention is not among the tokens of a grid, or within windows of it.
    """
    refuse_scripted(run)
    passed = run_attended(run)
    with with_graph():
        total = scores.read_again(passed.output, _rows(run)).sum()
    found = _as_read(total, find_tower(run, passed, tower))
    products = [one.product for one in (*found.layers, *_one(found.pool))]
    gradients = differentiate(total, [one.weights for one in products], retain=False)
    return _packed(run, found, products, gradients)


def layer_attention(run: Pass, scores: Scores, tower: str = "") -> Attention:
    """Return the attention of a tower, and for each layer the gradient of its own score.

    A layer's own score is that of the head behind the last block, run on the tokens that this
    layer's block put out. If that head pools the tokens by attention, its matrix and gradient then
    stand for the layer.

    1. Run the network with a graph, keeping each attention matrix, and the output of the block
       around it.
    2. Check that each attention has a block of its own.
    3. Prepare the head behind the last block.
    4. For each block, run the head on its tokens, and differentiate the score by its attention.

    Args:
        run, scores, tower: As in `attention`.

    Raises:
        UnknownNameError, MethodError: As `attention`; or some layers have no block of their own.
    """
    refuse_scripted(run)
    # 1. The run with a graph.
    passed = run_attended(run, keep_outputs=True)
    with with_graph():
        total = scores.read_again(passed.output, _rows(run)).sum()
    found = _as_read(total, find_tower(run, passed, tower))
    # 2. The check.
    blocks = _blocks(run, found.layers, found.places)
    # 3. The head behind the last block.
    key = blocks[-1].key
    last = resolve(run.model, next(module for module in run.model.modules() if id(module) == key))
    outputs = [block.output for block in blocks if block.output is not None]
    # A layout of one axis less hands on all tokens, the prefix too, as they are.
    every_token: Layout = Layout("channels first", tuple(outputs[-1].shape[2:]))
    if outputs[-1].shape[0] != run.inputs.batch:
        every_token = _BatchSecond("channels first", tuple(outputs[-1].shape[2:]))
    with no_grad():
        head = Head(run.model, last, run.inputs, every_token)
    # 4. The gradient of each block's own score.
    products, gradients = list[KeptProduct](), list[Tensor]()
    for one, after in zip(found.layers, outputs, strict=True):
        rule = KeepAttention((one.size[-1],))
        with with_graph():
            with rule:
                values = scores.read_again(head(every_token.to_grid(after)), _rows(run))
            read = one.product if found.pool is None else _pool_in(rule, found.pool)
            products.append(read)
            gradients += differentiate(values.sum(), [read.weights])
    return _packed(run, found._replace(pool=None), products, gradients)


class _BatchSecond(Layout):
    """Tokens `[N, B, K]`, handed on as `[B, N, K]`."""

    def to_grid(self, output: Tensor) -> Tensor:
        return output.transpose(0, 1)

    def from_grid(self, activations: Tensor, output: Tensor) -> Tensor:  # noqa: ARG002
        return activations.transpose(0, 1)


def _rows(run: Pass) -> Tensor:
    return torch.arange(run.inputs.batch, device=run.inputs.image.device)


def _one(pool: Attending | None) -> list[Attending]:
    return [] if pool is None else [pool]


def _as_read(total: Tensor, found: Tower) -> Tower:
    """Return a tower up to what the score depends on: the pool, or one of the layers.

    It is the whole tower if the score depends on nothing of it.
    """
    behind = behind_node(node_of(total))

    def read(one: Attending) -> bool:
        return node_of(one.product.weights) in behind

    if found.pool is not None and read(found.pool):
        return found
    last = max((n for n, one in enumerate(found.layers, 1) if read(one)), default=0)
    if not last:
        return found
    return found._replace(layers=found.layers[:last], places=found.places[:last], pool=None)


def _pool_in(rule: KeepAttention, pool: Attending) -> KeptProduct:
    """Return the pool's attention in a run of the head."""
    return next(kept for kept in reversed(rule.kept) if kept.weights.shape[-2:] == pool.size)


def _blocks(run: Pass, layers: Sequence[Attending], places: Sequence[Placed]) -> list[Around]:
    """Return the block around each attention: the outermost module that puts out its tokens.

    Raises:
        MethodError: There is none for some, or it is shared, or the blocks are on several grids.
    """
    if len({place.layout.grid for place in places}) > 1:
        raise MethodError(
            "LeGrad runs what follows the last block on the tokens of each block, and here the "
            "blocks are on several grids. Use 'attention-x-gradient' or 'rollout'."
        )
    blocks = [
        around
        for one, place in zip(layers, places, strict=False)
        for around in [around for around in one.around if _holds(around, run, place)][-1:]
    ]
    if len(blocks) < len(layers) or len({block.key for block in blocks}) < len(blocks):
        raise MethodError(
            "LeGrad needs a block of its own around each attention, which puts out all tokens; "
            "here some share a module, or have none. Use 'attention-x-gradient'."
        )
    return blocks


def _holds(around: Around, run: Pass, place: Placed) -> bool:
    """Return whether an output holds all tokens of a layer, and nothing else."""
    batch, shape = run.inputs.batch, around.shape
    if len(shape) == 3:
        return shape[:2] in ((batch, place.tokens), (place.tokens, batch))
    if place.windows is None or shape[0] != batch or len(shape) != 4:
        return False
    axis = place.layout.axis_of_channels % 4
    return place.tokens * shape[axis] == shape[1] * shape[2] * shape[3]


def _packed(
    run: Pass, found: Tower, products: Sequence[KeptProduct], gradients: Sequence[Tensor]
) -> Attention:
    """Return the evidence: the layers, and the pool if the last product is one.

    Some networks take the softmax in another precision than the rest; all matrices get the finest.
    """
    finest = max((one.weights.dtype for one in products), key=lambda kind: torch.finfo(kind).bits)
    packed = [
        _layer(run, product, gradient, place, finest)
        for product, gradient, place in zip(
            products, gradients, [*found.places, found.places[-1]], strict=False
        )
    ]
    pool = packed.pop() if found.pool is not None else None
    return Attention(layers=tuple(packed), pool=pool, tower=found.name)


def _layer(
    run: Pass, product: KeptProduct, gradient: Tensor, place: Placed, kind: torch.dtype
) -> AttentionLayer:
    """Return one layer of the evidence, image by image."""
    batch, windows = run.inputs.batch, place.windows

    def by_image(matrix: Tensor) -> Tensor:
        matrix = at_least_float32(matrix.detach().to(kind))
        if windows is None:
            return matrix.reshape(batch, -1, *matrix.shape[-2:])
        return matrix.reshape(batch, len(windows), *matrix.shape[1:]).transpose(1, 2)

    def by_head(tokens: Tensor | None) -> Tensor | None:
        if tokens is None or windows is not None:
            return None
        tokens = at_least_float32(tokens.to(kind))
        return tokens.reshape(batch, -1, *tokens.shape[-2:])

    return AttentionLayer(
        weights=by_image(product.weights),
        gradients=by_image(gradient),
        layout=place.layout,
        windows=windows,
        count=place.tokens,
        queries=by_head(product.queries),
        keys=by_head(product.keys),
    )
