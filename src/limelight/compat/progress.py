"""A progress bar on a terminal, for methods that run the network many times."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunsBar:
    """A bar on stderr that shows how many runs of a call are done; nothing if that is no terminal.

    It appears with the first run, and goes at the end of a `with` block.
    """

    def __init__(self, doing: str) -> None:
        """Prepare the bar of a task, by its name."""
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(
            TextColumn(doing, markup=False),
            *columns,
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._runs = self._progress.add_task("", total=None)

    def show(self, _doing: str, done: int, total: int) -> None:
        """Show how many of the runs are done."""
        if total and self._progress.console.is_terminal:
            self._progress.start()
            self._progress.update(self._runs, completed=done, total=total)

    def __enter__(self) -> RunsBar:
        """Return the bar."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the bar, also when the runs were interrupted."""
        if self._progress.live.is_started:
            self._progress.stop()
