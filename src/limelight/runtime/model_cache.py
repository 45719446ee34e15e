"""Caches that hold something for each model, until its modules change."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from torch import nn

_log = logging.getLogger(__name__)

_Value = TypeVar("_Value")


def fingerprint(model: nn.Module) -> tuple[list[int], list[str]]:
    """Return the ids and names of all modules inside a model; they change when it is rebuilt."""
    ids: dict[int, None] = {}
    names = list[str]()
    waiting: list[nn.Module | None] = [model]
    for module in waiting:  # the list grows meanwhile
        if module is not None and id(module) not in ids:
            ids[id(module)] = None
            if module._modules:
                waiting += module._modules.values()
                names += module._modules.keys()
    return list(ids), names


class ModelCache(Generic[_Value]):
    """A cache of one value per model; the value is made anew when the model's modules change."""

    def __init__(
        self,
        make: Callable[[nn.Module], _Value],
        *,
        is_stale: Callable[[_Value], bool] = lambda _value: False,
    ) -> None:
        """Prepare the cache.

        Args:
            make: Makes the value for a model.
            is_stale: Returns whether a value has to be made anew although the modules are the same.
        """
        self._make, self._is_stale, self._lock = make, is_stale, threading.Lock()
        self._entries: weakref.WeakKeyDictionary[nn.Module, tuple[object, _Value]]
        self._entries = weakref.WeakKeyDictionary()

    def of(self, model: nn.Module) -> _Value:
        """Return the value for a model."""
        modules = fingerprint(model)
        with self._lock:
            entry = self._entries.get(model)
            if entry is None or entry[0] != modules or self._is_stale(entry[1]):
                entry = self._entries[model] = modules, self._make(model)
        return entry[1]


_caches: ModelCache[dict[object, Any]]
_caches = ModelCache(lambda _model: {}, is_stale=lambda cache: len(cache) > 32)


def kept(cache: Mapping[Any, _Value], key: object, what: str) -> _Value | None:
    """Return what a cache holds for a key, if anything, and log whether `what` has to be made."""
    value = cache.get(key)
    _log.debug("%s: %s", what, "made" if value is None else "reused")
    return value


def model_cache(model: nn.Module, key: object = None) -> dict[object, Any]:
    """Return the cache of a model, a dict for its callers to fill.

    It is emptied when the model is rebuilt, and when it has more than 32 entries.

    Args:
        model: The model.
        key: A callable that picks the logits, if what is cached depends on one. Its cache is its
            own and goes with it: the callable may refer to the model, and must not be kept alive.
    """
    cache = _caches.of(model)
    if not callable(key):
        return cache
    by_callable: weakref.WeakKeyDictionary[object, dict[object, Any]]
    by_callable = cache.setdefault("by callable", weakref.WeakKeyDictionary())
    try:
        return by_callable.setdefault(key, {})
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return {}
