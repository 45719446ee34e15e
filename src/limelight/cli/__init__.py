"""The command line. It reads arguments and prints results; the library does the work."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from limelight.cli.log_output import log_to_stderr
from limelight.cli.output import Console, for_a_machine, for_people
from limelight.cli.typer_app import LazyCommands, load_command, run_app

__all__ = ["COMMANDS", "app", "load_command", "main"]

#: The commands, each in a file of `commands/`, with the first line of its help.
COMMANDS = {
    "explain": "Show what a network looked at in PHOTO: its predicted class, or any other.",
    "ask": "Ask a vision-language model about PHOTO, and show what it looked at for every word.",
    "compare": "Explain PHOTO in many ways, side by side: methods, targets and layers on one "
    "sheet.",
    "concepts": "Find what the features of all PHOTOs are made of, where, and what the network "
    "calls it.",
    "measure": "Measure how far the maps of PHOTOS can be trusted, method by method, beside "
    "chance.",
    "choose": "Find out which method, at which layer, makes the maps of PHOTOS to trust on a "
    "network.",
    "sanity": "Draw the network's weights anew, layer by layer, and see whether the maps of PHOTO "
    "go away.",
    "audit": "Find out where a network looks on a data set, whether it should, and what to mend.",
    "walkthrough": "Show how the heatmap of PHOTO came to be: a page with every step, and its true "
    "numbers.",
    "page": "Look at a network's maps in a browser: choose, point, compare, brush, and take away.",
    "trace": "Follow the gradient of a score back through the network: activations A, gradients "
    "dy/dA.",
    "layers": "Show the layers a network can be cut at, best first, and which is chosen and why.",
    "migrate": "Print SCRIPT, which calls grad-cam, torchcam or captum, rewritten for limelight.",
    "export": "Write a network and its explanation to FILE, which returns logits and heatmap at "
    "once.",
    "run": "Explain PHOTO with a FILE of `limelight export`: with onnxruntime, without torch.",
    "doctor": "Examine the installation, or with --model your own network, and say what to mend.",
    "skill": "Print the skill file: for coding assistants, which call answers which question.",
    "models": "List the networks that --model knows by name.",
    "methods": "List the methods: what each computes, when to use it, and when not to.",
    "metrics": "List the metrics: what each computes, when to use it, and when not to.",
}


class _Commands(LazyCommands):
    """The commands of limelight."""

    summaries = COMMANDS


app = typer.Typer(
    name="limelight",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from limelight.version import __version__

        Console().print(f"limelight {__version__}", highlight=False)
        if {"-v", "-vv", "--verbose"} & set(sys.argv[1:]):
            from limelight.examination.packages import installed_version

            Console().print(f"torch {installed_version('torch')}", highlight=False)
            Console().print(f"Python {platform.python_version()}", highlight=False)
            Console().print(platform.platform(), highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version; with --verbose also those of torch, Python and the system.",
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            help="Say on stderr what is decided: layer, method, seconds; -vv also what is "
            "recorded, measured and run.",
        ),
    ] = 0,
    _traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from, for a bug report.")
    ] = False,
) -> None:
    """See what a neural network looked at."""
    if verbose:
        context.call_on_close(log_to_stderr(verbose))


def main() -> None:
    """Run the command line: exit 2 for invalid arguments, 1 when data are at fault."""
    os.environ["MPLBACKEND"] = "agg"  # files are written, no window is opened
    warnings.filterwarnings("ignore", module="PIL")  # damaged photos are named in errors of ours
    with for_a_machine() if _wants_json(sys.argv[1:]) else for_people():
        code = run_app(app)
    sys.exit(code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a JSON document is wanted: before options are read, as they may be wrong."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = set(arguments[:end])
    return "--json" in given and not given & {"--help", "-h", "--version"}
