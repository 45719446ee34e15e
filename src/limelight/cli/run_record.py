"""What became of the photos of a command: it is reported however the run ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import typer

from limelight.cli.output import INTERRUPTED, Console, document, interrupted, stand_beside
from limelight.cli.words import worded
from limelight.errors import LimelightError, OutputError, PhotoError
from limelight.files import refuses_all


@dataclass
class RunRecord:
    """What was done with the photos of a command, and what broke the work off, if anything did.

    Attributes:
        paths: The photos that were asked for.
        as_json: Whether a machine reads the result: then words go to stderr.
        done: What is reported of each photo that was done; its `photo` is the path.
        failed: The photos that could not be done, each with its error.
        unwritten: The photos or files that could not be written, each with its error.
        code: The exit code that photos and files led to.
        full: Whether no further file can be written.
        stopped: Whether the user broke the work off.
        error: What was raised, most likely by the user's model.
    """

    paths: Sequence[Path]
    as_json: bool = False
    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    unwritten: list[dict[str, str]] = field(default_factory=list)
    code: int = 0
    full: bool = False
    stopped: bool = False
    error: BaseException | None = None

    def __post_init__(self) -> None:
        """Open the console for what people read."""
        self.console = Console(stderr=self.as_json)

    @property
    def ended_early(self) -> bool:
        """Whether the work was broken off."""
        return self.stopped or self.error is not None

    @property
    def untried(self) -> list[str]:
        """The photos that were not come to: a full disk, an interrupt or an error came before."""
        known = {each.get("photo") for each in [*self.done, *self.failed, *self.unwritten]}
        return [str(path) for path in self.paths if str(path) not in known]

    @property
    def shortfall(self) -> dict[str, Any]:
        """What a document says of photos and files that were not done."""
        return {"failed": self.failed, "unwritten": self.unwritten, "untried": self.untried}

    @contextmanager
    def work(self) -> Iterator[None]:
        """Note what breaks off the work in here; the command goes on to report what was done."""
        try:
            yield
        except KeyboardInterrupt:
            self.stopped = True
        except (Exception, SystemExit) as error:
            self.error = error

    @contextmanager
    def photo(self, path: Path) -> Iterator[None]:
        """Note why a photo cannot be read or its result not written; the others are still done."""
        try:
            yield
        except PhotoError as error:
            self.fail(path, error)
        except OutputError as error:
            self.unwritten.append({"photo": str(path), "error": worded(error)})
            self.code, self.full = max(self.code, error.exit_code), refuses_all(error)

    @contextmanager
    def file(self, path: Path) -> Iterator[None]:
        """Note why a file beside the photos cannot be written."""
        try:
            yield
        except OutputError as error:
            self.unwritten.append({"file": str(path), "error": worded(error)})
            self.code = max(self.code, error.exit_code)

    def fail(self, path: Path, error: LimelightError) -> None:
        """Note why a photo was left out; only that of a single photo decides the exit code."""
        self.failed.append({"photo": str(path), "error": worded(error)})
        self.code = max(self.code, error.exit_code if len(self.paths) == 1 else 1)

    def raise_if_nothing_is_done(self) -> None:
        """Raise the error at once if there is nothing to report beside it."""
        if self.error is not None and not (self.done or self.failed or self.unwritten):
            raise self.error

    def print_document(self, report: dict[str, Any], interruption: str) -> None:
        """Print the document of the run; that of a run with an error is printed with the error.

        Args:
            report: What was done.
            interruption: What the document says when the user broke off.
        """
        if self.stopped:
            document(report | interrupted(interruption))
        elif self.error is not None:
            stand_beside(report)
        else:
            document(report)

    def leave(self) -> NoReturn:
        """End the command: as interrupted, with the error, or else with the exit code."""
        if self.stopped:
            raise typer.Exit(INTERRUPTED)
        raise self.error or typer.Exit(self.code)
