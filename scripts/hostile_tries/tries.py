"""What a try is, and what is known of one when it has run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

#: What any try may exit with, unless it says more narrowly.
DONE, DATA, REQUEST, INTERRUPTED = 0, 1, 2, 130


class Skip(Exception):
    """A try cannot be made on this machine; its text says why."""


@dataclass(frozen=True)
class Ran:
    """What is known of a process that has ended."""

    folder: Path
    code: int  # negative: the signal that ended it
    out: bytes
    err: bytes
    seconds: float
    megabytes: float  # the highest resident set
    killed: str = ""  # why it had to be ended from outside

    @property
    def text(self) -> str:
        """Stdout and stderr."""
        return (self.out + b"\n" + self.err).decode(errors="backslashreplace")

    @cached_property
    def document(self) -> Any:
        """Stdout as strict JSON; ValueError where it is none."""
        return json.loads(self.out.decode(), parse_constant=_no_constant)

    def photos(self, key: str) -> set[str]:
        """The last parts of the names under `photos` or `failed` of the JSON."""
        rows = self.document.get(key, [])
        return {str(row["photo"]).rsplit("/", 1)[-1] for row in rows}


def _no_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


@dataclass(frozen=True)
class Try:
    """One hostile try: a command line, or a function of this package, and what is to come of it."""

    name: str
    argv: tuple[str, ...] = ()
    call: Callable[[], object] | None = None  # instead of argv; it prints each deviation
    codes: tuple[int, ...] = (DONE,)
    done: tuple[str, ...] = ()  # photos that the JSON must report as done
    failed: tuple[str, ...] = ()  # photos that it must report as failed
    says: tuple[str, ...] = ()  # regular expressions that stdout or stderr must match
    never: tuple[str, ...] = ()  # and must not
    files: Mapping[str, str] = field(default_factory=dict)  # written beforehand
    environment: Mapping[str, str] = field(default_factory=dict)
    setup: Callable[[], object] | None = None  # called in the process, before the command
    also: Callable[[Ran], Iterable[str]] | None = None  # more deviations
    fresh: bool = False  # a Python of its own, where encodings or memory must be untouched
    unread: bool = False  # its exit needs no word: nobody reads it
    foreign: bool = False  # exceptions of a user's own network may be named
    seconds: float = 60
    megabytes: float = 2000
