"""Options for what a command explains: classes, contrasts of classes, and places in the photo.

The name of a class is never split, because it may hold spaces and commas, as "tiger cat" does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.errors import OptionError
from limelight.photos.pictures import photo_size
from limelight.photos.preprocess import Preprocess

if TYPE_CHECKING:
    from limelight.targets import Target
    from limelight.targets.classes import ClassChoice

OneTarget = Annotated[
    str | None,
    typer.Option("--target", "-t", help="A class by index or name; the predicted one without."),
]


@dataclass(frozen=True, kw_only=True)
class _ContrastOptions:
    """What to ask about a class: what speaks for it, for it rather than another, or against it."""

    against: Annotated[
        str | None,
        typer.Option(
            help="Why the target rather than this class; 'similar' takes the most similar ones."
        ),
    ] = None
    counterfactual: Annotated[
        bool, typer.Option("--counterfactual", help="Explain what speaks against the target.")
    ] = False

    def about(self, classes: Sequence[ClassChoice]) -> list[Target]:
        """Return a target for each class; without classes, one for the predicted class."""
        if self.against and self.counterfactual:
            raise typer.BadParameter("give --against or --counterfactual, not both")
        from limelight.targets import Contrast, Counterfactual

        chosen = classes or [None]
        if self.against:
            other = None if self.against == "similar" else read_class(self.against)
            return [Contrast(each, other) for each in chosen]
        return [Counterfactual(each) if self.counterfactual else each for each in chosen]


@dataclass(frozen=True, kw_only=True)
class TargetOptions(_ContrastOptions):
    """Targets of every photo."""

    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="A class by index or name; repeat it to explain several."
        ),
    ] = None
    topk: Annotated[
        int | None, typer.Option("--topk", "-k", min=1, help="Explain the K highest classes.")
    ] = None

    def targets(self) -> list[Target]:
        """Return the targets; the predicted class when none is given."""
        if self.target and self.topk:
            raise typer.BadParameter("give --target or --topk, not both")
        from limelight.targets import top

        if self.topk:
            return self.about(top(self.topk))
        return self.about([read_class(text) for text in self.target or []])


@dataclass(frozen=True, kw_only=True)
class OneTargetOptions(_ContrastOptions):
    """The target of one photo."""

    target: OneTarget = None

    def only_target(self) -> Target:
        """Return the target; the predicted class when none is given."""
        (target,) = self.about([] if self.target is None else [read_class(self.target)])
        return target


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """The place in a photo that its targets are about."""

    box: Annotated[
        str | None,
        typer.Option(metavar="X1,Y1,X2,Y2", help="Of a detector: this box of the photo."),
    ] = None
    pixel: Annotated[
        str | None,
        typer.Option(metavar="ROW,COL", help="Of a segmenter: this pixel of the photo."),
    ] = None

    def place(
        self, targets: Sequence[Target], preprocess: Preprocess, photos: Sequence[Path]
    ) -> list[Target]:
        """Return targets at the box or the pixel, if one is given.

        Raises:
            OptionError: The box or the pixel cannot be read, or there are several photos.
        """
        from limelight.targets import Box, Region

        if self.box is None and self.pixel is None:
            return list(targets)
        if self.box is not None and self.pixel is not None:
            raise typer.BadParameter("give --box or --pixel, not both")
        if len(photos) > 1:
            raise OptionError(f"A box or pixel is of one photo, and there are {len(photos)}.")
        size = photo_size(photos[0])
        if self.box is not None:
            x1, y1, x2, y2 = _integers("--box", self.box, ("x1", "y1", "x2", "y2"))
            corners = [*preprocess.point(size, x1, y1), *preprocess.point(size, x2, y2)]
            return [Box(corners, each) for each in targets]  # type: ignore[arg-type]
        row, column = _integers("--pixel", self.pixel or "", ("row", "column"))
        x, y = preprocess.point(size, column, row)
        return [Region(each, (int(y), int(x))) for each in targets]  # type: ignore[arg-type]


def _integers(option: str, text: str, names: Sequence[str]) -> list[int]:
    parts = text.split(",")
    if len(parts) != len(names) or not all(re.fullmatch(r"\s*\d+\s*", part) for part in parts):
        raise OptionError(
            f"{option} is {text!r}; {','.join(names)} in pixels of the photo was expected."
        )
    return [int(part) for part in parts]


def read_class(text: str) -> int | str:
    """Return a class as it was given: its index, or its name."""
    return int(text) if re.fullmatch(r"-?\d+", text.strip()) else text
