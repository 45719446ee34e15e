"""Work done in threads, beside what the caller does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, count: int
) -> Iterator[_Result]:
    """Yield `work(item)` for each item, in order; up to `count` are worked on before their turn.

    The items are taken in the caller's thread. What the work raises is raised in its turn. When
    the caller stops, what has begun is finished, and the rest is not begun.
    """
    waiting = deque[Future[_Result]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
