"""Options for how maps are made: methods, layers, views, and runs of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from limelight.errors import OptionError
from limelight.methods.tiles import Tiles, tiles
from limelight.methods.views import Views, find_views
from limelight.models.network import Network
from limelight.options import Options
from limelight.registry import split_names

OneLayer = Annotated[
    str | None, typer.Option("--layer", "-l", help="A dotted path; chosen when not given.")
]


#: What --method says of its default.
DEFAULT_METHOD = "Without it, gradcam, or hirescam for a box or another single place."


def layers_option(help: str) -> Any:
    """Return the option --layer of a command that takes several."""
    return typer.Option("--layer", "-l", help=help)


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


def metrics_option(otherwise: str) -> Any:
    """Return the option --metrics; `otherwise` says what is done without it."""
    return typer.Option(
        "--metrics",
        help="Names that `limelight metrics` lists, with spaces or commas between them, with "
        f"options if any: 'insertion deletion:steps=50'; or 'all'. {otherwise}",
    )


def methods_option(otherwise: str) -> Any:
    """Return the option --methods; `otherwise` says what is done without it."""
    return typer.Option(
        "--methods",
        help="Names that `limelight methods` lists, with spaces or commas between them, with "
        f"options if any; or 'all'. {otherwise}",
    )


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How the maps of a target are made, whatever the method."""

    views: Annotated[
        str | None,
        typer.Option(help="Average over several looks: flips, noise:samples=25 or scales:count=4."),
    ] = None
    eigen: Annotated[
        bool,
        typer.Option("--eigen", help="Smooth: take the channels' first component, not their sum."),
    ] = False
    chunk: Chunk = None
    compile: Compile = False

    def __post_init__(self) -> None:
        """Refuse unknown views, before any work is done."""
        self.read_views()

    def read_views(self) -> Views | Tiles | None:
        """Return the views, if any are wanted."""
        return find_views(self.views) if self.views else None

    def options(self, network: Network, output: str | None = None) -> Options:
        """Return these options as the library takes them, for this network."""
        return Options.read(
            classes=network.classes,
            output=output,
            views=self.read_views(),
            eigen=self.eigen,
            chunk=self.chunk,
            compile=self.compile,
        )


@dataclass(frozen=True, kw_only=True)
class TiledMapOptions(MapOptions):
    """The same, and how photos larger than memory are cut into windows."""

    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE[,OVERLAP]",
            help="Explain window by window, for photos larger than memory: windows of SIZE pixels "
            "(512, or 512x256; 'auto' for what the network takes), each of which covers the share "
            "OVERLAP of the one before it (0.25). TIFF and .npy files are read in parts, too.",
        ),
    ] = None

    def read_views(self) -> Views | Tiles | None:
        """Return the views or the tiles, if any are wanted."""
        if self.tiles is None:
            return super().read_views()
        if self.views:
            raise typer.BadParameter("give --views or --tiles, not both")
        return _read_tiles(self.tiles)


def _read_tiles(text: str) -> Tiles:
    """Return the tiles in `512`, `512x256,0.5` or `auto`.

    Raises:
        OptionError: It cannot be read, or the size or the overlap cannot be.
    """
    size, _, overlap = text.partition(",")
    sides = size.strip().lower().split("x")
    try:
        sizes = None if sides == ["auto"] else tuple(map(int, sides))
        share = float(overlap) if overlap.strip() else Tiles().overlap
    except ValueError:
        raise OptionError(
            f"--tiles is {text!r}; a size in pixels was expected, and perhaps an overlap, as in "
            "512 or 512x256,0.5."
        ) from None
    return tiles(sizes[0] if sizes is not None and len(sizes) == 1 else sizes, share)


def split_layers(layers: Sequence[str] | None) -> list[str]:
    """Return the paths of the layers that are named, with spaces or commas between them."""
    return [path for text in layers or [] for path in split_names(text) or [text]]
