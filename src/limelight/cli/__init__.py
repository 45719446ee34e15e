"""The command line. It reads arguments and prints results; what it does is in the library."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer.main
from rich.markup import escape

from limelight.cli import output
from limelight.cli.words import paragraphs, worded
from limelight.errors import LimelightError, OutputError, describe_error, exited

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


class _Helpful:
    """Tells of a help that cannot be printed as of any other text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with output.written("help", "stdout"):
            super().format_help(ctx, formatter)  # type: ignore[misc]


class _Command(_Helpful, typer.core.TyperCommand):
    """One command."""


class _Commands(_Helpful, typer.core.TyperGroup):
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

    def invoke(self, ctx: Any) -> Any:
        """Run a command; also one that is broken off, or that the user's code wants to end."""
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            raise exited(error, "The model's own code") from error
        except KeyboardInterrupt:
            output.Console(stderr=True).print("[yellow]Interrupted.[/]")
            output.end_with(output.interrupted("Interrupted."))
            raise typer.Exit(output.INTERRUPTED) from None


def load(name: str) -> Any:
    """Return a command, whole."""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    function = getattr(import_module(f"{__name__}.{COMMANDS[name][0]}"), name)
    alone.command(name, cls=_Command, help=paragraphs(function.__doc__))(function)
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
        from limelight.version import __version__

        output.Console().print(f"limelight {__version__}", highlight=False)
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
    os.environ["MPLBACKEND"] = "agg"  # files are written, no window is opened
    warnings.filterwarnings("ignore", module="PIL")  # damaged photos are told of with their names
    with output.for_a_machine() if _for_a_machine(sys.argv[1:]) else output.for_people():
        code = _run()
    sys.exit(code)


def _for_a_machine(arguments: Sequence[str]) -> bool:
    """Whether a JSON document is wanted, told before options are read, as they may be wrong."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    asked = set(arguments[:end])
    return "--json" in asked and not asked & {"--help", "-h", "--version"}


def _run() -> int:
    """Run what the arguments say, and tell how it ended; return the exit code."""
    try:
        return int(app(prog_name="limelight", standalone_mode=False) or 0)
    except BrokenPipeError:  # whoever read had enough
        return 1
    except Exception as error:
        return _complain(error)


def _complain(error: Exception) -> int:
    """Tell of an error on stderr, and in the document where one is wanted; return its exit code."""
    kind, message, hint, code = type(error).__name__, "", "", 1
    if isinstance(error, LimelightError):
        message, code = worded(error), error.exit_code
    elif hasattr(error, "format_message"):  # of click, whichever copy of it typer uses
        kind, message, code = "UsageError", _usage(error), 2
    else:  # what a model of the user's raises, most likely
        message = " ".join([describe_error(error), *getattr(error, "__notes__", [])])
        hint = "\nSee where with: limelight --traceback ..."
    console = output.Console(stderr=True)
    with suppress(OutputError):  # no room on stderr either: the exit code says it
        if "--traceback" in sys.argv:
            trace = "".join(traceback.format_exception(error))
            console.print(trace, markup=False, soft_wrap=True, highlight=False)
        if message:  # none where the help was told instead
            text = escape(message + hint)
            console.print(f"[bold red]Error:[/] {text}", soft_wrap=True, highlight=False)
    output.end_with(output.failed(kind, message, code))
    return code


def _usage(error: Any) -> str:
    """Return what is wrong with the arguments, and where help is."""
    message = str(error.format_message()).rstrip(" .")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "limelight"
    end = "" if message.endswith("?") else "."
    return message and f"{message}{end} See '{path} --help'."
