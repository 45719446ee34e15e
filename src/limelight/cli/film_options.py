"""Options for a film of the overlays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from limelight.cli.option_groups import path_option
from limelight.cli.output_options import PictureFiles, PictureOptions
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.words import under_option
from limelight.files import make_folder
from limelight.film import Film, check_fps
from limelight.models.network import Network
from limelight.photos.pictures import fps_of


@dataclass(frozen=True, kw_only=True)
class FilmOptions:
    """A film in place of a picture for each photo."""

    film: Annotated[
        Path | None,
        path_option(
            "--film",
            help="A film of the overlays, .mp4 or .gif, in place of a picture for each photo; its "
            "colours have one scale, and all targets of a photo are drawn on it.",
        ),
    ] = None
    fps: Annotated[
        float | None,
        typer.Option(
            help="Pictures in a second of the film; those of the video when not given, else 10."
        ),
    ] = None

    def check(self) -> None:
        """Refuse a film that cannot be written, before any work is done.

        Raises:
            OptionError: `fps` makes no sense or goes with no film, or a package is missing.
            OutputError: The format is unknown, or the file cannot be written there.
        """
        check_fps(self.fps)
        if self.film is None:
            if self.fps is not None:
                raise typer.BadParameter("--fps goes with --film")
            return
        from limelight.render import film_format

        with under_option("--film"):
            film_format(self.film)
            make_folder(self.film.parent)

    def plan(self, pictures: PictureOptions, *, single: bool) -> PictureFiles:
        """Return where pictures go; with a film there are none, and no folder is made."""
        if self.film is not None:
            return PictureFiles(pictures.out, "png", is_folder=True)
        return pictures.plan(single=single)

    def begin(self, network: Network, colormap: str | None, *, whole: bool) -> FilmFile | None:
        """Return the film to write; None if none is asked for."""
        if self.film is None:
            return None
        return FilmFile(self.film, self.fps, Film(network, whole=whole, colormap=colormap))


@dataclass(frozen=True)
class FilmFile:
    """A film that is written at the end of a run.

    Attributes:
        path: The file.
        fps: Pictures in a second; None for those of the video.
        film: The pictures.
    """

    path: Path
    fps: float | None
    film: Film

    def write(self, run: RunRecord, paths: Sequence[Path], every: int) -> None:
        """Write the film of what was done.

        Args:
            run: Where it is noted if the film cannot be written.
            paths: The files that the pictures come from.
            every: How many pictures of a video one stands for.
        """
        if not len(self.film):
            return
        of_video = fps_of(paths[0]) if len(paths) == 1 else None
        fps = self.fps or (None if of_video is None else of_video / every)
        bar = Bar(run.console, "drawing the film", 1)
        with run.work(), run.photo(self.path), run.file(self.path), under_option("--film"):
            for _ in bar.over([None]):
                self.film.save(self.path, fps=fps, progress=bar.show_runs)
