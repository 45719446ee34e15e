"""The option --manifest: what made the maps, so that they can be made again."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from limelight.cli.option_groups import path_option
from limelight.cli.run_record import RunRecord
from limelight.cli.words import under_option
from limelight.files import known_suffix, make_folder, write_whole
from limelight.plain import as_json

if TYPE_CHECKING:
    from limelight.photo_pipeline import PhotoResult

ManifestPath = Annotated[
    Path | None,
    path_option(
        "--manifest",
        help="Also write what made the maps to FILE.json: versions, network, layer, method, "
        "target, digests of photos. limelight.explain_again makes them again.",
    ),
]


@dataclass
class ManifestFile:
    """The manifests of the maps of a run.

    Attributes:
        path: The file.
        maps: The manifest of each map so far.
    """

    path: Path
    maps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def plan(cls, path: Path) -> ManifestFile:
        """Return the file to write; fail before any work is done.

        Raises:
            OutputError: It cannot be written there.
        """
        with under_option("--manifest"):
            known_suffix(path, ["json"])
            make_folder(path.parent)
        return cls(path)

    def add(self, result: PhotoResult) -> None:
        """Add the manifests of one photo, one for each target."""
        self.maps += [each.manifest(photos=[result.path]) for each in result.explanations]

    def write(self, run: RunRecord) -> None:
        """Write the manifests of what was done, however the run ended."""
        command = shlex.join(["limelight", *sys.argv[1:]])
        text = as_json({"command": command, "maps": self.maps}, indent=2)
        with run.file(self.path), under_option("--manifest"):
            write_whole(self.path, f"{text}\n".encode())
