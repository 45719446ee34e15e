"""Sentences and cells that several commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from limelight.cli.output import Console
from limelight.cli.words import in_options

if TYPE_CHECKING:
    from limelight.models.network import Network
    from limelight.models.vision_language import VisionLanguageModel


def network_title(network: Network | VisionLanguageModel) -> str:
    """Return the name of a network and where its weights come from, to print."""
    return escape(f"{network.name} ({network.weights})")


def warn_of_random_weights(console: Console, weights: str, answers: str = "classes") -> None:
    """Print a warning if the weights are random: the maps do not show it."""
    if weights == "random":
        console.print(
            f"[yellow]The weights are random: neither {answers} nor maps mean a thing.[/]"
        )


def status_text(explanation: Mapping[str, Any]) -> str:
    """Return the status of an explanation in colour, with its message."""
    if explanation["status"] == "ok":
        return "[green]ok[/]"
    return f"[yellow]{explanation['status']}[/] {escape(in_options(explanation['message']))}"


def layer_text(explanation: Mapping[str, Any]) -> str:
    """Return the layer of an explanation, and why it was taken."""
    why = ", as named" if explanation["reason"] == "named" else f": {explanation['reason']}"
    return escape(f"{explanation['layer']}{why}")


def method_text(method: str, named: str | None) -> str:
    """Return the method of an explanation, and why it was taken if none was named."""
    if named is not None:
        return escape(method)
    from limelight.application import DEFAULT_AT_ONE_PLACE  # with it comes torch

    at_one_place = method.startswith(DEFAULT_AT_ONE_PLACE.name)
    why = "the default for a score that is read at one place" if at_one_place else "the default"
    return f"{escape(method)}, {why}"


def count_photos(photos: Sequence[object]) -> str:
    """Return how many photos there are, in words."""
    return f"{len(photos)} photo{'' if len(photos) == 1 else 's'}"


def print_errors(errors: Sequence[Mapping[str, str]]) -> None:
    """Print what went wrong with some of the photos or files."""
    console = Console(stderr=True)
    for each in errors:
        text = escape(each["error"])
        console.print(f"[bold red]Error:[/] {text}", soft_wrap=True, highlight=False)


#: How many reasons for leaving out photos are printed.
_REASONS_SHOWN = 5


def print_left_out(failed: Sequence[Mapping[str, str]], total: int) -> None:
    """Print why photos could not be measured, and how many of all photos they are."""
    console = Console(stderr=True)
    for each in failed[:_REASONS_SHOWN]:
        text = escape(each["error"])
        console.print(f"[yellow]left out[/] {text}", soft_wrap=True, highlight=False)
    if len(failed) > _REASONS_SHOWN:
        console.print(f"... and {len(failed) - _REASONS_SHOWN} more; --json lists them")
    if failed and total > 1:
        console.print(f"{len(failed)} of {total} photos were not measured.")


def print_untried(photos: Sequence[str]) -> None:
    """Print how many photos were not tried, if any."""
    if photos:
        Console(stderr=True).print(f"{count_photos(photos)} not tried.")
