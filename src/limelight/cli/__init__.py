"""The command line. It reads arguments and prints results; what it does is in the library."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from limelight.cli import compare, explain, inside, measure, show
from limelight.errors import LimelightError

app = typer.Typer(
    name="limelight",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain.explain)
app.command("compare")(compare.compare)
app.command("concepts")(compare.concepts)
app.command("measure")(measure.measure)
app.command("sanity")(measure.sanity)
app.command("walkthrough")(inside.walkthrough)
app.command("trace")(inside.trace)
app.command("layers")(show.layers)
app.command("models")(show.models)
app.command("methods")(show.methods)
app.command("metrics")(measure.metrics)


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
        text = str(error)
    else:
        # What a model of the user's raises, most likely.
        first = (str(error) or "no message").splitlines()[0]
        notes = " ".join(getattr(error, "__notes__", []))
        text = f"{type(error).__name__}: {first} {notes}\nSee where with: limelight --traceback ..."
    console.print(f"[bold red]Error:[/] {escape(text)}", soft_wrap=True, highlight=False)
