"""The callbacks by which work that takes long reports how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called as progress(task, done, total): the task in words, and how many of its runs are done; both
#: numbers are 0 when a task begins.
ProgressCallback = Callable[[str, int, int], None]

#: Called as progress(done, total) by code that does not know which task its runs belong to.
RunCallback = Callable[[int, int], None]
