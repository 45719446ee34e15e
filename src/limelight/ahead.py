"""Work done in threads, beside what the caller does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

_Item = TypeVar("_Item")


_Result = TypeVar("_Result")


class Room:
    """So many bytes, which threads take and give back; what needs more than all gets all."""

    def __init__(self, size: int) -> None:
        """Begin with all of it free."""
        self.size = size
        self._taken = 0
        self._changed = Condition()

    def take(self, needed: int, *, wait: bool = True) -> bool:
        """Take bytes, if need be when others give some back; say whether they were taken."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._fits(needed))
            elif not self._fits(needed):
                return False
            self._taken += needed
            return True

    def give(self, taken: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._taken -= taken
            self._changed.notify_all()

    def _fits(self, needed: int) -> bool:
        return self._taken + needed <= self.size or self._taken == 0


def ahead(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    threads: int,
    count: int,
    room: Room | None = None,
    needs: Callable[[_Item], int] = lambda _: 0,
    alone: Callable[[_Item], bool] = lambda _: False,
) -> Iterator[_Result]:
    """Yield `work(item)` for each item, in order; up to `count` are worked on before their turn.

    The items are taken in the caller's thread. What the work raises is raised in its turn. When
    the caller stops, what has begun is finished, and the rest is not begun.

    With a room, each item takes what it needs of it before its work begins; who has the result
    gives that back. An item that is to be worked on alone is so in the caller's thread.
    """
    room = room or Room(0)
    waiting = deque[Future[_Result]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            needed = needs(item)
            while not room.take(needed, wait=not waiting):
                yield waiting.popleft().result()
            if alone(item):
                while waiting:
                    yield waiting.popleft().result()
                yield work(item)
            else:
                waiting.append(pool.submit(work, item))
            del item  # it may be large, and the next is long in coming
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
