"""The words of the library in those of the command line."""

from __future__ import annotations

import re
from inspect import cleandoc

from limelight.errors import LimelightError, OutputError

#: What the library's errors ask to pass, and how the command line calls it.
PASSED = {
    "classes=[...]": "--classes FILE",
    "layer=...": "--layer LAYER",
    "method='gradcam'": "--method gradcam",
    "weights='FILE'": "--weights FILE",
    "weights='none'": "--weights none",
}


#: A name of the user's, as the library quotes it: with repr.
_QUOTED = r"(?<!\w)(?P<quote>['\"])(?:\\.|(?!(?P=quote)).)*(?P=quote)"


_GIVEN = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, PASSED))})|{_QUOTED}")


_ELSEWHERE = re.compile(r"\b[Pp]ass (another|a shorter) (path|folder|name|one)\b")


def paragraphs(docstring: str) -> str:
    """Return a docstring with one line for each paragraph, to be broken where a terminal ends.

    An example is a paragraph of its own, and keeps its line.
    """
    return "\n\n".join(" ".join(text.split()) for text in cleandoc(docstring).split("\n\n"))


def worded(error: LimelightError) -> str:
    """Return what an error of the library says, with the options that the command line has."""
    text = _GIVEN.sub(lambda match: PASSED.get(match[0], match[0]), str(error))
    if isinstance(error, OutputError) and _ELSEWHERE.search(text):
        text += " On the command line it is --out."
    return text
