"""A progress bar on a terminal, for methods that run the network many times."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from limelight.extras import is_installed

if TYPE_CHECKING:
    from rich.progress import Progress


class RunsBar:
    """A bar on stderr that shows how many runs of a call are done; nothing if that is no terminal.

    It appears with the first run, and goes at the end of a `with` block. Without the package rich,
    which draws it, there is none.
    """

    def __init__(self, doing: str) -> None:
        """Prepare the bar of a task, by its name."""
        self._progress = _progress() if is_installed("rich") else None
        if self._progress is not None:
            self._runs = self._progress.add_task(doing, total=None)

    def show(self, _doing: str, done: int, total: int) -> None:
        """Show how many of the runs are done."""
        if total and self._progress is not None and self._progress.console.is_terminal:
            self._progress.start()
            self._progress.update(self._runs, completed=done, total=total)

    def __enter__(self) -> RunsBar:
        """Return the bar."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the bar, also when the runs were interrupted."""
        if self._progress is not None and self._progress.live.is_started:
            self._progress.stop()


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
