"""Options for where a command writes its pictures, in which format, and whether it prints JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli.option_groups import out_option
from limelight.errors import OptionError, OutputError
from limelight.explanation_pictures import FORMATS, FormatName, PictureKind
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.files import file_name, make_folder

if TYPE_CHECKING:
    from limelight.methods import Method

Colormap = Annotated[
    str | None,
    typer.Option(
        "--colormap",
        "-c",
        help="A matplotlib colour map; inferno when not given, and RdBu_r for signed maps; jet is "
        "the article's.",
    ),
]


Scale = Annotated[
    MapScale,
    typer.Option(
        help="Which values the colours of a figure stand for: each map's own highest is the last "
        "colour, or all maps have one scale, that of the raw maps (of one method and layer)."
    ),
]


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """The page of a figure."""

    width: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="How wide a figure is, as a journal asks: 85mm, 8.5cm, 3.3in, or inches. Titles "
            "are wrapped, and panels move below each other.",
        ),
    ] = None
    dpi: Annotated[
        int | None, typer.Option(help="Pixels per inch of a figure; 150 or 200 when not given.")
    ] = None
    font_size: Annotated[
        float, typer.Option(help="The size of all text in a figure, in points.")
    ] = USUAL_STYLE.font_size

    @property
    def style(self) -> FigureStyle:
        """The style of the figures.

        Raises:
            OptionError: One of the values makes no sense.
        """
        return FigureStyle(self.width, self.dpi, self.font_size)


def whole_option(default: str) -> Any:
    """Return the option --whole/--crop; `default` says in words what is drawn without it."""
    return typer.Option(
        "--whole/--crop",
        show_default=False,
        help="Draw on the whole photo, and mark what the network did not see; or only on what it "
        f"saw. Without it: {default}.",
    )


AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print for a machine: stdout is one JSON document, however the run ends, with 'error' "
        "if it ended early; all else goes to stderr.",
    ),
]


def check_methods_of_scale(scale: MapScale, methods: Sequence[Method]) -> None:
    """Refuse one scale for several methods, before any work is done.

    Raises:
        OptionError: There are several.
    """
    if scale == "shared" and len(methods) > 1:
        raise OptionError(
            f"--scale shared draws raw values on one scale, and those of {len(methods)} methods "
            "cannot be compared. Name one method, --methods gradcam, or leave --scale out."
        )


def page_file(out: Path, name: str) -> Path:
    """Return the page to write: the file that --out is, or one of this name in its folder.

    It fails before any work is done.

    Raises:
        OptionError: --out is a file of another kind.
    """
    if out.suffix.lower() in (".html", ".htm") and not out.is_dir():
        make_folder(out.parent)
        return out
    if out.suffix and not out.is_dir():
        raise OptionError(
            f"--out is {str(out)!r}; a file that ends in .html was expected, or a folder."
        )
    return make_folder(out) / name


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """The pictures of a command, one for each photo."""

    out: Annotated[Path, out_option("A folder; or a file, for one photo.")] = Path("limelight-out")
    format: Annotated[
        FormatName | None,
        typer.Option("--format", "-f", help="png unless --out says otherwise; npz is the arrays."),
    ] = None
    colormap: Colormap = None
    scale: Scale = "each"
    whole: Annotated[bool | None, whole_option("what it saw")] = None

    def plan(self, *, single: bool) -> PictureFiles:
        """Return where the pictures go, as `PictureFiles.plan` does."""
        return PictureFiles.plan(self.out, self.format, single=single)


@dataclass(frozen=True, kw_only=True)
class HeatmapOptions(PictureOptions):
    """The pictures of a photo, one for each target."""

    out: Annotated[Path, out_option("A folder; or a file, for one picture.")] = Path(
        "limelight-out"
    )
    picture: Annotated[PictureKind, typer.Option("--picture", "-p", help="What to draw.")] = (
        "figure"
    )
    whole: Annotated[bool | None, whole_option("the whole photo, but not in npz")] = None


@dataclass(frozen=True)
class PictureFiles:
    """Where the pictures of a run are written.

    Attributes:
        out: The folder; or the file, if it is one.
        format: The format of the pictures: the suffix, without its dot.
        is_folder: Whether `out` is a folder.
        used: The files that already have a picture.
    """

    out: Path
    format: str
    is_folder: bool
    used: set[Path] = field(default_factory=set)

    @classmethod
    def plan(cls, out: Path, format: FormatName | None = None, *, single: bool) -> PictureFiles:
        """Read --out and --format; fail before any work is done.

        Args:
            out: A folder, or a file.
            format: The format to write; None for that of the file's suffix, or png.
            single: Whether there is only one picture.

        Raises:
            OutputError: Pictures cannot be written there, or not in this format.
        """
        suffix = out.suffix.lower().lstrip(".")
        is_file = bool(suffix) and not out.is_dir() and (single or suffix in FORMATS)
        if not is_file:
            return cls(make_folder(out), format or "png", is_folder=True)
        if suffix not in FORMATS:
            raise OutputError(
                f"Cannot write {str(out)!r}: its suffix should be one of {', '.join(FORMATS)}."
            )
        if format and format != suffix:
            raise OutputError(f"--out says {suffix!r} and --format {format!r}; leave one out.")
        if not single:
            raise OutputError(
                f"There are several pictures to write, and --out is one file, {str(out)!r}. Pass "
                "a folder."
            )
        make_folder(out.parent)
        return cls(out, suffix, is_folder=False)

    def of_map(self, photo: Path, method: str, label: str, number: int, count: int) -> Path:
        """Return the file for a picture of one of so many maps of a photo, the first being 1."""
        rank = f"{number:0{len(str(count))}}" if count > 1 else ""
        words = re.sub(r"[^\w-]+", "-", label).strip("-").lower()
        return self.next(photo.stem, re.sub(r"[^\w+.-]+", "-", method), rank, words)

    def next(self, *parts: str) -> Path:
        """Return the file for the next picture: that of --out, or one in the folder.

        In the folder it is named after the parts, with a number if this run has used the name.
        """
        if not self.is_folder:
            return self.out
        path, number = self.out / file_name(parts, self.format), 1
        while path in self.used:
            number += 1
            path = self.out / file_name([*parts, str(number)], self.format)
        self.used.add(path)
        return path
