"""How a command prints: text for people, or one JSON document for a machine.

With `--json`, stdout is exactly one JSON document, however the run ends (`--help` and `--version`
apart). Whatever else is printed meanwhile, by the user's model or by a library, goes to stderr.
The document of a run that ended early has `error`, with its `type`, `message` and `exit_code`,
and lists the photos that were done before.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import TextIOWrapper
from math import isfinite
from typing import Any, TextIO

import rich.console
from rich.text import Text

from limelight.errors import OutputError
from limelight.plain import as_json, visible


class Console(rich.console.Console):
    """The console of all commands: names and messages reach the terminal as text alone."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Prepare a console that prints `:tiger:` in a name as it is, not as an emoji."""
        super().__init__(stderr=stderr, emoji=False)
        if self.width < 1:  # some programs that call commands report a terminal without width
            self.width = 80

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text for a string, with control characters made visible, also in tables."""
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print.

        Raises:
            OutputError: The stream cannot be written to, as on a full disk.
        """
        with writing_to("stderr" if self.stderr else "stdout", "report"):
            super().print(*objects, **options)

    def bar(self, share: float) -> str:
        """Return a bar for a share from 0 to 1; for 1 it is thirty letters wide."""
        sign = "#" if self.options.ascii_only else "█"
        return sign * round(share * 30) if isfinite(share) else ""


#: The exit code of a command that Ctrl-C ended, as shells report it.
INTERRUPTED = 130


@dataclass
class _Machine:
    """The state of a run that prints a JSON document.

    Attributes:
        stream: Where the document goes; None when stdout is closed.
        has_document: Whether the document was printed.
        partial: The report of what was done before the error that ends the run.
    """

    stream: TextIO | None
    has_document: bool = False
    partial: dict[str, Any] = field(default_factory=dict)


_MACHINE: ContextVar[_Machine | None] = ContextVar("machine", default=None)


def document(report: Any) -> None:
    """Print the one JSON document of a run.

    Raises:
        OutputError: stdout cannot be written to, as on a full disk.
    """
    text = as_json(report, indent=2)
    machine = _MACHINE.get()
    stream = sys.stdout
    if machine is not None:
        stream, machine.has_document = machine.stream, True
    if stream is None:  # stdout is closed
        return
    with writing_to("stdout", "result"):
        stream.write(f"{text}\n")
        stream.flush()


@contextmanager
def writing_to(stream: str, what: str) -> Iterator[None]:
    """Raise errors in writing to a stream with the names of the stream and of what is written.

    Raises:
        OutputError: The stream cannot be written to, as on a full disk.
        BrokenPipeError: Nobody reads the stream any more.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except SystemExit as error:  # rich ends the process when nobody reads
        raise BrokenPipeError from error
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"The {what} cannot be written to {stream}: {why}.") from error


def keep_for_error(report: dict[str, Any]) -> None:
    """Keep the report of what was done, to be printed in the document of a coming error."""
    machine = _MACHINE.get()
    if machine is not None:
        machine.partial = report


def end_with(report: dict[str, Any]) -> None:
    """Print a document with the kept report, if one is wanted and none was printed."""
    machine = _MACHINE.get()
    if machine is not None and not machine.has_document:
        document(machine.partial | report)


def failed(kind: str, message: str, code: int) -> dict[str, Any]:
    """Return the part of a document that names the error that ended the run."""
    return {"error": {"type": kind, "message": message, "exit_code": code}}


def interrupted(message: str) -> dict[str, Any]:
    """Return the part of a document that says that the user interrupted the run."""
    return failed("Interrupted", message, INTERRUPTED)


@contextmanager
def for_people() -> Iterator[None]:
    """Print characters that stdout or stderr cannot encode as escapes, rather than raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    yield


@contextmanager
def for_a_machine() -> Iterator[None]:
    """Keep stdout for the document; what is printed meanwhile goes to stderr.

    So does what C code and other processes write to file descriptor 1, if stdout writes there.
    """
    with for_people(), _kept_descriptor() if _is_descriptor(1) else nullcontext(sys.stdout) as kept:
        token = _MACHINE.set(_Machine(kept))
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _MACHINE.reset(token)


def _is_descriptor(number: int) -> bool:
    try:
        return sys.stdout.fileno() == number
    except (AttributeError, OSError, ValueError):  # closed, or made of something else
        return False


@contextmanager
def _kept_descriptor() -> Iterator[TextIO]:
    """Redirect file descriptor 1 to stderr; yield a stream to the file that it was before."""
    kept = os.fdopen(os.dup(1), "w", encoding="ascii")
    _lead_to_stderr()
    try:
        yield kept
    finally:
        _flush()
        os.dup2(kept.fileno(), 1)
        with suppress(OSError):  # the error was raised when it was written
            kept.close()
        # What is printed while the process ends must not follow the document on stdout.
        atexit.unregister(_lead_to_stderr)
        atexit.register(_lead_to_stderr)


def _lead_to_stderr() -> None:
    """Redirect file descriptor 1 to stderr, or to the null device if stderr is closed."""
    _flush()
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads
        sys.stdout.flush()
