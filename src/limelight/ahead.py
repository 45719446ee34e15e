"""Work done ahead of its turn, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

_Item = TypeVar("_Item")


_Result = TypeVar("_Result")


class Room:
    """A number of bytes that threads take and give back.

    Who needs more than all of them gets all of them, when nobody else has any.
    """

    def __init__(self, size: int) -> None:
        """Begin with all bytes free."""
        self.size = size
        self._taken = 0
        self._changed = Condition()

    def take(self, needed: int, *, wait: bool = True) -> bool:
        """Take bytes, and wait for others to give some back; return whether they were taken.

        Without `wait`, nothing is taken unless the bytes are free now.
        """
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

    The items are read in the caller's thread. An error of the work is raised in its turn. When the
    caller stops, work that has begun is finished, and the rest is not begun.

    Args:
        work: Makes the result of an item.
        items: What to work on.
        threads: How many threads work.
        count: How many results may wait for their turn.
        room: The bytes that the items take before their work begins; the caller gives them back
            when it is done with the result.
        needs: How many bytes an item takes.
        alone: Whether an item is worked on in the caller's thread, while no other work is going on.
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
            del item  # it may be large, and the next may take long
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
