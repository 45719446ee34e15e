"""Options for the network that a command loads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli.option_groups import name_option
from limelight.errors import OptionError
from limelight.models.defaults import DEFAULT
from limelight.photos.windows import WINDOWS, read_window

if TYPE_CHECKING:  # with it comes torch, without which `limelight doctor` says what is missing
    from limelight.models.network import Network
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
        "open_clip:NAME/TAG, yolo:FILE_OR_YAML, or package.module:factory.",
    ),
]

ClassFile = Annotated[
    str | None, name_option("--classes", help="A text file with a class name per line.")
]

InputSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|H,W|D,H,W",
        help="Input size in pixels, instead of the model's; three numbers for a network that takes "
        "volumes.",
    ),
]


LogitsPart = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="KEY",
        help="Which part of what the network returns holds the logits: a key, an attribute or a "
        "number, or several joined by dots.",
    ),
]


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...; auto takes a GPU if any.")]


def chosen_device(name: str) -> str:
    """Return the device of a name; of `auto` a GPU, if there is any."""
    if name == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


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
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="N|H,W",
            help="What a photo is resized to before it is cropped: its shorter side; or height and "
            "width, which may change its proportions.",
        ),
    ] = None
    no_crop: Annotated[
        bool,
        typer.Option(
            "--no-crop",
            help="Show the network the whole photo: resize it to the input size, which may change "
            "its proportions, and crop nothing.",
        ),
    ] = False
    window: Annotated[
        str | None,
        typer.Option(
            metavar="CENTRE,WIDTH|NAME",
            help="The numbers of the photo that become black to white, or a name for CT: "
            f"{', '.join(WINDOWS)}. Without it those from its lowest to its highest, the window of "
            "a DICOM file, or all 256 of an 8-bit photo.",
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M,M]",
            help="Mean in 0..1: one number for all channels, or one for each that the network "
            "takes.",
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="S[,S,S]", help="Standard deviation in 0..1, likewise."),
    ] = None
    device: Device = "auto"
    dtype: Annotated[DType, typer.Option(help="What the network computes in.")] = DType.float32

    def load(self) -> Network:
        """Load the network, with its input changed as the options say."""
        import torch

        from limelight.models.sources import load_model

        network = load_model(
            self.model,
            weights=self.weights,
            classes=self.classes,
            device=chosen_device(self.device),
            dtype=getattr(torch, self.dtype),
        )
        return replace(network, preprocess=self._changed(network))

    @property
    def preprocessing(self) -> list[object]:
        """The options given that say how a photo becomes the network's input, as name=value."""
        names = ("size", "resize", "no_crop", "window", "mean", "std")
        return [f"{name}={value}" for name in names if (value := getattr(self, name))]

    @property
    def as_words(self) -> dict[str, str]:
        """The options given that say what the network is shown and what its classes are called.

        They are by their names, "" for one without a value; of a file, its name alone.
        """
        words = {} if self.classes is None else {"classes": Path(self.classes).name}
        given = {"size": self.size, "resize": self.resize, "window": self.window}
        given |= {"mean": self.mean, "std": self.std}
        words |= {name: value for name, value in given.items() if value is not None}
        return words | ({"no-crop": ""} if self.no_crop else {})

    def _changed(self, network: Network) -> Preprocess:
        """Return the network's preprocessing, changed as the options say.

        Raises:
            OptionError: An option cannot be read, or they do not go together.
        """
        from limelight.channels import taken_input

        preprocess = network.preprocess
        size = _sides("--size", self.size, (1, 2, 3))
        _check_axes(network, size)
        preprocess = _resized(preprocess, size)
        resize = _sides("--resize", self.resize, (1, 2))
        if resize is not None and self.no_crop:
            raise OptionError(
                "--resize and --no-crop are both given, and --no-crop resizes to the input size. "
                "Give one of them."
            )
        if resize is not None:
            shorter = resize[0] if len(resize) == 1 else resize
            preprocess = replace(preprocess, resize=shorter, longest=None)
        if self.no_crop:
            preprocess = preprocess.uncropped()
        if self.window is not None:
            preprocess = replace(preprocess, window=read_window(self.window))
        mean, std = _numbers("--mean", self.mean), _numbers("--std", self.std)
        if mean is None and std is None:
            return preprocess
        given = [len(numbers) for numbers in (mean, std) if numbers is not None]
        channels = max(given) if max(given) > 1 else preprocess.channels
        taken = taken_input(network.model)
        if taken is not None and taken.channels != channels:
            channels = taken.channels
        return replace(
            preprocess,
            mean=_for_channels("--mean", mean or _alike(preprocess.mean), channels),
            std=_for_channels("--std", std or _alike(preprocess.std), channels),
        )


def _check_axes(network: Network, size: tuple[int, ...] | None) -> None:
    """Refuse pictures for a network whose first layer takes volumes, and other images.

    Raises:
        OptionError: The network takes them.
    """
    from limelight.channels import taken_input

    taken = taken_input(network.model)
    if taken is None or network.preprocess.takes_volumes or (size is not None and len(size) == 3):
        return
    if taken.axes == 3:
        raise OptionError(
            f"The network {network.name!r} takes volumes, and how large they are is not known. "
            "Pass --size DEPTH,HEIGHT,WIDTH, or a limelight.Network whose Preprocess has three "
            "sizes."
        )


def _resized(preprocess: Preprocess, size: tuple[int, ...] | None) -> Preprocess:
    """Return a preparation of photos for another input size."""
    if size is None:
        return preprocess
    if len(size) == 3:
        return replace(preprocess, size=size, resize=size, longest=None)
    if preprocess.size is None:
        return replace(preprocess, resize=size[0] if len(size) == 1 else size, longest=None)
    # Keep the share of the photo that the crop takes.
    height, width = size * 2 if len(size) == 1 else size
    before = preprocess.resize or preprocess.size
    if isinstance(before, int):
        resize: int | tuple[int, ...] = round(before * min(height, width) / min(preprocess.size))
    else:
        scales = height / preprocess.size[0], width / preprocess.size[1]
        resize = (round(before[0] * scales[0]), round(before[1] * scales[1]))
    return replace(preprocess, size=(height, width), resize=resize)


def _sides(option: str, text: str | None, counts: tuple[int, ...]) -> tuple[int, ...] | None:
    """Read whole numbers of pixels with commas between them."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in counts or not all(re.fullmatch(r"0*[1-9]\d*", part) for part in parts):
        names = {1: "one number", 2: "height,width", 3: "depth,height,width"}
        raise OptionError(
            f"{option} is {text!r}; {' or '.join(names[count] for count in counts)} in pixels was "
            "expected."
        )
    return tuple(map(int, parts))


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Read numbers in 0..1 with commas between them."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{option} is {text!r}; one number for all channels was expected, or one for each with "
            "commas between them."
        ) from None
    if not all(number >= 0 for number in numbers):  # NaN is no such number either
        raise OptionError(
            f"{option} is {text!r}; numbers in 0..1 were expected, the range to which pixels are "
            "scaled before."
        )
    return numbers


def _alike(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers of a network's channels as one, if they are all the same."""
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _for_channels(option: str, numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return a number for each channel; one number is that of all."""
    if len(numbers) in (1, channels):
        return numbers * (channels if len(numbers) == 1 else 1)
    raise OptionError(
        f"{option} has {len(numbers)} numbers, {', '.join(map(str, numbers))}; one number for all "
        f"channels was expected, or {channels} with commas between them."
    )
