"""The library's docstrings and errors, worded for the command line."""

from __future__ import annotations

import re
from inspect import cleandoc

from limelight.errors import LimelightError, OutputError

#: Arguments that errors of the library ask for, and the options that stand for them.
PASSED = {
    "classes=[...]": "--classes FILE",
    "layer=...": "--layer LAYER",
    "views=tiles()": "--tiles",
    "tiles(512)": "--tiles 512",
    "method='gradcam'": "--method gradcam",
    "weights='FILE'": "--weights FILE",
    "weights='none'": "--weights none",
}


#: A name of the user's, in quotes as `repr` sets them; what is inside is not replaced.
_QUOTED = r"(?<!\w)(?P<quote>['\"])(?:\\.|(?!(?P=quote)).)*(?P=quote)"


_GIVEN = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, PASSED))})|{_QUOTED}")


_ELSEWHERE = re.compile(r"\b[Pp]ass (another|a shorter) (path|folder|name|one)\b")


def paragraphs(docstring: str) -> str:
    """Return a docstring with each paragraph on one line, which the terminal then wraps.

    An example on one line is a paragraph of its own, and stays on its line.
    """
    return "\n\n".join(" ".join(text.split()) for text in cleandoc(docstring).split("\n\n"))


def worded(error: LimelightError) -> str:
    """Return the message of an error of the library, with options in place of arguments."""
    text = _GIVEN.sub(lambda match: PASSED.get(match[0], match[0]), str(error))
    if isinstance(error, OutputError) and _ELSEWHERE.search(text):
        text += " On the command line it is --out."
    return text
