"""The progress bars of a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from limelight.cli.output import Console
from limelight.plain import visible

_Item = TypeVar("_Item")


class _Rate(ProgressColumn):
    """How many items of a task are done in a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, as in `12/s`; nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.{0 if speed >= 10 else 1}f}/s")


class TaskBar:
    """A bar for tasks that come one after the other, with rate and time left."""

    def __init__(self, console: Console) -> None:
        """Prepare the bar; it is shown on a terminal while the block runs."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task, self._name = self._progress.add_task("", visible=False), ""

    def __enter__(self) -> TaskBar:
        """Show the bar."""
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._progress.stop()

    def show(self, name: str, done: int, total: int) -> None:
        """Show a task by name, and how many of its items are done."""
        if name != self._name:
            self._progress.reset(self._task)
            self._name = name
        self._progress.update(
            self._task,
            description=visible(name),
            completed=done,
            total=total or None,
            visible=True,
        )


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
