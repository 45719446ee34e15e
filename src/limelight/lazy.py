"""Names that a package offers and loads when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` of a package that loads its names when they are first asked for.

    And its `__dir__`, by which editors and notebooks complete these names before they are loaded.

    Args:
        package: The package's `__name__`.
        names: The names that it offers, by the module of the package that defines them.
    """
    module_of = {name: module for module, offered in names.items() for name in offered}

    def load(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(module_of)
