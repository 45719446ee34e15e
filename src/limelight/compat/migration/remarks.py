"""What a person should know about a rewritten script."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Remark:
    """A remark on one line of the script that was given.

    Attributes:
        line: The line, from 1.
        text: What happened there, why, and what to do.
        kept: Whether the place stays as it was.
    """

    line: int
    text: str
    kept: bool

    def __str__(self) -> str:
        """Return the remark as one line."""
        return f"line {self.line}: {'kept: ' if self.kept else ''}{self.text}"


class NotRewrittenError(Exception):
    """A place has no counterpart, or it is not certain which; the message says why."""
