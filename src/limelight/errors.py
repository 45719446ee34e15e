"""Everything that limelight raises on purpose.

    LimelightError                       catch this one to catch them all
    ├── UnknownNameError (LookupError)   no class, layer, method or model has that name
    ├── LayerError       (ValueError)    the network cannot be cut at that layer
    ├── TargetError      (ValueError)    the target gives no score per image
    ├── MethodError      (ValueError)    the method cannot work on this network
    ├── MetricError      (ValueError)    the metric cannot be measured on these maps
    ├── ModelError       (TypeError)     the model is not one that can be cut
    ├── ArgumentError    (TypeError)     a function does not take that argument
    ├── OptionError      (ValueError)    an option, file or device that cannot be used
    │   └── MissingPackageError (ImportError)   a package that is not installed, and its extra
    ├── InputError       (ValueError)    the tensors that were passed in cannot be explained
    ├── PhotoError       (ValueError)    a file that is not a readable picture
    │   └── MissingPhotoError            there is no file at that path
    ├── WeightsError     (ValueError)    weights that do not load, or cannot be downloaded
    │   └── MissingWeightsError          there is no weights file at that path
    ├── OutputError      (ValueError)    a result that cannot be written to that path
    └── ScriptError      (ValueError)    a script that cannot be migrated

Every message says what was given, what was expected and what to do. `exit_code` is what the
command line exits with: 2 for invalid arguments, 1 if the data are at fault.
"""

from __future__ import annotations

import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class LimelightError(Exception):
    """Base of every error that limelight raises on purpose.

    Attributes:
        exit_code: What the command ends with: 2 if the request has to change, else 1.
    """

    exit_code: ClassVar[int] = 2

    # KeyError and its like print the repr of their message; people want the message itself.
    def __str__(self) -> str:
        """Return the message."""
        return " ".join(str(part) for part in self.args)


class UnknownNameError(LimelightError, LookupError):
    """No class, layer, method or model has that name."""


class LayerError(LimelightError, ValueError):
    """The network cannot be cut at that layer."""


class TargetError(LimelightError, ValueError):
    """The target gives no score per image."""


class MethodError(LimelightError, ValueError):
    """The method cannot work on this network."""


class MetricError(LimelightError, ValueError):
    """The metric cannot be measured on these maps."""


class ModelError(LimelightError, TypeError):
    """The model is not one that can be cut."""


class ArgumentError(LimelightError, TypeError):
    """A function does not take that argument."""


class OptionError(LimelightError, ValueError):
    """An option, file or device that cannot be used."""


class MissingPackageError(ImportError, OptionError):
    """A package that only a part of limelight needs, and that is not installed."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook prints: the way to this error says nothing more."""
        return [f"{type(self).__name__}: {self}"]


class InputError(LimelightError, ValueError):
    """The tensors that were passed in cannot be explained."""

    exit_code = 1


class PhotoError(LimelightError, ValueError):
    """A file that is not a readable picture."""

    exit_code = 1


class MissingPhotoError(PhotoError):
    """There is no file at that path."""

    exit_code = 2


class WeightsError(LimelightError, ValueError):
    """Weights that do not load, or cannot be downloaded."""

    exit_code = 1


class MissingWeightsError(WeightsError):
    """There is no weights file at that path."""

    exit_code = 2


class OutputError(LimelightError, ValueError):
    """A result that cannot be written to that path."""


class ScriptError(LimelightError, ValueError):
    """A script that cannot be migrated."""

    exit_code = 1


def nearest(given: str, known: Iterable[str], count: int = 5) -> list[str]:
    """Return the names in `known` that `given` most likely stands for, best first.

    Names that hold `given` as a word come first, then those that contain it, then names that are
    merely spelled similarly.
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    query = given.casefold()
    as_word = re.compile(rf"(?<!\w){re.escape(query)}(?!\w)")
    containing = sorted(
        (name for name in folded if query and query in name),
        key=lambda name: (as_word.search(name) is None, len(name)),
    )
    similar = difflib.get_close_matches(query, folded, n=count, cutoff=0.6)
    return [folded[name] for name in dict.fromkeys(containing + similar)][:count]


def unknown(kind: str, given: str, known: Iterable[str], otherwise: str) -> UnknownNameError:
    """Return the error for a name that does not exist, with the nearest names that do.

    `otherwise` says where to look if no name is near.
    """
    close = nearest(given, known)
    hint = f"Did you mean {', '.join(repr(name) for name in close)}?" if close else otherwise
    return UnknownNameError(f"There is no {kind} named {given!r}. {hint}")


_MOST_LINES = 20  # repeated from the message of an error from elsewhere


def describe_error(error: BaseException) -> str:
    """Return the type and the message, if any, of an error that is not limelight's own."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a foreign error's own __str__ may raise
        lines = []
    if not lines:
        return f"{type(error).__name__} without a message"
    more = [f"... and {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []
    return f"{type(error).__name__}: " + "\n".join([*lines[:_MOST_LINES], *more])


def origin(error: BaseException) -> str:
    """Return where an error came from: the innermost line outside installed packages, if any."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    ours = [str(Path(__file__).parent), *installed]
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((*ours, "<frozen"))]
    return f"{Path(theirs[-1].filename).name}, line {theirs[-1].lineno}" if theirs else ""


def exited(error: SystemExit, whose: str) -> ModelError:
    """Return the error for the user's code that called `sys.exit`."""
    code = "" if error.code is None else repr(error.code)
    place = origin(error)
    return ModelError(
        f"{whose} called sys.exit({code}){f' ({place})' if place else ''}, which would end this "
        "run without a result. Take the call out, or raise an error that says what is wrong."
    )


#: Used in several places: why a network that runs has no gradient.
INFERENCE = (
    "The layer runs under torch.inference_mode inside the model's own forward, where no graph can "
    "begin. Take that off the model; limelight needs no gradient of its parameters."
)


QUANTISED = (
    "The network is quantised: it computes with integers, through which no gradient flows. Explain "
    "the network as it was before; or take a layer that is not quantised and a method that needs "
    "no gradient ('ablationcam', 'scorecam', 'occlusion', 'rise')."
)


DETACHED = (
    "The model's output carries no graph: its forward detaches it, turns it into numbers, or uses "
    "operations without a derivative. Explain the model without that step; with a layer named, "
    "methods that need no gradient work ('ablationcam', 'scorecam', "
    "'occlusion', 'rise')."
)


WRITTEN_ON = (
    "Something that the gradient needs was written on after it was used. If the weights changed "
    "meanwhile, as by an optimiser in another thread: explain between its steps, or a copy of the "
    "model. If not, the network itself writes on it in place: name a layer that comes after that, "
    "with layer=..."
)
