"""What a command prints: text that no name can spoil, or one JSON document for a machine.

With `--json`, stdout is exactly one JSON document, however the run ends (`--help` and `--version`
apart). Whatever else is printed meanwhile, by the user's model or by a library, goes to stderr.
A run that ended before all was done has `error`, with its `type`, `message` and `exit_code`; what
had been done of several photos by then stands beside it.
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
        """Take `:tiger:` in a name for what it is."""
        super().__init__(stderr=stderr, emoji=False)
        if self.width < 1:  # as some that call commands say of no terminal
            self.width = 80

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text to print, which all strings pass through, those in tables too."""
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print.

        Raises:
            OutputError: There is no room where that leads.
        """
        with writing_to("stderr" if self.stderr else "stdout", "report"):
            super().print(*objects, **options)

    def bar(self, share: float) -> str:
        """Return a bar for a share of 1, as wide as thirty letters at most."""
        sign = "#" if self.options.ascii_only else "█"
        return sign * round(share * 30) if isfinite(share) else ""


#: What a shell reports of a command that Ctrl-C ended.
INTERRUPTED = 130


@dataclass
class _Machine:
    """The machine that reads the document.

    Attributes:
        stream: Where the document goes; None when stdout is closed.
        has_document: Whether it was printed.
        partial: What was done before the error that ends the run.
    """

    stream: TextIO | None
    has_document: bool = False
    partial: dict[str, Any] = field(default_factory=dict)


_MACHINE: ContextVar[_Machine | None] = ContextVar("machine", default=None)


def document(report: Any) -> None:
    """Print the one JSON document of a run.

    Raises:
        OutputError: There is no room where stdout leads.
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
    """Name the stream that cannot be written to; one that nobody reads any more is no error.

    Raises:
        OutputError: There is no room where it leads.
        BrokenPipeError: Nobody reads.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except SystemExit as error:  # as rich ends a process when nobody reads
        raise BrokenPipeError from error
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"The {what} cannot be written to {stream}: {why}.") from error


def stand_beside(report: dict[str, Any]) -> None:
    """Keep what was done for the document of the error that is about to be raised."""
    machine = _MACHINE.get()
    if machine is not None:
        machine.partial = report


def end_with(report: dict[str, Any]) -> None:
    """Print the document of a run that ended before its own, if one is wanted."""
    machine = _MACHINE.get()
    if machine is not None and not machine.has_document:
        document(machine.partial | report)


def failed(kind: str, message: str, code: int) -> dict[str, Any]:
    """Return what a document says of a run that ended before all was done."""
    return {"error": {"type": kind, "message": message, "exit_code": code}}


def interrupted(message: str) -> dict[str, Any]:
    """Return what a document says of a run that was broken off."""
    return failed("Interrupted", message, INTERRUPTED)


@contextmanager
def for_people() -> Iterator[None]:
    """Let no character that stdout or stderr cannot encode end a run: it is written out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    yield


@contextmanager
def for_a_machine() -> Iterator[None]:
    """Keep stdout for the document; what is printed meanwhile goes to stderr.

    Also what C code and other processes write to file descriptor 1, if that is where stdout leads.
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
    """Lead file descriptor 1 to stderr, and hand out a stream to where it led."""
    kept = os.fdopen(os.dup(1), "w", encoding="ascii")
    _lead_to_stderr()
    try:
        yield kept
    finally:
        _flush()
        os.dup2(kept.fileno(), 1)
        with suppress(OSError):  # the error was raised when it was written
            kept.close()
        # What is printed while the process ends is no part of the document either.
        atexit.unregister(_lead_to_stderr)
        atexit.register(_lead_to_stderr)


def _lead_to_stderr() -> None:
    """Let file descriptor 1 be where 2 is; nowhere, if that is closed."""
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
