"""The user's own network: `package.module:factory`."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

from torch import nn

from limelight.errors import ModelError
from limelight.models import Network
from limelight.models.state import fit, read_state


def load(name: str, weights: str | Path) -> Network:
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
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"Cannot import {module_name!r} for the model {name!r}: {error}. It was looked for in "
            "the working directory and among the installed packages."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(
                f"There is no {attribute!r} in {module_name!r}. A function that returns the "
                "network was expected, as in package.module:factory."
            )
        found = getattr(found, part)
    if callable(found) and not isinstance(found, nn.Module):
        try:
            found = found()
        except Exception as error:
            raise ModelError(
                f"The factory {name!r} raised {type(error).__name__}: {error}"
            ) from error
    if not isinstance(found, nn.Module | Network):
        raise ModelError(
            f"{name!r} gave an object of type {type(found).__name__}; an nn.Module or a "
            "limelight.Network was expected."
        )
    return found
