"""The languages that pages are written in."""

from __future__ import annotations

from typing import Literal, get_args

from limelight.errors import unknown

Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = get_args(Language)


def check_language(language: str) -> None:
    """Refuse a language that pages are not written in.

    Raises:
        UnknownNameError: It is such a language.
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES, "There are en and zh.")
