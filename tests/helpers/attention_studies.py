"""Transformers whose attention is known, and what the oracles of its methods find there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import timm
import torch
import torchvision
from torch import Tensor, nn

from helpers import networks
from helpers.input_studies import ROWS, images_of
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees
from oracles import attention, controls
from oracles.evidence import classes


class Transformer(NamedTuple):
    """A network with attention; what is read of it is told, not found."""

    build: Callable[[], nn.Module]
    size: tuple[int, ...]
    grid: tuple[int, int]
    prefix: int
    blocks: str  # the paths of its blocks, but for their numbers, of which there are `layers`
    attention: str  # the path of the attention in a block
    layers: int
    readers: list[int]  # the tokens that the head reads


def torchvision_vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=5,
    )
    nn.init.normal_(model.heads.head.weight)  # a fresh one is zero
    return cast("nn.Module", model)


def timm_vit(**options: Any) -> nn.Module:
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=64,
        embed_dim=16,
        num_heads=2,
        depth=3,
        num_classes=5,
        **options,
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return cast("nn.Module", model)


def timm_vit_written_out() -> nn.Module:
    model = timm_vit()
    for block in cast("Any", model).blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    return model


def of_timm(build: Callable[[], nn.Module], prefix: int, readers: list[int]) -> Transformer:
    return Transformer(build, (3, 64, 64), (4, 4), prefix, "blocks", "attn", 3, readers)


TRANSFORMERS = {
    "our own": Transformer(
        networks.TinyViT, PICTURE, (3, 4), networks.TinyViT.prefix, "blocks", "attention", 2, [0]
    ),
    "torch's encoder": Transformer(
        networks.Encoder, PICTURE, (3, 4), 0, "encoder.layers", "self_attn", 2, list(range(12))
    ),
    "torchvision's": Transformer(
        torchvision_vit,
        (3, 32, 32),
        (4, 4),
        1,
        "encoder.layers.encoder_layer",
        "self_attention",
        3,
        [0],
    ),
    "timm's": of_timm(timm_vit, 1, [0]),
    "timm's, written out": of_timm(timm_vit_written_out, 1, [0]),
    "timm's with registers": of_timm(functools.partial(timm_vit, reg_tokens=3), 4, [0]),
    "timm's with an average pool": of_timm(
        functools.partial(timm_vit, global_pool="avg"), 1, list(range(1, 17))
    ),
    "timm's without a class token": of_timm(
        functools.partial(timm_vit, global_pool="avg", class_token=False), 0, list(range(16))
    ),
}


class Attention(NamedTuple):
    """What the oracle found of a transformer's attention."""

    model: nn.Module
    images: Tensor
    weights: list[Tensor]
    gradients: list[Tensor]
    own: list[Tensor]  # of each layer, the gradient of its own score
    network: Transformer

    @property
    def prefix(self) -> int:
        return self.network.prefix

    @property
    def grid(self) -> tuple[int, int]:
        return self.network.grid

    def read(self, relevance: Tensor) -> Tensor:
        """Return the rows of the tokens that the head reads, on the grid."""
        return attention.rows_read(relevance, self.network.readers, self.prefix, self.grid)


@functools.cache
def attend(key: str) -> Attention:
    torch.manual_seed(0)
    told = TRANSFORMERS[key]
    model, images = ready(told.build()), images_of(3, told.size)
    joint = "" if told.blocks.endswith("layer") else "."  # torchvision's are called ..._0
    blocks = [f"{told.blocks}{joint or '_'}{number}" for number in range(told.layers)]
    paths = [f"{block}.{told.attention}" for block in blocks]
    found = attention.attended(model, paths, images, classes(CHOSEN))
    assert_agrees(found.output, model(images).detach())
    own = [
        attention.attended(
            model, paths[: n + 1], images, classes(CHOSEN), without=blocks[n + 1 :]
        ).gradients[n]
        for n in range(told.layers)
    ]
    return Attention(model, images, found.weights, found.gradients, own, told)


ATTENTION_ORACLES = attention.OF_ATTENTION.oracles
METHODS_OF_ATTENTION = list(ATTENTION_ORACLES)
DOCTORED_ATTENTION = {
    (method, how): doctored
    for method, mistakes in attention.OF_ATTENTION.doctored.items()
    for how, doctored in mistakes.items()
}
#: Every method of the input and of attention, and a control, with its oracle.
ORACLES: dict[str, Callable[..., Tensor]] = {
    **{method: oracle for method, (_, oracle) in ROWS.items()},
    **ATTENTION_ORACLES,
    "random": controls.uniform_ranks,
}
