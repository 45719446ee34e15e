"""The command line. It reads arguments and prints results; what it does is in the library."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core
import typer.main
from rich.console import Console
from rich.markup import escape

from limelight.cli.words import paragraphs, worded
from limelight.errors import LimelightError

#: The commands: the file that each is in, and the first line of its help.
COMMANDS = {
    "explain": (
        "explain",
        "Show what a network looked at in PHOTO: its predicted class, or any other.",
    ),
    "compare": (
        "compare",
        "Explain PHOTO in many ways, side by side: methods, targets and layers on one sheet.",
    ),
    "concepts": (
        "compare",
        "Find what the features of all PHOTOs are made of, where, and what the network calls it.",
    ),
    "measure": (
        "measure",
        "Measure how far the maps of PHOTOS can be trusted, method by method, beside chance.",
    ),
    "sanity": (
        "measure",
        "Draw the network's weights anew, layer by layer, and see whether the maps of PHOTO go "
        "away.",
    ),
    "walkthrough": (
        "inside",
        "Show how the heatmap of PHOTO came to be: a page with every step, and its true numbers.",
    ),
    "trace": (
        "inside",
        "Follow the gradient of a score back through the network: activations A, gradients dy/dA.",
    ),
    "layers": (
        "show",
        "Show the layers a network can be cut at, best first, and which is chosen and why.",
    ),
    "models": ("show", "List the networks that --model knows by name."),
    "methods": (
        "show",
        "List the methods: what each computes, what it needs, and when to use it.",
    ),
    "metrics": (
        "measure",
        "List the metrics: what each computes, which way is better, and when to use it.",
    ),
}


class _Commands(typer.core.TyperGroup):
    """Loads a command when it is run: torch takes seconds, which neither --help nor a tab needs."""

    def __init__(self, **attributes: Any) -> None:
        """Know of each command what the help tells."""
        super().__init__(**attributes)
        for name, (_, told) in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=told))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is run, loaded."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load(str(name)), rest


def load(name: str) -> Any:
    """Return a command, whole."""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    function = getattr(import_module(f"{__name__}.{COMMANDS[name][0]}"), name)
    alone.command(name, help=paragraphs(function.__doc__))(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="limelight",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"limelight {version('limelight')}")
        raise typer.Exit


@app.callback()
def _options(
    _show_version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    _traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from, for a bug report.")
    ] = False,
) -> None:
    """See what a neural network looked at."""


def main() -> None:
    """Run the command line: exit 2 when the request has to change, 1 when data are at fault."""
    try:
        app()
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        _complain(error)
        sys.exit(error.exit_code if isinstance(error, LimelightError) else 1)


def _complain(error: Exception) -> None:
    console = Console(stderr=True)
    if isinstance(error, LimelightError):
        text = worded(error)
    else:
        # What a model of the user's raises, most likely.
        first = (str(error) or "no message").splitlines()[0]
        notes = " ".join(getattr(error, "__notes__", []))
        text = f"{type(error).__name__}: {first} {notes}\nSee where with: limelight --traceback ..."
    console.print(f"[bold red]Error:[/] {escape(text)}", soft_wrap=True, highlight=False)
