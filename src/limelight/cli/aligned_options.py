"""Options for a heatmap that lies where its photo lies: in the body, or on the earth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from limelight.aligned import AlignedMap, check_aligned
from limelight.cli.option_groups import path_option
from limelight.cli.run_record import RunRecord
from limelight.cli.words import under_option
from limelight.errors import OptionError
from limelight.files import make_folder
from limelight.models.network import Network


@dataclass(frozen=True, kw_only=True)
class AlignedOptions:
    """The heat over a whole photo or volume, in a file that keeps its place."""

    aligned: Annotated[
        Path | None,
        path_option(
            "--aligned",
            help="Also write the heat of one photo or volume as .tif (GeoTIFF) or .nii.gz, with "
            "the size and the place of the file: pixel for pixel, or voxel for voxel.",
        ),
    ] = None

    def check(self, paths: Sequence[Path]) -> None:
        """Refuse a file that cannot be written, before any work is done.

        Raises:
            OptionError: There are several photos.
            OutputError: The format does not go with the photo, or the file cannot be written there.
        """
        if self.aligned is None:
            return
        if len(paths) != 1:
            raise OptionError(
                f"--aligned is the heat of one photo or volume, and there are {len(paths)} files. "
                "Name one."
            )
        with under_option("--aligned"):
            check_aligned(self.aligned, paths[0])
            make_folder(self.aligned.parent)

    def begin(self, network: Network, paths: Sequence[Path]) -> AlignedFile | None:
        """Return the file to write; None if none is asked for."""
        if self.aligned is None:
            return None
        return AlignedFile(self.aligned, AlignedMap(network, paths[0]))


@dataclass(frozen=True)
class AlignedFile:
    """An aligned heatmap that is written at the end of a run."""

    path: Path
    maps: AlignedMap

    def write(self, run: RunRecord) -> None:
        """Write the heat of what was done; nothing if nothing was."""
        if len(self.maps):
            with run.file(self.path), under_option("--aligned"):
                self.maps.save(self.path)
