"""What is shown while work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from limelight.cli.output import Console
from limelight.plain import visible

_Item = TypeVar("_Item")


class Bar:
    """A bar over the items of a run, and one below it over the runs of the network for an item."""

    def __init__(self, console: Console, doing: str, count: int) -> None:
        """Prepare; nothing is shown for a single item that takes one run."""
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
        """Go through the items, and show how many are done."""
        # Before version 15, rich ends a bar that was never shown with an empty line.
        with self._progress if self._progress.console.is_terminal else nullcontext():
            for item in items:
                yield item
                self._progress.advance(self._items)
                self._progress.update(self._runs, visible=False)

    def show_runs(self, name: str, done: int, count: int) -> None:
        """Show what is at work, and how many of its runs are done."""
        self._progress.update(
            self._runs,
            description=visible(name),
            completed=done,
            total=count or None,
            visible=done < count or not count,
        )
