"""Names that were replaced: each works for two more minor releases, and says what to write."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class LimelightDeprecationWarning(FutureWarning):
    """A name of limelight will go; the message says what to write instead, and when it goes.

    It is a FutureWarning, since Python hides a DeprecationWarning from everybody but the author of
    the script itself, and what is not seen is not mended.
    """


class Deprecation(NamedTuple):
    """A name that was replaced.

    Attributes:
        old: The name as it was.
        new: The name that replaces it.
        since: The minor release that replaced it.
        goes: The minor release from which on it no longer works, two after `since`.
        function: The function that has it as an argument; "" for a name of the package.
    """

    old: str
    new: str
    since: str
    goes: str
    function: str = ""

    def __str__(self) -> str:
        """Return what the warning says."""
        old, new = self.old, self.new
        if self.function:
            old, new = f"the argument {old!r} of {self.function}()", repr(new)
        else:
            old, new = f"limelight.{old}", f"limelight.{new}"
        return f"{old} is called {new} since limelight {self.since}, and goes in {self.goes}."


#: All names that were replaced and still work.
DEPRECATIONS = (
    Deprecation("compare_runs", "compare_audits", since="0.1", goes="0.3"),
    Deprecation("paths", "photos", since="0.1", goes="0.3", function="explain_photos"),
)


def replacement(name: str) -> str | None:
    """Return the name that replaces a public one, after a warning; None if it was not replaced."""
    for each in DEPRECATIONS:
        if each.old == name and not each.function:
            warnings.warn(str(each), LimelightDeprecationWarning, stacklevel=3)
            return each.new
    return None


def old_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take its arguments by the names that were replaced, with a warning."""
    rows = [each for each in DEPRECATIONS if each.function == function.__name__]

    @wraps(function)
    def renamed(*args: P.args, **kwargs: P.kwargs) -> R:
        for each in rows:
            # With both names the function refuses the old one, as it does any that it lacks.
            if each.old in kwargs and each.new not in kwargs:
                warnings.warn(str(each), LimelightDeprecationWarning, stacklevel=2)
                kwargs[each.new] = kwargs.pop(each.old)
        return function(*args, **kwargs)

    return renamed
