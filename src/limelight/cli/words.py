"""The library's docstrings and errors, worded for the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import cleandoc

from limelight.errors import LimelightError, OutputError

#: Arguments that errors of the library ask for, and the options that stand for them.
PASSED = {
    "classes=[...]": "--classes FILE",
    "layer=...": "--layer LAYER",
    "output=...": "--output KEY",
    "Take layer=": "Take --layer ",
    "views=tiles()": "--tiles",
    "method='gradcam'": "--method gradcam",
    "weights='FILE'": "--weights FILE",
    "weights='none'": "--weights none",
    "whole=True": "--whole",
    "word=": "--word ",
    "max_new_tokens": "--max-new-tokens",
}


#: A name of the user's, in quotes as `repr` sets them; what is inside is not replaced.
_QUOTED = r"(?<!\w)(?P<quote>['\"])(?:\\.|(?!(?P=quote)).)*(?P=quote)"


_GIVEN = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, PASSED))})|{_QUOTED}")


_ELSEWHERE = re.compile(r"\b[Pp]ass (another|a shorter) (path|folder|name|one)\b")


#: How an error names the option that stands for the path it speaks of.
_OPTION = " On the command line it is "


def paragraphs(docstring: str) -> str:
    """Return a docstring with each paragraph on one line, which the terminal then wraps.

    An example on one line is a paragraph of its own, and stays on its line.
    """
    return "\n\n".join(" ".join(text.split()) for text in cleandoc(docstring).split("\n\n"))


def in_options(text: str) -> str:
    """Return what the library says, with options in place of arguments."""
    return _GIVEN.sub(lambda match: PASSED.get(match[0], match[0]), text)


def worded(error: LimelightError) -> str:
    """Return the message of an error of the library, with options in place of arguments."""
    text = in_options(str(error))
    is_named = _OPTION in text  # by `under_option`
    if isinstance(error, OutputError) and _ELSEWHERE.search(text) and not is_named:
        text += f"{_OPTION}--out."
    return text


@contextmanager
def under_option(option: str) -> Iterator[None]:
    """Name the option of a file in the errors in writing it; without it, they name --out."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{error}{_OPTION}{option}.") from error.__cause__
