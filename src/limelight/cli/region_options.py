"""Options that write the hot regions of photos as files for labelling tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from limelight.cli.option_groups import path_option
from limelight.cli.run_record import RunRecord
from limelight.cli.words import under_option
from limelight.explanation import Explanation
from limelight.regions import (
    ImageRegions,
    RegionExport,
    RegionFormat,
    ThresholdRule,
    check_threshold,
    names_in_files,
)


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """The hot regions of the photos, as files."""

    regions: Annotated[
        Path | None,
        path_option(
            "--regions",
            help="Also write where each map is hot, in pixels of the photo: a folder, or for coco "
            "a .json file.",
        ),
    ] = None
    regions_format: Annotated[
        RegionFormat | None,
        typer.Option(
            help="One COCO file with polygons and boxes; a YOLO text file per photo with boxes or "
            "polygons; a PNG mask per photo with 255 or with the number of each region; or the "
            "photos with the regions drawn on them. Without it, coco."
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            help="With --how share, the share of the maximum from which a pixel is hot, 0.2 "
            "without it; with quantile, such as 0.9, the hottest tenth of the pixels is."
        ),
    ] = None
    how: Annotated[
        ThresholdRule | None,
        typer.Option(help="How the threshold is read: share without it; otsu takes none."),
    ] = None
    min_area: Annotated[int | None, typer.Option(min=1, help="The fewest pixels of a region.")] = (
        None
    )
    largest: Annotated[
        bool, typer.Option("--largest", help="Only the largest region of each map.")
    ] = False

    def plan(self, photos: Sequence[Path]) -> RegionFiles | None:
        """Return where the regions go, if they are asked for; fail before any work is done.

        Raises:
            OptionError: The threshold does not go with the rule.
            OutputError: The files cannot be written there.
        """
        if self.regions is None:
            chosen = (self.regions_format, self.threshold, self.how, self.min_area)
            if self.largest or any(option is not None for option in chosen):
                raise typer.BadParameter(
                    "--regions-format, --threshold, --how, --min-area and --largest go with "
                    "--regions"
                )
            return None
        check_threshold(self.threshold, self.how or "share")
        names = names_in_files(photos)
        form = self.regions_format or "coco"
        with under_option("--regions"):
            export = RegionExport.plan(self.regions, form, names, photos=photos)
        return RegionFiles(self, export, dict(zip(photos, names, strict=True)))

    def of(self, explanation: Explanation) -> ImageRegions:
        """Return the regions of the explanation of one photo."""
        (regions,) = explanation.regions(
            self.threshold,
            self.how or "share",
            min_area=self.min_area or 1,
            largest=self.largest,
        )
        return regions


@dataclass(frozen=True)
class RegionFiles:
    """The files of regions of a run.

    Attributes:
        options: How regions are found.
        export: What is written.
        names: The names of the photos in the files.
    """

    options: RegionOptions
    export: RegionExport
    names: dict[Path, str]

    def add(self, path: Path, explanations: Sequence[Explanation]) -> None:
        """Add the regions of one photo, for each of its targets.

        Raises:
            OutputError: A mask cannot be written.
        """
        regions = [self.options.of(explanation) for explanation in explanations]
        with under_option("--regions"):
            self.export.add(self.names[path], regions)

    def write(self, run: RunRecord) -> None:
        """Write the files over all photos, however the run ended."""
        with run.file(self.export.out), under_option("--regions"):
            self.export.write()
