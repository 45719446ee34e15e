"""Options that several commands share, and what they load."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import torch
import typer

from limelight.errors import OptionError
from limelight.models import DEFAULT, Network, load_model

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="The embedded network, a torchvision or timm name, or package.module:factory.",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        metavar="default|none|FILE",
        help="The library's own, random, or a state dict (.pth, .pt, .safetensors).",
    ),
]
Classes = Annotated[
    str | None, typer.Option("--classes", help="A text file with a class name per line.")
]
Size = Annotated[
    int | None, typer.Option("--size", min=1, help="Input size in pixels, instead of the model's.")
]
Mean = Annotated[
    str | None, typer.Option("--mean", metavar="M[,M,M]", help="Mean per channel, in 0..1.")
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="S[,S,S]", help="Standard deviation per channel, in 0..1."),
]
Device = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, ...; auto takes a GPU if any.")
]


class DType(StrEnum):
    """The floating point types that a network can be run in."""

    float32 = "float32"
    float64 = "float64"
    float16 = "float16"
    bfloat16 = "bfloat16"


Precision = Annotated[DType, typer.Option("--dtype", help="What the network computes in.")]


def load(
    model: str = DEFAULT,
    weights: str = "default",
    classes: str | None = None,
    size: int | None = None,
    mean: str | None = None,
    std: str | None = None,
    device: str = "auto",
    dtype: DType = DType.float32,
) -> Network:
    """Load the network that the options describe."""
    network = load_model(
        model,
        weights=weights,
        classes=classes,
        device=_device(device),
        dtype=getattr(torch, dtype),
    )
    own = network.preprocess
    if size is not None:
        # Keep the share of the photo that the crop takes.
        scale = size / own.size[0]
        resize = own.resize if isinstance(own.resize, int) else own.resize[0]
        own = replace(own, size=(size, size), resize=round(resize * scale))
    if mean is not None or std is not None:
        channels = len(own.mean)
        own = replace(
            own,
            mean=own.mean if mean is None else _numbers("--mean", mean, channels),
            std=own.std if std is None else _numbers("--std", std, channels),
        )
    return replace(network, preprocess=own)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _numbers(option: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, channels):
        raise OptionError(
            f"{option} is {text!r}; one number for all channels was expected, or {channels} with "
            "commas between them."
        )
    return tuple(numbers * channels if len(numbers) == 1 else numbers)
