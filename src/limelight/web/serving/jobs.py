"""One request's work on a network: what it tells, when it ends, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from limelight.errors import LimelightError
from limelight.progress import ProgressCallback
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.waiting import address_of
from limelight.web.settings import Limits

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: How far beyond its time a job may be before whoever waits is told, as a share of it: work that
#: reports no progress cannot be stopped on the way.
_PATIENCE = 0.25

#: How often progress is told, in seconds.
_PROGRESS_SECONDS = 0.1

#: The most bytes that an address may leave unread of what its jobs tell.
_MOST_UNREAD = 64_000_000


class Unread:
    """How many bytes of what jobs told are not read yet, by address."""

    def __init__(self) -> None:
        """Begin with none."""
        self._bytes, self._lock = Counter[str](), threading.Lock()

    def add(self, client: str, count: int) -> None:
        """Add bytes that were told; fewer than 0 were read.

        Raises:
            Refusal: Too many are not read.
        """
        address = address_of(client)
        with self._lock:
            if count > 0 and self._bytes[address] + count > _MOST_UNREAD:
                raise Refusal("unread", 503)
            self._bytes[address] += count
            if not self._bytes[address]:
                del self._bytes[address]


@dataclass(eq=False)
class Job(Generic[T]):
    """One request's work on the network, as the work itself sees it.

    Attributes:
        work: What is done, in the thread of the networks.
        client: Whose it is: an address, and after a space the name that a page gave itself.
        replaces: What it makes superfluous: a later job of the same client and the same name takes
            the place of one that still waits, and stops one at work. "" for nothing.
        goes_first: Whether it goes before what else waits for its client.
        limits: How long it may take.
    """

    work: Callable[[Job[T]], T]
    client: str
    replaces: str
    goes_first: bool
    limits: Limits
    _loop: asyncio.AbstractEventLoop
    _unread: Unread
    _events: asyncio.Queue[tuple[str, Any, int]] = field(default_factory=asyncio.Queue)
    _asked: float = field(default_factory=time.monotonic)
    _stop: Refusal | None = None
    _deadline: float = float("inf")
    _told: float = 0.0
    _left: bool = False
    _clock: asyncio.TimerHandle | None = None

    @property
    def waited(self) -> float:
        """How long ago it was asked for, in seconds."""
        return time.monotonic() - self._asked

    @property
    def progress(self) -> ProgressCallback:
        """What `explain` and its like report to; it ends work that nobody waits for any more."""
        return self._progress

    def _progress(self, method: str, done: int, total: int) -> None:
        self.check()
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS or done == total:
            self._told = now
            self.tell({"progress": {"task": method, "done": done, "total": total}})

    def check(self) -> None:
        """End the work if its time is over, or if nobody waits for it any more.

        Raises:
            Refusal: It is.
        """
        if self._stop is not None:
            raise self._stop
        if time.monotonic() > self._deadline:
            raise self._out_of_time()

    @property
    def is_overdue(self) -> bool:
        """Whether its time was over long ago, and it has not ended: it reports no progress."""
        return time.monotonic() > self._deadline + _PATIENCE * self.limits.seconds

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to whoever waits, before the work is done.

        Raises:
            Refusal: Too much of what was told before is not read.
        """
        size = _size(event)
        self._unread.add(self.client, size)
        self._send("event", event, size)

    def stop(self, reason: Refusal | None = None) -> None:
        """Let the work end at its next step."""
        self._stop = reason or Refusal("stopped", 409)

    def run(self) -> BaseException | None:
        """Do the work, and send its result or its error; return the error, if there is one."""
        seconds = self.limits.seconds
        self._deadline = time.monotonic() + seconds
        self._call(self._begin_clock, (1 + _PATIENCE) * seconds)
        try:
            self.check()
            self._send("result", self.work(self))
        except BaseException as error:  # whatever it is, whoever waits must hear of it
            if not isinstance(error, LimelightError):
                _log.error("A request's work failed", exc_info=error)
            self._send("error", _without_frames(error))
            return error
        return None

    def refuse(self, reason: Refusal) -> None:
        """End a job that waits, without beginning it."""
        self.stop(reason)
        self._send("error", reason)

    async def events(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield events, then the result or the error."""
        try:
            while True:
                kind, value, size = await self._events.get()
                self._unread.add(self.client, -size)
                yield kind, value
                if kind != "event":
                    return
        finally:
            self._left = True
            self.stop()
            if self._clock is not None:
                self._clock.cancel()
            while not self._events.empty():
                self._unread.add(self.client, -self._events.get_nowait()[2])

    def _begin_clock(self, seconds: float) -> None:
        if self._stop is None:
            self._clock = self._loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """Tell whoever waits that time is over, though the work goes on to its next step."""
        self.stop(self._out_of_time())
        self._events.put_nowait(("error", self._stop, 0))

    def _out_of_time(self) -> Refusal:
        return Refusal("out-of-time", 503, seconds=round(self.limits.seconds))

    def _send(self, kind: str, value: Any, size: int = 0) -> None:
        self._call(self._hand_on, kind, value, size)

    def _hand_on(self, kind: str, value: Any, size: int) -> None:
        if self._left:  # work tells on until its next step
            self._unread.add(self.client, -size)
        else:
            self._events.put_nowait((kind, value, size))

    def _call(self, function: Callable[..., None], *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:  # the server has ended meanwhile
            self.stop()


def _size(event: Any) -> int:
    """Return about how many bytes an event takes: those of its texts."""
    if isinstance(event, dict):
        return sum(map(_size, event.values()))
    if isinstance(event, list | tuple):
        return sum(map(_size, event))
    return len(event) if isinstance(event, str) else 0


def _without_frames(error: BaseException) -> BaseException:
    """Return an error without what its frames hold: the tensors of the pass."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
