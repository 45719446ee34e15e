"""Options that say where the objects of the photos are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from limelight.cli.option_groups import path_option
from limelight.errors import OptionError
from limelight.metrics import Metric
from limelight.metrics.annotation_files import Annotations, read_names
from limelight.metrics.run import needing_objects


@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """Where the objects of the photos are."""

    boxes: Annotated[
        Path | None,
        path_option(
            help="Where the objects are: a CSV file (photo, x1, y1, x2, y2 in pixels, and class if "
            "you like), or a folder with a YOLO text file per photo."
        ),
    ] = None
    masks: Annotated[
        Path | None,
        path_option(
            help="The same as masks: a folder with a picture per photo (NAME.png or NAME_mask.png, "
            "black where nothing is), or YOLO text files with polygons. Photos without one are "
            "left out."
        ),
    ] = None
    mask_value: Annotated[
        int | None,
        typer.Option(min=0, help="Where masks hold numbers of classes: the number of the object."),
    ] = None
    names: Annotated[
        Path | None,
        path_option(help="The names of the class numbers in YOLO files, one per line."),
    ] = None

    @property
    def given(self) -> bool:
        """Whether the objects are given."""
        return self.boxes is not None or self.masks is not None

    def check(self) -> None:
        """Refuse options that do not go together."""
        for wrong, message in (
            (self.boxes and self.masks, "give --boxes or --masks, not both"),
            (self.names and not self.given, "--names goes with --boxes or --masks"),
            (self.mask_value is not None and not self.masks, "--mask-value goes with --masks"),
        ):
            if wrong:
                raise typer.BadParameter(message)

    def annotations(self) -> Annotations | None:
        """Return what is marked on the photos, if anything is."""
        if not self.given:
            return None
        return Annotations(
            boxes=self.boxes,
            masks=self.masks,
            names=None if self.names is None else read_names(self.names),
            mask_value=self.mask_value,
        )


def refuse_without_objects(metrics: Sequence[Metric], *, given: bool) -> None:
    """Refuse metrics that have to know where the objects are, if nobody said.

    Raises:
        OptionError: There is such a metric.
    """
    needing = needing_objects(metrics)
    if needing and not given:
        raise OptionError(
            f"{', '.join(needing)} need{'s' if len(needing) == 1 else ''} to be told where the "
            "objects are: pass --boxes or --masks."
        )
