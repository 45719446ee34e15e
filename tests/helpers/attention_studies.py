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
    readers: list[int]  # the tokens that the head reads; the pool's queries, if there is one
    pool: str = ""  # the path of a pool by attention


class BatchSecond(nn.Module):
    """A class token, patches and an encoder of torch, all with the batch second."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.classify = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).permute(2, 0, 1)
        tokens = torch.cat([self.token.expand(-1, len(x), -1), patches])
        return cast("Tensor", self.classify(self.encoder(tokens)[0]))


def batch_second() -> nn.Module:
    model = BatchSecond()
    for parameter in model.encoder.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return model


def timm_siglip() -> nn.Module:
    model = timm.create_model(
        "vit_base_patch16_siglip_224",
        img_size=64,
        embed_dim=16,
        num_heads=2,
        depth=3,
        num_classes=5,
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return cast("nn.Module", model)


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
    "batch second": Transformer(
        batch_second, (3, 12, 16), (3, 4), 1, "encoder.layers", "self_attn", 3, [0]
    ),
    "a pool by attention": of_timm(timm_siglip, 0, [0])._replace(pool="attn_pool"),
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
    pool: tuple[Tensor, Tensor] | None  # its weights and gradients
    last: attention.Found

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
    pools = [told.pool] if told.pool else []
    found = attention.attended(model, [*paths, *pools], images, classes(CHOSEN))
    assert_agrees(found.output, model(images).detach())
    own = [
        attention.attended(
            model, [*paths[: n + 1], *pools], images, classes(CHOSEN), without=blocks[n + 1 :]
        ).gradients[-1]
        for n in range(told.layers)
    ]
    weights, gradients, count = found.weights, found.gradients, told.layers
    pool = (weights[count], gradients[count]) if pools else None
    return Attention(model, images, weights[:count], gradients[:count], own, told, pool, found.last)


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
