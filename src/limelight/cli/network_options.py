"""Options for the network that a command loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

import torch
import typer

from limelight.cli.option_groups import name_option
from limelight.errors import OptionError
from limelight.models.network import DEFAULT, Network
from limelight.models.sources import load_model
from limelight.photos.preprocess import Preprocess


class DType(StrEnum):
    """The floating point types that a network can be run in."""

    float32 = "float32"
    float64 = "float64"
    float16 = "float16"
    bfloat16 = "bfloat16"


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="The embedded network, a torchvision or timm name, hf:NAME_OR_FOLDER, "
        "yolo:FILE_OR_YAML, or package.module:factory.",
    ),
]

ClassFile = Annotated[
    str | None, name_option("--classes", help="A text file with a class name per line.")
]

InputSize = Annotated[
    int | None, typer.Option("--size", min=1, help="Input size in pixels, instead of the model's.")
]


def weights_option(help: str) -> Any:
    """Return the option --weights."""
    return name_option("--weights", "-w", metavar="default|none|FILE", help=help)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """A network, its input and where it runs."""

    model: ModelName = DEFAULT
    weights: Annotated[
        str,
        weights_option("The library's own, random, or a state dict (.pth, .pt, .safetensors)."),
    ] = "default"
    classes: ClassFile = None
    size: InputSize = None
    mean: Annotated[
        str | None, typer.Option(metavar="M[,M,M]", help="Mean per channel, in 0..1.")
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="S[,S,S]", help="Standard deviation per channel, in 0..1."),
    ] = None
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, mps, ...; auto takes a GPU if any.")
    ] = "auto"
    dtype: Annotated[DType, typer.Option(help="What the network computes in.")] = DType.float32

    def load(self) -> Network:
        """Load the network, with its input changed as the options say."""
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        network = load_model(
            self.model,
            weights=self.weights,
            classes=self.classes,
            device=device,
            dtype=getattr(torch, self.dtype),
        )
        preprocess = _resized(network.preprocess, self.size)
        channels = len(preprocess.mean)
        if self.mean is not None:
            preprocess = replace(preprocess, mean=_numbers("--mean", self.mean, channels))
        if self.std is not None:
            preprocess = replace(preprocess, std=_numbers("--std", self.std, channels))
        return replace(network, preprocess=preprocess)


def _resized(preprocess: Preprocess, size: int | None) -> Preprocess:
    """Return a preparation of photos for another input size."""
    if size is None:
        return preprocess
    if preprocess.size is None:
        return replace(preprocess, resize=size, longest=None)
    # Keep the share of the photo that the crop takes.
    before = preprocess.resize or preprocess.size
    resize = before if isinstance(before, int) else before[0]
    scale = size / preprocess.size[0]
    return replace(preprocess, size=(size, size), resize=round(resize * scale))


def _numbers(option: str, text: str, channels: int) -> tuple[float, ...]:
    """Read a number for all channels, or one for each."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, channels):
        raise OptionError(
            f"{option} is {text!r}; one number for all channels was expected, or {channels} with "
            "commas between them."
        )
    if not all(number >= 0 for number in numbers):  # NaN is no such number either
        raise OptionError(
            f"{option} is {text!r}; numbers in 0..1 were expected, the range to which pixels are "
            "scaled before."
        )
    return tuple(numbers * channels if len(numbers) == 1 else numbers)
