"""A small network, plain and in the states that it may be in, and the map that all of them have."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

import limelight
from helpers import plain_hooks
from helpers.networks import ready
from helpers.plain_hooks import CLASS
from helpers.tolerances import LAYERS, NETWORK, assert_agrees, rounding
from oracles.evidence import channels_first, probe

#: Methods that read the layer, run the head again, read the input, run the network again, and
#: change its gradients.
METHODS = ["gradcam", "ablationcam", "saliency", "scorecam", "guided-backprop"]

every_method = pytest.mark.parametrize("method", METHODS)


class Net(nn.Module):
    """Batch norm, in-place ReLUs, dropout; the layer to cut at is in the middle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.conv(self.relu(self.stem(x))))

    def head(self, x: Tensor) -> Any:
        return self.fc(self.drop(self.relu(x).mean((2, 3))))


def net(kind: type[Net] = Net, dtype: torch.dtype = torch.float64) -> Net:
    """The same weights every time."""
    return ready(kind(), dtype)


IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)).double()


def by_hand(model: nn.Module, layer: str = "conv", images: Tensor = IMAGES) -> Tensor:
    return plain_hooks.by_hand(model, layer, images)


HALF = "half precision: each layer rounds once, and few layers average nothing out"

#: Methods whose map is the gradient at the image.
OF_IMAGE = ("saliency", "guided-backprop")


@functools.cache
def of_relus(dtype: torch.dtype) -> float:
    """How far the gradient at a pixel moves as ReLUs beside it are rounded to the other side of 0.

    In plain torch too. Two roundings make their inputs: the convolution's and the batch norm's.
    """
    model = net()
    stem = probe(model, "stem", IMAGES, lambda y: y[:, CLASS], channels_first).activations
    behind = probe(model, "relu", IMAGES, lambda y: y[:, CLASS], channels_first).gradients.abs()
    near = stem.abs() <= rounding(dtype, terms=2, errors=1) * stem.abs().max()
    conv, norm = model.stem
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    gain = (norm.weight / norm.running_var.sqrt()).abs()[:, None, None]
    moved = F.conv_transpose2d(near * behind * gain, conv.weight.abs(), padding=1)
    return float(moved.detach().max())


def explain(model: nn.Module, method: str, images: Tensor = IMAGES, **options: Any) -> Any:
    return limelight.explain(model, images, target=CLASS, method=method, **options)


@functools.cache
def plain(method: str) -> tuple[str, Tensor]:
    """The layer and the raw map of the plain network; Grad-CAM's is found by hand as well."""
    found = explain(net(), method)
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(net()))
        assert found.layer == "conv"
    assert found.raw.any()
    return found.layer, found.raw


def assert_same(
    model: nn.Module,
    method: str,
    *,
    prefix: str = "",
    dtype: torch.dtype | None = None,
    terms: int = NETWORK,
    **options: Any,
) -> None:
    """Assert that the map of a model, in its state, is that of the plain network."""
    layer, raw = plain(method)
    found = explain(model, method, **options)
    assert found.layer == (layer if layer == limelight.INPUT else prefix + layer)
    truncation = of_relus(dtype) if method in OF_IMAGE and dtype is not None else 0.0
    assert_agrees(
        found.raw,
        raw,
        dtype=dtype,
        terms=terms,
        truncation=truncation,
        limit=HALF if terms == LAYERS else None,
    )


def compiled(model: nn.Module) -> nn.Module:
    return cast("nn.Module", torch.compile(model, backend="eager"))


@torch.no_grad()
def run(model: nn.Module) -> Tensor:
    return cast("Tensor", model(IMAGES))


@contextmanager
def process_group(folder: Path) -> Iterator[None]:
    """A group of this one process."""
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def quantised_dynamically() -> nn.Module:
    quantize_dynamic: Any = torch.ao.quantization.quantize_dynamic
    model = net(dtype=torch.float32)
    return cast("nn.Module", quantize_dynamic(model, {nn.Linear}))


def quantised_statically() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    images = IMAGES.float()
    prepared = prepare_fx(net(dtype=torch.float32), get_default_qconfig_mapping("x86"), (images,))
    prepared(images)
    return cast("nn.Module", convert_fx(prepared))


old = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
