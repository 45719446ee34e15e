"""What the rows of METHODS and METRICS have in common: a name, a function, and its options.

Views have options too, read and checked in the same way. Names are found in any case, and with or
without `-` and `_` in them: "Grad-CAM++" is `gradcam++`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any, Self, TypeVar

from limelight.errors import OptionError, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a table.

    Attributes:
        name: The name by which it is asked for.
        function: The function that computes it; the function's keyword arguments are the options.
        formula: What the function computes, in one line.
        paper: The paper that it comes from.
        use: When to use it, in one sentence.
        avoid: When not to use it, in one sentence; "" where nobody said so.
        options: The options that were set.
    """

    name: str
    function: Callable[..., Any]
    formula: str
    paper: str
    use: str
    avoid: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_options(self) -> dict[str, Any]:
        """All options of the function, with their values: those set, or else the defaults."""
        return options_of(self.function) | dict(self.options)

    def set(self, **options: Any) -> Self:
        """Return the row with other options.

        Raises:
            UnknownNameError: There is no such option.
            OptionError: The value is not of the kind, or not in the range, of the default.
        """
        check_options(self.name, self.known_options, options)
        return replace(self, options=dict(self.options) | options)

    def __str__(self) -> str:
        """Return the name, and the options that were set, as the command line takes them."""
        settings = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{settings}" if settings else self.name


_R = TypeVar("_R", bound=Entry)


def find_entry(table: Mapping[str, _R], kind: str, wanted: str | _R) -> _R:
    """Return a row: by its name in the table, or as `name:option=value,option=value`.

    Raises:
        UnknownNameError: There is no such row, or it has no such option; the nearest are named.
        OptionError: An option cannot be read, or cannot have that value; or several are named.
    """
    if isinstance(wanted, Entry):
        return wanted
    if not isinstance(wanted, str):
        raise OptionError(
            f"The {kind} is a {type(wanted).__name__}; a name in {kind.upper()}S was expected, or "
            f"a row, which limelight.{kind.title()}(...) makes of a function."
        )
    name, options = read_settings(wanted)
    entry = table[find_name(table, kind, name)]
    return entry.set(**options) if options else entry


def find_entries(
    table: Mapping[str, _R], kind: str, wanted: str | _R | Iterable[str | _R]
) -> list[_R]:
    """Return the rows that are named, each once.

    `wanted` is a row, a text with names between spaces or commas, or several of both.

    Raises:
        UnknownNameError, OptionError: As `find_entry`.
    """
    rows = [find_entry(table, kind, each) for each in _separate(wanted)]
    return list({str(row): row for row in rows}.values())


def means_all(wanted: object) -> bool:
    """Return whether a single name is given, and it is "all"."""
    names = _separate(wanted) if isinstance(wanted, str | list | tuple) else []
    return len(names) == 1 and isinstance(names[0], str) and names[0].casefold() == "all"


def _separate(wanted: Any) -> list[Any]:
    """Return the names and rows that are wanted, one by one."""
    given = [wanted] if isinstance(wanted, str | Entry) else list(wanted)
    parts = (split_names(each) if isinstance(each, str) else [each] for each in given)
    return [part for group in parts for part in group]


#: A part of a text, and the spaces or commas before it.
_PART = re.compile(r"([\s,]*)([^\s,]+)")

#: The beginning of `option=value`.
_SETTING = re.compile("[^:=]+=")

#: A sign between a name, its options and their values, with spaces around it.
_SPACED_SIGN = re.compile(r"\s*([:=])\s*")


def split_names(text: str) -> list[str]:
    """Return the names in a text, with spaces or commas between them, each with its options.

    Commas also separate the options of one name. What follows a comma is an option if it reads
    `option=value` and the name before has options: "rise:masks=1000,seed=1,gradcam" is two names.
    """
    names = list[str]()
    for between, part in _PART.findall(_SPACED_SIGN.sub(r"\1", text)):
        if "," in between and names and ":" in names[-1] and _SETTING.match(part):
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def find_name(known: Collection[str], kind: str, name: str) -> str:
    """Return the known name that equals `name`, apart from case, `-`, `_` and how `++` is written.

    Raises:
        UnknownNameError: No name is spelled like it, or several are; the nearest are named.
        OptionError: The text holds several known names.
    """
    if name in known:
        return name
    alike = _spelled_alike(name, known)
    if len(alike) == 1:
        return alike[0]
    names = split_names(name)
    if len(names) > 1 and all(_spelled_alike(each, known) for each in names):
        raise OptionError(f"{name!r} is {len(names)} names; that of one {kind} was expected.")
    raise unknown(kind, name, known, f"There are {', '.join(known)}.")


def _spelled_alike(name: str, known: Iterable[str]) -> list[str]:
    return [each for each in known if _letters(each) == _letters(name)]


def _letters(name: str) -> str:
    """Return a name without `-` and `_`, and without the difference of upper and lower case.

    `GradCAMPlusPlus` and `GradCAMpp`, as other libraries write it, are `gradcam++`.
    """
    return re.sub("plusplus|(?<=cam)pp$", "++", re.sub("[-_]", "", name).casefold())


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that a function has, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def check_options(owner: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse options that do not exist, and values that they cannot have.

    Args:
        owner: The name of what has the options, for the error.
        known: The options that exist, with their defaults.
        options: The options that were set.

    Raises:
        UnknownNameError: There is no such option.
        OptionError: The value is not of the kind, or not in the range, of the default.
    """
    for name, value in options.items():
        if name not in known:
            those = ", ".join(known) or "none"
            raise unknown(f"option of {owner}", name, known, f"There are: {those}.")
        _check(owner, name, value, known[name])


#: The lowest and the highest value of options that do not take any number.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "masks", "steps", "cells", "segments", "count"), (1, inf)),
    **dict.fromkeys(("noise", "deviation", "tolerance"), (0, inf)),
    "groups": (2, inf),
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(("patch", "stride", "keep", "threshold", "iou", "least", "most"), (1e-6, 1)),
    **dict.fromkeys(("width", "radius", "growth"), (1e-6, inf)),
}


def _check(owner: str, name: str, value: Any, default: Any) -> None:
    """Refuse a value that an option cannot have."""
    low, high = _RANGES.get(name, (-inf, inf))
    if isinstance(default, bool | str):
        fits = isinstance(value, type(default))
    else:
        whole = isinstance(default, int)
        number = isinstance(value, int) or (isinstance(value, float) and not whole)
        fits = number and not isinstance(value, bool) and isfinite(value) and low <= value <= high
        fits = fits or (value is None and default is None)
    if not fits:
        kind = expected_value(name, default)
        raise OptionError(f"The option {name} of {owner} is {value!r}; {kind} was expected.")


def expected_value(name: str, default: Any) -> str:
    """Return in words which values an option takes: "an integer of at least 1".

    Args:
        name: The name of the option.
        default: The value that it has if it is not set.
    """
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str):
        return "a name"
    low, high = _RANGES.get(name, (-inf, inf))
    kind = "an integer" if isinstance(default, int) else "a number"
    if low == -inf:
        return kind
    least = "above 0" if low == 1e-6 else f"of at least {low:g}"
    return f"{kind} {least}" + (f" and at most {high:.10g}" if high < inf else "")


def read_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name:option=value,option=value`.

    Raises:
        OptionError: It cannot be read.
    """
    name, _, settings = text.partition(":")
    options = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise OptionError(
                f"Cannot read {setting!r} in {text!r}; option=value was expected, as in "
                "'rise:masks=1000,seed=1'."
            )
        options[key.strip()] = _value(value.strip())
    return name.strip(), options


def _value(text: str) -> Any:
    """Read an option's value: a number, true or false, none."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
