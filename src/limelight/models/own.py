"""The user's own network: `package.module:factory`."""

from __future__ import annotations

import importlib
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import nn

from limelight.errors import LimelightError, ModelError, described, exited, origin
from limelight.models.network import Network
from limelight.models.state import fit, read_state


def load_factory(name: str, weights: str | Path) -> Network:
    """Import and call a factory, looked for in the working directory too.

    It may be a function or class that, called without arguments, returns an `nn.Module` or a
    `limelight.Network` (which brings its own preprocessing and class names); or either of those
    itself.

    Raises:
        ModelError: It cannot be imported, it raises, or what it returns is no network.
        WeightsError: A weights file was given that cannot be read or does not fit.
    """
    made = _call(name)
    network = made if isinstance(made, Network) else Network(name, made)
    if str(weights) in ("default", "none"):
        return network
    fit(network.model, read_state(Path(weights)), str(weights))
    return replace(network, weights=str(weights))


def _call(name: str) -> nn.Module | Network:
    module_name, _, attribute = name.partition(":")
    if not all(f"{module_name}.{attribute}".split(".")) or "/" in name or "\\" in name:
        raise ModelError(
            f"{name!r} names no network of your own. package.module:factory was expected, with "
            "dots for folders of the working directory: 'nets.small:build' for build in "
            "nets/small.py."
        )
    with _working_directory():
        with _theirs(f"Importing {module_name!r} for the model {name!r}"):
            found = _found(module_name, attribute, name)
        if callable(found) and not isinstance(found, nn.Module):
            with _theirs(f"The factory {name!r}"):
                found = found()
    model = found.model if isinstance(found, Network) else found
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{name!r} gave an object of type {type(model).__name__}; an nn.Module or a "
            "limelight.Network was expected."
        )
    return found if isinstance(found, Network) else model


def _found(module_name: str, attribute: str, name: str) -> object:
    """Import a module, and return what it calls by the attribute's dotted path."""
    try:
        found: object = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"Cannot import {module_name!r} for the model {name!r}: {error}. It was looked for in "
            "the working directory and among the installed packages."
        ) from error
    file = getattr(found, "__file__", None) or "built in"
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(
                f"There is no {attribute!r} in {module_name!r} ({file}). A function that returns "
                "the network was expected, as in package.module:factory."
            )
        found = getattr(found, part)
    return found


@contextmanager
def _working_directory() -> Iterator[None]:
    """Import from the working directory first, as a script there would, and later on last.

    So a random.py there is not taken for an installed package by what is imported afterwards, and
    what the model's forward imports is still found.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:  # the user's code may have taken it away
            sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


@contextmanager
def _theirs(doing: str) -> Iterator[None]:
    """Run code of the user's; what it raises becomes a ModelError that says what raised it, where.

    Errors of limelight's stay what they are.
    """
    try:
        yield
    except LimelightError:
        raise
    except SystemExit as error:
        raise exited(error, doing) from error
    except (KeyboardInterrupt, CancelledError):  # meant for who called
        raise
    except BaseException as error:  # code that is only imported may raise anything
        place = origin(error)
        raise ModelError(
            f"{doing} raised {described(error)}{f' ({place})' if place else ''}"
        ) from error
