"""Walkthroughs of several networks and methods, each made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.page_truth import Truth
from helpers.photos import load_picture
from limelight.photos.samples import find_sample
from limelight.translations.languages import Language
from oracles.evidence import Grid, channels_first


@dataclass(frozen=True)
class Case:
    """A walkthrough, and what computes its tensors again."""

    found: limelight.Walkthrough
    truth: Truth
    model: nn.Module
    image: Tensor


@cache
def embedded() -> tuple[limelight.Network, Image.Image, Tensor]:
    network = limelight.load_model()
    photo = load_picture(find_sample("chelsea"))
    return network, photo, network.images(photo)


def of_chelsea(method: str, layer: str = "bn2", beside: Sequence[str] | None = ()) -> Case:
    network, photo, images = embedded()
    found = limelight.walkthrough(
        network.model,
        images,
        method=method,
        beside=beside,
        layer=None if layer in ("bn2", limelight.INPUT) else layer,
        classes=network.classes,
        photo=network.preprocess.view(photo),
        preprocess=network.preprocess,
        name=network.name,
    )
    names = [one.method.name for one in found.beside]
    truth = Truth(
        network.model,
        images,
        layer,
        method,
        fc="classifier",
        beside=names,
        span=found.explanation.span,
    )
    return Case(found, truth, network.model, images)


def of(
    model: nn.Module,
    image: Tensor,
    layer: str,
    method: str = "gradcam",
    grid: Grid = channels_first,
    fc: str = "",
    beside: Sequence[str] | None = None,
) -> Case:
    found = limelight.walkthrough(
        model,
        image,
        method=method,
        beside=beside,
        layer=None if layer == limelight.INPUT else layer,
        target=0,
    )
    names = [one.method.name for one in found.beside]
    truth = Truth(
        model,
        image,
        layer,
        method,
        grid=grid,
        index=0,
        fc=fc,
        beside=names,
        span=found.explanation.span,
    )
    return Case(found, truth, model, image)


def swin() -> nn.Module:
    return cast("nn.Module", torchvision.models.swin_t(weights=None).eval())


def vit(**options: int) -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
    kind = torchvision.models.VisionTransformer
    model = kind(**(sizes | {"mlp_dim": 32, "num_classes": 7} | options))
    nn.init.normal_(model.heads.head.weight)
    return cast("nn.Module", model.eval())


def last(raw: Tensor) -> Tensor:
    return raw.movedim(-1, 1)


def tokens(prefix: int, *grid: int) -> Grid:
    return lambda raw: raw[:, prefix:].mT.reshape(len(raw), -1, *grid)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(1, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


double, single = torch.float64, torch.float32
CASES: dict[str, Callable[[], Case]] = {
    "chelsea, gradcam": lambda: of_chelsea("gradcam", beside=None),
    "chelsea, layercam early": lambda: of_chelsea("layercam", "blocks.2", ["fem", "hirescam"]),
    "chelsea, input-x-gradient": lambda: of_chelsea("input-x-gradient", limelight.INPUT),
    "swin_t": lambda: of(swin(), noise(3, 96, 96), "norm", grid=last, fc="head"),
    "a ViT, hirescam": lambda: of(
        vit(), noise(3, 32, 32), "encoder.layers.encoder_layer_1.ln_1", "hirescam", tokens(1, 4, 4)
    ),
    "a ViT, float64": lambda: of(
        ready(networks.TinyViT()),
        noise(3, 12, 16, dtype=double),
        "blocks.1.norm1",
        grid=tokens(3, 3, 4),
    ),
    "a signal": lambda: of(ready(networks.Signal(), single), noise(2, 172), "conv"),
    "a signal, gradcam++": lambda: of(
        ready(networks.Signal(), single), noise(2, 60), "body", "gradcam++"
    ),
    "a volume": lambda: of(ready(networks.Volume(), single), noise(1, 15, 13, 11), "conv"),
    "a volume, fem in float64": lambda: of(
        ready(networks.Volume()), noise(1, 11, 13, 9, dtype=double), "body", "fem"
    ),
    "cam": lambda: of(
        ready(networks.PoolLinear(), single), noise(3, 16, 12), "features", "cam", fc="fc"
    ),
    "cam, float64": lambda: of(
        ready(networks.PoolLinear()), noise(3, 10, 10, dtype=double), "features", "cam", fc="fc"
    ),
    "a residual network, xgradcam in float64": lambda: of(
        ready(networks.ResidualCNN()), noise(3, 24, 32, dtype=double), "block1", "xgradcam"
    ),
    "a residual network, elementwise": lambda: of(
        ready(networks.ResidualCNN(), single), noise(3, 24, 32), "block1", "gradcam-elementwise"
    ),
}


@cache
def case(name: str) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CASES[name]()


@cache
def page(name: str, language: Language = "en") -> str:
    return case(name).found.html(language)
