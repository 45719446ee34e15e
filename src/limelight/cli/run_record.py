"""What a command did with its photos, to be reported however the run ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import typer

from limelight.cli.output import INTERRUPTED, Console, document, interrupted, keep_for_error
from limelight.cli.words import worded
from limelight.errors import LimelightError, OutputError, PhotoError
from limelight.files import refuses_all


@dataclass
class RunRecord:
    """What a command did with its photos, and what ended the work early, if anything did.

    Attributes:
        paths: The photos that were asked for.
        as_json: Whether the result is printed as JSON; then all other words go to stderr.
        done: The report of each photo that was done; its `photo` is the path.
        failed: The photos that could not be done, each with its error.
        unwritten: The photos or files that could not be written, each with its error.
        code: The exit code, as far as photos and files decide it.
        full: Whether no further file can be written, as on a full disk.
        stopped: Whether the user interrupted the work.
        error: The exception that ended the work, most likely from the user's model.
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
        """Whether an interrupt or an error ended the work."""
        return self.stopped or self.error is not None

    @property
    def untried(self) -> list[str]:
        """The photos that the command did not reach because a full disk or an error came before."""
        known = {each.get("photo") for each in [*self.done, *self.failed, *self.unwritten]}
        return [str(path) for path in self.paths if str(path) not in known]

    @property
    def shortfall(self) -> dict[str, Any]:
        """The part of a JSON document that lists the photos and files that were not done."""
        return {"failed": self.failed, "unwritten": self.unwritten, "untried": self.untried}

    @contextmanager
    def work(self) -> Iterator[None]:
        """Note what ends the work inside early; the command then still reports what was done."""
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
        """Note why a photo was left out.

        If it is the only photo, its error decides the exit code; else the code is 1.
        """
        self.failed.append({"photo": str(path), "error": worded(error)})
        self.code = max(self.code, error.exit_code if len(self.paths) == 1 else 1)

    def raise_if_nothing_is_done(self) -> None:
        """Raise the error, if there is one and nothing else to report."""
        if self.error is not None and not (self.done or self.failed or self.unwritten):
            raise self.error

    def print_document(self, report: dict[str, Any], interruption: str) -> None:
        """Print the JSON document of the run; after an error, keep it to be printed with the error.

        Args:
            report: What was done.
            interruption: What the document says if the user interrupted the work.
        """
        if self.stopped:
            document(report | interrupted(interruption))
        elif self.error is not None:
            keep_for_error(report)
        else:
            document(report)

    def leave(self) -> NoReturn:
        """End the command: as interrupted if it was, else with the error, or the exit code."""
        if self.stopped:
            raise typer.Exit(INTERRUPTED)
        raise self.error or typer.Exit(self.code)
