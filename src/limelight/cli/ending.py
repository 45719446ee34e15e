"""How the work of a command ended, so that what was done by then is told in any case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import typer

from limelight.cli.output import INTERRUPTED, document, interrupted, stand_beside


@dataclass
class Ending:
    """What broke the work off, if anything did.

    Attributes:
        stopped: The user did.
        error: What was raised, most likely by the user's model.
    """

    stopped: bool = False
    error: BaseException | None = None

    @property
    def early(self) -> bool:
        """Whether the work was broken off."""
        return self.stopped or self.error is not None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what breaks off the work in here, and go on to tell what was done."""
        try:
            yield
        except KeyboardInterrupt:
            self.stopped = True
        except (Exception, SystemExit) as error:
            self.error = error

    def check(self, *done: object) -> None:
        """Raise the error at once if nothing was done that could be told beside it."""
        if self.error is not None and not any(done):
            raise self.error

    def document(self, report: dict[str, Any], said: str) -> None:
        """Print the document of the run; an error stands in it as soon as that is told.

        Args:
            report: What was done.
            said: What the document says when the user broke off.
        """
        if self.stopped:
            document(report | interrupted(said))
        elif self.error is not None:
            stand_beside(report)
        else:
            document(report)

    def leave(self, code: int) -> NoReturn:
        """End the command: as interrupted, with the error, or else with this exit code."""
        if self.stopped:
            raise typer.Exit(INTERRUPTED)
        raise self.error or typer.Exit(code)
