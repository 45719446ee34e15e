"""What was found out about a model, kept for as long as its modules stay the same."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import nn

_Made = TypeVar("_Made")


def fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Return the ids of all modules inside a model: it changes when the model is rebuilt."""
    found: dict[int, None] = {}
    waiting: list[nn.Module | None] = [model]
    for module in waiting:  # it grows meanwhile
        if module is not None and id(module) not in found:
            found[id(module)] = None
            if module._modules:
                waiting += module._modules.values()
    return tuple(found)


class ModelCache(Generic[_Made]):
    """What is made once for each model, and again when the model is rebuilt; it goes with it."""

    def __init__(
        self,
        make: Callable[[nn.Module], _Made],
        *,
        worn: Callable[[_Made], bool] = lambda _made: False,
    ) -> None:
        """Prepare; what is `worn` is made again too."""
        self._make, self._worn, self._lock = make, worn, threading.Lock()
        self._known: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], _Made]]
        self._known = weakref.WeakKeyDictionary()

    def of(self, model: nn.Module) -> _Made:
        """Return that of a model."""
        modules = fingerprint(model)
        with self._lock:
            known = self._known.get(model)
            if known is None or known[0] != modules or self._worn(known[1]):
                known = self._known[model] = modules, self._make(model)
        return known[1]


_facts: ModelCache[dict[object, Any]]
_facts = ModelCache(lambda _model: {}, worn=lambda facts: len(facts) > 32)


def model_cache(model: nn.Module) -> dict[object, Any]:
    """Return what was found out about a model: a dict to be filled.

    It is empty again when the model is rebuilt, and when it has grown large.
    """
    return _facts.of(model)
