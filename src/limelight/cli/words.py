"""The words of the library in those of the command line."""

from __future__ import annotations

import re
from inspect import cleandoc

from limelight.errors import LimelightError, OutputError

#: What the library's errors write as `name=value`, and the command line as `--name value`; with
#: what to say for a value that is left open.
_OPTIONS = {"classes": "FILE", "layer": "LAYER", "method": "METHOD", "weights": "FILE"}

_GIVEN = re.compile(rf"\b({'|'.join(_OPTIONS)})=(?:\.\.\.|\[\.\.\.\]|(['\"])(.*?)\2)")


def paragraphs(docstring: str) -> str:
    """Return a docstring with one line for each paragraph, to be broken where a terminal ends.

    An example is a paragraph of its own, and keeps its line.
    """
    return "\n\n".join(" ".join(one.split()) for one in cleandoc(docstring).split("\n\n"))


def worded(error: LimelightError) -> str:
    """Return what an error of the library says, with the options that the command line has."""
    text = _GIVEN.sub(lambda m: f"--{m[1]} {m[3] or _OPTIONS[m[1]]}", str(error))
    if isinstance(error, OutputError) and "--out" not in text:
        text += " On the command line it is --out."
    return text
