"""Errors for names that people guess: they say what limelight calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from limelight.errors import ArgumentError, nearest
from limelight.peer_names import ARGUMENTS, GRAD_CAM_METHODS, INSTEAD, TORCHCAM_METHODS

P = ParamSpec("P")
R = TypeVar("R")


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments that it does not take with the name of the one it does.

    The function keeps its signature, for `inspect` and for type checkers.

    Raises:
        ArgumentError: By the function, where Python raises a TypeError without a hint.
    """
    parameters = [each for each in signature(function).parameters.values() if each.name != "self"]
    names = [each.name for each in parameters]
    places = [each.name for each in parameters if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    is_method = "self" in signature(function).parameters

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        count = len(args) - is_method
        if count > len(places):
            raise ArgumentError(_too_many(function.__name__, places, names, count))
        for given in kwargs:
            if given not in names:
                raise ArgumentError(_no_argument(function.__name__, given, names))
        return function(*args, **kwargs)

    return checked


def _too_many(function: str, places: list[str], names: list[str], count: int) -> str:
    """Return the message about arguments without a name that need one."""
    takes = f"{len(places)} argument{'s' if len(places) > 1 else ''}"
    named = [f"{name}=" for name in names if name not in places]
    return (
        f"{function}() takes {takes} without a name ({', '.join(places)}), and {count} were given. "
        f"Name the others: {', '.join(named)}."
    )


def _no_argument(function: str, given: str, names: list[str]) -> str:
    """Return the message about an argument that a function does not have."""
    instead, advice = ARGUMENTS.get(given, ((), ""))
    name = next((each for each in instead if each in names), "")
    refused = f"{function}() has no argument {given!r}."
    if name and advice.startswith(f"{name}="):
        return f"{refused} Use {advice}."
    if name:
        return f"{refused} Use {name!r}{f': {advice}' if advice else ''}."
    if given in ARGUMENTS and not instead:
        return f"{refused} Leave it out: {advice}."
    close = nearest(given, names)
    if close:
        return f"{refused} Did you mean {', '.join(map(repr, close))}?"
    return f"{refused} It takes {', '.join(names)}."


def missing_name(name: str, known: Iterable[str]) -> str:
    """Return the message about a name that the package does not have."""
    refused = f"module 'limelight' has no attribute {name!r}"
    advice = "" if name.startswith("_") else _instead(name, known)
    return f"{refused}. {advice}" if advice else refused


def _instead(name: str, known: Iterable[str]) -> str:
    """Return what to use in the place of a name; "" if nothing is near."""
    method = {**TORCHCAM_METHODS, **GRAD_CAM_METHODS}.get(name)
    if method is not None:
        how = f"limelight.explain(model, images, method={method!r}).heatmap is its map."
        if name not in GRAD_CAM_METHODS:
            return how
        return f"{how} limelight.compat.pytorch_grad_cam has {name} for scripts of grad-cam."
    if name in INSTEAD:
        return f"Instead, {INSTEAD[name]}."
    close = nearest(name, known)
    return f"Did you mean {', '.join(map(repr, close))}?" if close else ""


class KnownAttributes:
    """A result that says what it has where an attribute is asked for that it has not."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker shall still find attributes that do not exist

        def __getattr__(self, name: str) -> Any:
            """Raise an AttributeError, with advice if the name is a guess of a user's."""
            if hasattr(type(self), name):  # a property that raised, or a field not set yet
                return object.__getattribute__(self, name)
            refused = f"{type(self).__name__!r} object has no attribute {name!r}"
            advice = "" if name.startswith("_") else _advice(name, dir(type(self)))
            raise AttributeError(f"{refused}. {advice}" if advice else refused)


_SHOW = "A notebook shows it as the last line of a cell; .save('map.png') writes it to a file."
_DRAW = ".figure() draws it, .save('map.png') writes it to a file."
_SCORE = (
    "The score is before softmax; .output holds what the model returned, of a classifier "
    "the logits: .output.softmax(1)."
)
_TABLE = ".to_frame().to_csv('maps.csv') writes a table; .rows() are its rows."
_ARRAY = ".heatmap.numpy(force=True) is the map as an array, .save('maps.npz') writes all arrays."
_MAP = ".heatmap is the map in [0, 1], .raw the signed one at the layer's resolution."

#: Guessed attributes, with an attribute that the object must have, and what to do.
_ATTRIBUTES = {
    **dict.fromkeys(("show", "display", "view"), ("save", _SHOW)),
    **dict.fromkeys(("plot", "draw", "visualize", "imshow"), ("figure", _DRAW)),
    **dict.fromkeys(("probability", "probabilities", "prob", "confidence"), ("output", _SCORE)),
    **dict.fromkeys(("to_csv", "csv", "table", "to_pandas"), ("to_frame", _TABLE)),
    **dict.fromkeys(("numpy", "to_numpy", "array"), ("heatmap", _ARRAY)),
    **dict.fromkeys(("cam", "map", "attributions", "saliency", "mask"), ("heatmap", _MAP)),
}


def _advice(name: str, attributes: Iterable[str]) -> str:
    """Return what to do about an attribute that does not exist."""
    public = [each for each in attributes if not each.startswith("_")]
    needed, advice = _ATTRIBUTES.get(name, ("", ""))
    if needed in public:
        return advice
    close = nearest(name, public)
    if close:
        return f"Did you mean {', '.join(map(repr, close))}?"
    return f"It has {', '.join(public)}."


#: Modules that people call, and what they look for.
_CALLED = {
    "methods": "list(limelight.METHODS) are the names of the methods.",
    "metrics": "list(limelight.METRICS) are the names of the metrics.",
    "layers": "limelight.record(model, images) lists the layers of a model, and explain(...).layer "
    "is the one that was taken.",
}


class _Uncallable(ModuleType):
    """A module that says what to use where it is called."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise an error that names what is looked for.

        Raises:
            ArgumentError: Always.
        """
        short = self.__name__.rpartition(".")[2]
        raise ArgumentError(f"{self.__name__} is a module, not a function. {_CALLED[short]}")


def refuse_calls() -> None:
    """Let the modules that people call say what to use instead, as far as they are loaded."""
    for short in _CALLED:
        module = sys.modules.get(f"limelight.{short}")
        if module is not None:
            module.__class__ = _Uncallable
