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

from limelight.channels import taken_input
from limelight.errors import LimelightError, ModelError, describe_error, exited, origin
from limelight.models.network import Network
from limelight.models.state import fit, read_state
from limelight.photos.preprocess import Preprocess


def load_factory(name: str, weights: str | Path) -> Network:
    """Import and call a factory, which may be in the working directory.

    The factory is a function or class that, called without arguments, returns an `nn.Module` or a
    `limelight.Network` (which brings its own preprocessing and class names). The name may also lead
    to such an object itself.

    Raises:
        ModelError: It cannot be imported, it raises, or it returns something else.
        WeightsError: A weights file was given that cannot be read or does not fit.
    """
    result = _call(name)
    network = result if isinstance(result, Network) else _plain_network(name, result)
    if str(weights) in ("default", "none"):
        return network
    fit(network.model, read_state(Path(weights)), str(weights))
    return replace(network, weights=str(weights))


def _plain_network(name: str, model: nn.Module) -> Network:
    """Return a model with the usual preprocessing, in as many channels as it takes.

    For RGB that is ImageNet's; for other channels, whose statistics are not known, the range of
    their values becomes -1 to 1.
    """
    taken = taken_input(model)
    if taken is None or taken.channels == 3:
        return Network(name, model)
    half = (0.5,) * taken.channels
    return Network(name, model, Preprocess(mean=half, std=half))


def _call(name: str) -> nn.Module | Network:
    module_name, _, attribute = name.partition(":")
    if not all(f"{module_name}.{attribute}".split(".")) or "/" in name or "\\" in name:
        raise ModelError(
            f"{name!r} names no network of your own. package.module:factory was expected, with "
            "dots for folders of the working directory: 'nets.small:build' for build in "
            "nets/small.py."
        )
    with _working_directory():
        with _user_code(f"Importing {module_name!r} for the model {name!r}"):
            result = _import(module_name, attribute, name)
        if callable(result) and not isinstance(result, nn.Module):
            with _user_code(f"The factory {name!r}"):
                result = result()
    model = result.model if isinstance(result, Network) else result
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{name!r} gave an object of type {type(model).__name__}; an nn.Module or a "
            "limelight.Network was expected."
        )
    return result if isinstance(result, Network) else model


def _import(module_name: str, attribute: str, name: str) -> object:
    """Import a module, and return the object at the attribute's dotted path."""
    try:
        target: object = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"Cannot import {module_name!r} for the model {name!r}: {error}. It was looked for in "
            "the working directory and among the installed packages."
        ) from error
    file = getattr(target, "__file__", None) or "built in"
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise ModelError(
                f"There is no {attribute!r} in {module_name!r} ({file}). A function that returns "
                "the network was expected, as in package.module:factory."
            )
        target = getattr(target, part)
    return target


@contextmanager
def _working_directory() -> Iterator[None]:
    """Import from the working directory, first in this block, as a script would, and last after it.

    So a random.py there does not replace an installed module in later imports, and modules that the
    model's forward imports are still found.
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
def _user_code(doing: str) -> Iterator[None]:
    """Run code of the user's; its errors become a ModelError that says what raised them, and where.

    Errors of limelight stay as they are.
    """
    try:
        yield
    except LimelightError:
        raise
    except SystemExit as error:
        raise exited(error, doing) from error
    except (KeyboardInterrupt, CancelledError):  # meant for the caller
        raise
    except BaseException as error:  # code that is only imported may raise anything
        place = origin(error)
        raise ModelError(
            f"{doing} raised {describe_error(error)}{f' ({place})' if place else ''}"
        ) from error
