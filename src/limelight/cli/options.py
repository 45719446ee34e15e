"""Options that several commands share, and what they load."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL.Image import Image
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.errors import OptionError, OutputError
from limelight.explanation import FORMATS, FormatName
from limelight.files import file_name, make_folder
from limelight.methods import Method, chosen_methods
from limelight.metrics import Metric
from limelight.metrics.run import chosen_metrics
from limelight.models.network import DEFAULT, Network
from limelight.models.sources import load_model
from limelight.photos.decode import load_photo, photo_size, silence_decoders
from limelight.photos.files import find_photos
from limelight.photos.preprocess import Preprocess
from limelight.photos.samples import SAMPLES, find_sample
from limelight.render import as_panel
from limelight.targets import Box, Contrast, Counterfactual, Region, Target, top
from limelight.targets.classes import ClassChoice


def _name(text: str | Path) -> str:
    """Return a name as it was given; an empty one would mean the working directory."""
    if text == "":
        raise typer.BadParameter("an empty name; that of a file or a folder was expected")
    return str(text)


def _path(text: str | Path) -> Path:
    return Path(_name(text))


def a_name(*names: str, help: str, metavar: str = "FILE") -> Any:
    """Return an option that takes the name of a file."""
    return typer.Option(*names, metavar=metavar, parser=_name, help=help)


def a_path(*names: str, help: str) -> Any:
    """Return an option that takes a file or a folder."""
    return typer.Option(*names, metavar="PATH", parser=_path, help=help)


Photos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO...",
        help="Photos and folders of photos, or a sample: " + ", ".join(SAMPLES) + ".",
        show_default=False,
    ),
]


Form = Annotated[
    FormatName | None,
    typer.Option("--format", "-f", help="png unless --out says otherwise; npz is the arrays."),
]


Colormap = Annotated[
    str, typer.Option("--colormap", "-c", help="A matplotlib colour map; jet is the article's.")
]


AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print for a machine: stdout is one JSON document, however the run ends, with 'error' "
        "if it ended early; all else goes to stderr.",
    ),
]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="The embedded network, a torchvision or timm name, hf:NAME_OR_FOLDER, or "
        "package.module:factory.",
    ),
]


Weights = Annotated[
    str,
    a_name(
        "--weights",
        "-w",
        metavar="default|none|FILE",
        help="The library's own, random, or a state dict (.pth, .pt, .safetensors).",
    ),
]


Classes = Annotated[
    str | None,
    a_name("--classes", help="A text file with a class name per line."),
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


Targets = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="A class by index or name; repeat it to explain several."),
]


OneTarget = Annotated[
    str | None,
    typer.Option("--target", "-t", help="A class by index or name; the predicted one without."),
]


OneLayer = Annotated[
    str | None, typer.Option("--layer", "-l", help="A dotted path; chosen when not given.")
]


TopK = Annotated[
    int | None, typer.Option("--topk", "-k", min=1, help="Explain the K highest classes.")
]


AtBox = Annotated[
    str | None,
    typer.Option("--box", metavar="X1,Y1,X2,Y2", help="Of a detector: this box of the photo."),
]


AtPixel = Annotated[
    str | None,
    typer.Option("--pixel", metavar="ROW,COL", help="Of a segmenter: this pixel of the photo."),
]


Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="Why the target rather than this class; 'similar' takes the most similar ones.",
    ),
]


Counter = Annotated[
    bool, typer.Option("--counterfactual", help="Explain what speaks against the target.")
]


Look = Annotated[
    str | None,
    typer.Option(
        "--views",
        help="Average over several looks: flips, noise:samples=25 or scales:count=4.",
    ),
]


Eigen = Annotated[
    bool,
    typer.Option("--eigen", help="Smooth: take the channels' first component, not their sum."),
]


Chunk = Annotated[
    int | None,
    typer.Option(
        "--chunk", min=1, help="Runs done together by methods that run the network many times."
    ),
]


Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the network first; it pays for thousands of photos or runs."
    ),
]


def targets(
    named: Sequence[str] | None, topk: int | None, against: str | None, counterfactual: bool
) -> list[Target]:
    """Return the targets that the options describe; the predicted class without any."""
    if named and topk:
        raise typer.BadParameter("give --target or --topk, not both")
    if against and counterfactual:
        raise typer.BadParameter("give --against or --counterfactual, not both")
    chosen: Sequence[ClassChoice] = top(topk) if topk else [class_of(one) for one in named or []]
    if against:
        other = None if against == "similar" else class_of(against)
        return [Contrast(one, other) for one in chosen or [None]]
    return [Counterfactual(one) if counterfactual else one for one in chosen or [None]]


def placed(
    chosen: Sequence[Target],
    box: str | None,
    pixel: str | None,
    preprocess: Preprocess,
    photos: Sequence[Path],
) -> list[Target]:
    """Return targets at a box or a pixel of the one photo, if one is given.

    Raises:
        OptionError: It cannot be read, or there are several photos.
    """
    if box is None and pixel is None:
        return list(chosen)
    if box is not None and pixel is not None:
        raise typer.BadParameter("give --box or --pixel, not both")
    if len(photos) > 1:
        raise OptionError(f"A box or pixel is of one photo, and there are {len(photos)}.")
    photo = photo_size(photos[0])
    if box is not None:
        x1, y1, x2, y2 = _integers("--box", box, ("x1", "y1", "x2", "y2"))
        corners = [*preprocess.point(photo, x1, y1), *preprocess.point(photo, x2, y2)]
        return [Box(corners, one) for one in chosen]  # type: ignore[arg-type]
    row, column = _integers("--pixel", pixel or "", ("row", "column"))
    x, y = preprocess.point(photo, column, row)
    return [Region(one, (int(y), int(x))) for one in chosen]  # type: ignore[arg-type]


def _integers(option: str, text: str, names: Sequence[str]) -> list[int]:
    parts = text.split(",")
    if len(parts) != len(names) or not all(re.fullmatch(r"\s*\d+\s*", part) for part in parts):
        raise OptionError(
            f"{option} is {text!r}; {','.join(names)} in pixels of the photo was expected."
        )
    return [int(part) for part in parts]


def class_of(text: str) -> int | str:
    """Return a class as it was given: its index, or its name."""
    return int(text) if re.fullmatch(r"-?\d+", text.strip()) else text


def photos(given: Sequence[str]) -> list[Path]:
    """Return the photos meant; a sample's name is one unless a file is called that."""
    silence_decoders()
    return find_photos(
        find_sample(name) if name in SAMPLES and not Path(name).exists() else name for name in given
    )


def as_seen(path: Path, network: Network) -> tuple[Tensor, Image]:
    """Return what the network is given of a photo, `[1, C, H, W]`, and what a panel shows of it.

    The photo itself, which may be large, is not kept.

    Raises:
        PhotoError: It cannot be read.
    """
    photo = load_photo(path)
    return network.images(photo), as_panel(network.preprocess.view(photo))


def place(out: Path, form: FormatName | None, one: bool) -> tuple[str, Path | None]:
    """Return the format, and the folder when --out is one; fail before any work is done."""
    suffix = out.suffix.lower().lstrip(".")
    is_file = bool(suffix) and not out.is_dir() and (one or suffix in FORMATS)
    if not is_file:
        return form or "png", make_folder(out)
    if suffix not in FORMATS:
        raise OutputError(
            f"Cannot write {str(out)!r}: its suffix should be one of {', '.join(FORMATS)}."
        )
    if form and form != suffix:
        raise OutputError(f"--out says {suffix!r} and --format {form!r}; leave one out.")
    if not one:
        raise OutputError(
            f"There are several pictures to write, and --out is one file, {str(out)!r}. Pass "
            "a folder."
        )
    make_folder(out.parent)
    return suffix, None


def free(place: Path, parts: Sequence[str], form: str, used: set[Path]) -> Path:
    """Return a file of that name in a folder, or one like it if this run has written that."""
    free, number = place / file_name(parts, form), 1
    while free in used:
        number += 1
        free = place / file_name([*parts, str(number)], form)
    used.add(free)
    return free


def methods(named: Sequence[str]) -> list[Method]:
    """Return the methods named, with spaces between them; "all" is all of them."""
    words = " ".join(named).split()
    return chosen_methods("all" if words == ["all"] else words)


def metrics(named: Sequence[str] | None, *, with_objects: bool) -> list[Metric]:
    """Return the metrics named, with spaces between them; the quick ones without any."""
    words = " ".join(named).split() if named else None
    return chosen_metrics("all" if words == ["all"] else words, with_objects=with_objects)


def described(row: Method | Metric) -> dict[str, Any]:
    """Return a row of METHODS or METRICS as plain values."""
    return {
        "name": row.name,
        "formula": row.formula,
        "family": row.family,
        "needs": sorted(row.needs),
        "options": row.known_options,
        "paper": row.paper,
        "use": row.use,
    }


def listing(rows: Iterable[Any], besides: Callable[[Any], str] | None = None) -> Table:
    """Return a table of the rows of METHODS or METRICS, by family."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    family = ""
    for row in rows:
        if row.family != family:
            family = row.family
            table.add_row(f"[bold]{family}[/]", "")
        told = [row.formula, *([besides(row)] if besides else []), row.paper]
        if row.known_options:
            own = ", ".join(f"{name}={value}" for name, value in row.known_options.items())
            told.append(f"options: {own}")
        text = f"{escape(row.use)}\n[dim]{escape(chr(10).join(told))}[/]"
        table.add_row(f"  [bold cyan]{row.name}[/]", text)
    return table


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
    if size is not None and own.size is None:
        own = replace(own, resize=size, longest=None)
    elif size is not None and own.size is not None:
        # Keep the share of the photo that the crop takes.
        scale = size / own.size[0]
        before = own.resize or own.size
        resize = before if isinstance(before, int) else before[0]
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
    if not all(number >= 0 for number in numbers):  # NaN is no such number either
        raise OptionError(
            f"{option} is {text!r}; numbers in 0..1 were expected, the range to which pixels are "
            "scaled before."
        )
    return tuple(numbers * channels if len(numbers) == 1 else numbers)
