"""What is shown while work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from limelight.cli.output import Console
from limelight.cli.words import worded
from limelight.errors import OutputError, PhotoError
from limelight.models.network import Network
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

    def named(self, name: str, done: int, count: int) -> None:
        """Show what is at work, and how many of its runs are done."""
        self._progress.update(
            self._runs,
            description=visible(name),
            completed=done,
            total=count or None,
            visible=done < count or not count,
        )


def called(network: Network) -> str:
    """Return the name of a network and where its weights come from, to print."""
    return escape(f"{network.name} ({network.weights})")


def tell_weights(console: Console, weights: str) -> None:
    """Warn of random weights, which may look like any others."""
    if weights == "random":
        console.print("[yellow]The weights are random: neither classes nor maps mean a thing.[/]")


def status(one: dict[str, Any]) -> str:
    """Return a status in colour, with its message."""
    if one["status"] == "ok":
        return "[green]ok[/]"
    return f"[yellow]{one['status']}[/] {escape(one['message'])}"


def complain(failed: Sequence[dict[str, str]]) -> None:
    """Print what went wrong with some of the photos or files."""
    errors = Console(stderr=True)
    for one in failed:
        text = escape(one["error"])
        errors.print(f"[bold red]Error:[/] {text}", soft_wrap=True, highlight=False)


def untried(paths: Sequence[Path], told: Sequence[dict[str, Any]]) -> list[str]:
    """Return the photos of which nothing is told, as a full disk or an interrupt came before."""
    known = {one["photo"] for one in told}
    return [str(path) for path in paths if str(path) not in known]


def counted(photos: Sequence[object]) -> str:
    """Return how many photos there are, in words."""
    return f"{len(photos)} photo{'' if len(photos) == 1 else 's'}"


def tell_untried(left: Sequence[str]) -> None:
    """Print how many photos were not tried, if any."""
    if left:
        Console(stderr=True).print(f"{counted(left)} not tried.")


def note(
    failed: list[dict[str, str]], path: Path, error: PhotoError | OutputError, *, alone: bool
) -> int:
    """Note why a photo was left out, to be told at the end; return the exit code."""
    failed.append({"photo": str(path), "error": worded(error)})
    return error.exit_code if alone or isinstance(error, OutputError) else 1
