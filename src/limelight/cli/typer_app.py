"""The application around the commands: it loads the one that is run, and prints its errors."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, ClassVar

import typer.main
from rich.markup import escape

from limelight.cli.guessed_options import option_instead
from limelight.cli.output import (
    INTERRUPTED,
    Console,
    end_with,
    failed,
    interrupted,
    writing_to,
)
from limelight.cli.words import paragraphs, worded
from limelight.collector import collector_paused
from limelight.errors import LimelightError, OptionError, OutputError, describe_error, exited


class _PrintedHelp:
    """Help that raises the same error as other text when it cannot be printed."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with writing_to("stdout", "help"):
            super().format_help(ctx, formatter)  # type: ignore[misc]


class _Command(_PrintedHelp, typer.core.TyperCommand):
    """One command."""


class LazyCommands(_PrintedHelp, typer.core.TyperGroup):
    """Commands that are loaded when they are run, as --help should not wait for torch.

    Attributes:
        summaries: The commands, each with the first line of its help.
    """

    summaries: ClassVar[Mapping[str, str]]

    def __init__(self, **attributes: Any) -> None:
        """Add each command with its summary, which --help shows."""
        super().__init__(**attributes)
        for name, summary in self.summaries.items():
            self.add_command(typer.core.TyperCommand(name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is run, and return it."""
        name, command, rest = super().resolve_command(ctx, args)
        with _modules_stay():
            return name, command and load_command(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; end it in order if the user interrupts it, or the user's code exits."""
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            raise exited(error, "The model's own code") from error
        except KeyboardInterrupt:
            Console(stderr=True).print("[yellow]Interrupted.[/]")
            end_with(interrupted("Interrupted."))
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _modules_stay() -> Iterator[None]:
    """Import modules without searching them for garbage, then or later.

    They stay until the process ends. The searches, the last of them at its end, would take half a
    second.
    """
    with collector_paused():
        try:
            yield
        finally:
            gc.freeze()


def load_command(name: str) -> Any:
    """Load a command: the function of this name in the module of this name."""
    from limelight.cli.option_groups import expand_groups

    try:
        function = getattr(import_module(f"limelight.cli.commands.{name}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise OptionError(
            f"limelight {name} needs PyTorch, which is not installed. Install torch; or explain "
            "with a file of `limelight export`, which needs none: limelight run FILE PHOTO."
        ) from error
    application = typer.Typer(add_completion=False, rich_markup_mode="rich")
    application.command(name, cls=_Command, help=paragraphs(function.__doc__))(
        expand_groups(function)
    )
    return typer.main.get_command(application)


def run_app(app: typer.Typer) -> int:
    """Run the command that the arguments name, print its error if any, and return the exit code."""
    try:
        return int(app(prog_name="limelight", standalone_mode=False) or 0)
    except BrokenPipeError:  # whoever read had enough
        return 1
    except Exception as error:
        return _print_error(error)


def _print_error(error: Exception) -> int:
    """Print an error to stderr, and in the document if one is wanted; return its exit code."""
    kind, message, hint, code = type(error).__name__, "", "", 1
    if isinstance(error, LimelightError):
        message, code = worded(error), error.exit_code
    elif hasattr(error, "format_message"):  # of click, whichever copy of it typer uses
        kind, message, code = "UsageError", _usage_message(error), 2
    else:  # what a model of the user's raises, most likely
        message = _with_notes(describe_error(error), getattr(error, "__notes__", []))
        hint = "\nSee where with: limelight --traceback ..."
    console = Console(stderr=True)
    with suppress(OutputError):  # no room on stderr either: the exit code says it
        if "--traceback" in sys.argv:
            trace = "".join(traceback.format_exception(error))
            console.print(trace, markup=False, soft_wrap=True, highlight=False)
        if message:  # none where the help was printed instead
            text = escape(message + hint)
            console.print(f"[bold red]Error:[/] {text}", soft_wrap=True, highlight=False)
    end_with(failed(kind, message, code))
    return code


def _with_notes(message: str, notes: Sequence[str]) -> str:
    """Return what an error says with its notes as sentences of their own."""
    if not notes:
        return message
    end = "" if message.endswith((".", "!", "?", ":")) else "."
    return " ".join([message + end, *notes])


def _usage_message(error: Any) -> str:
    """Return what is wrong with the arguments, and how to get help."""
    message = str(error.format_message()).rstrip(" .")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "limelight"
    given = getattr(error, "option_name", None)
    if context and given:
        known = [option for each in context.command.params for option in each.opts]
        if instead := option_instead(given, known):
            message = f"No such option: {given}. {instead}".rstrip(".")
    end = "" if message.endswith("?") else "."
    return message and f"{message}{end} See '{path} --help'."
