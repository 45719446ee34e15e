"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called as progress(doing, done, total): what is done, in words, how many runs of it are done, and
#: of how many (0 of 0 when it begins).
ProgressCallback = Callable[[str, int, int], None]

#: Called as progress(done, total), by what does not know what its runs are for.
RunCallback = Callable[[int, int], None]
