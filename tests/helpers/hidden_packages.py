"""Packages as if they were not installed: no finder finds them, and nothing has loaded them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import pytest


class _Without:
    """A finder that does not find some packages, and is the finder that it wraps in all else."""

    def __init__(self, finder: Any, hidden: frozenset[str]) -> None:
        self._finder, self._hidden = finder, hidden

    def find_spec(self, name: str, *rest: Any) -> Any:
        return (
            None if name.partition(".")[0] in self._hidden else self._finder.find_spec(name, *rest)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def hide(names: Iterable[str]) -> None:
    """Hide packages from this process, in which nothing has imported them yet."""
    hidden = frozenset(names)
    ours = [each for each in sys.meta_path if type(each).__module__ == "limelight.extras"]
    sys.meta_path[:] = [_Without(each, hidden) for each in sys.meta_path if each not in ours]
    sys.meta_path += ours


def hide_for_a_test(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Hide packages until a test ends; what has imported them keeps them."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    hide(names)
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in names:
            monkeypatch.delitem(sys.modules, loaded)
