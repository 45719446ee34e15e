"""The progress bars of a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from limelight.cli.output import Console
from limelight.plain import visible

_Item = TypeVar("_Item")


class Bar:
    """A bar for the items of a command, and one below for the runs of the network on an item."""

    def __init__(self, console: Console, doing: str, count: int) -> None:
        """Prepare the bars; for a single item, only that of its runs is shown."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._items = self._progress.add_task(visible(doing), total=count, visible=count > 1)
        self._runs = self._progress.add_task("", visible=False)

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and show how many are done."""
        # Before version 15, rich ends a bar that was never shown with an empty line.
        with self._progress if self._progress.console.is_terminal else nullcontext():
            for item in items:
                yield item
                self._progress.advance(self._items)
                self._progress.update(self._runs, visible=False)

    def show_runs(self, name: str, done: int, count: int) -> None:
        """Show a task by name, and how many of its runs are done."""
        self._progress.update(
            self._runs,
            description=visible(name),
            completed=done,
            total=count or None,
            visible=done < count or not count,
        )
