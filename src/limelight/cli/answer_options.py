"""Options for what of an answer is explained, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from limelight.cli.map_options import OneLayer
from limelight.methods import find_method


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """The options that say what of an answer is explained, by the names of `ask`'s arguments."""

    answer: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Explain this answer of your own, and not that of the model."
        ),
    ] = None
    word: Annotated[
        str | None,
        typer.Option(
            metavar="WORD|N",
            help="Explain this word of the answer alone: its text, or its number from 0.",
        ),
    ] = None
    instead: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="Another word in the place of --word: the map shows what speaks for the one and "
            "against the other.",
        ),
    ] = None
    whole: Annotated[
        bool, typer.Option("--whole", help="Explain the whole answer with one map.")
    ] = False
    method: Annotated[
        str | None,
        typer.Option(
            help="A name that `limelight methods` lists, with options if any.",
            show_default="hirescam, or gradcam before a layer norm",
        ),
    ] = None
    layer: OneLayer = None
    subtract_sinks: Annotated[
        bool,
        typer.Option(
            "--subtract-sinks",
            help="Take out of the maps what all words share in places that nearly every word looks "
            "at.",
        ),
    ] = False
    without_picture: Annotated[
        bool,
        typer.Option(
            "--without-picture/--no-without-picture",
            help="Find how probable each word is with the photos blurred away, in two more runs.",
        ),
    ] = True
    other: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHOTO",
            help="Find it with this photo instead, which shows something else. Name four or more, "
            "each with --other, or a folder of them.",
            show_default=False,
        ),
    ] = None
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="How many tokens the model's answer has at most.")
    ] = 64

    def __post_init__(self) -> None:
        """Refuse an unknown method, before any work is done."""
        if self.method is not None:
            find_method(self.method)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `limelight.ask`."""
        numbered = self.word is not None and self.word.isdecimal()
        return {
            "answer": self.answer,
            "word": int(self.word or 0) if numbered else self.word,
            "instead": self.instead,
            "whole": self.whole,
            "method": self.method,
            "layer": self.layer,
            "subtract_sinks": self.subtract_sinks,
            "without_picture": self.without_picture,
            "max_new_tokens": self.max_new_tokens,
        }
