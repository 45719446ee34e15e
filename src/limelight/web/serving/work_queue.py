"""The queue in front of the networks: one request at a time, a bound, a time limit, and an end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from limelight.progress import ProgressCallback
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits

T = TypeVar("T")


@dataclass(eq=False)
class Job(Generic[T]):
    """One request's work on the network, as the work itself sees it.

    Attributes:
        work: What is done, in the thread of the networks.
        client: Whose it is: a client's waiting requests do not keep others waiting.
        replaces: What it makes superfluous: a later job of the same client and the same name takes
            the place of one that still waits, and stops one at work. "" for nothing.
        limits: How long it may take.
    """

    work: Callable[[Job[T]], T]
    client: str
    replaces: str
    limits: Limits
    _loop: asyncio.AbstractEventLoop
    _events: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)
    _stop: Refusal | None = None
    _deadline: float = float("inf")
    _asked: float = field(default_factory=time.monotonic)

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
        self.tell({"progress": {"task": method, "done": done, "total": total}})

    def check(self) -> None:
        """End the work if its time is over, or if nobody waits for it any more.

        Raises:
            Refusal: It is.
        """
        if self._stop is not None:
            raise self._stop
        if time.monotonic() > self._deadline:
            raise Refusal("out-of-time", 503, seconds=round(self.limits.seconds))

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to whoever waits, before the work is done."""
        self._send("event", event)

    def stop(self) -> None:
        """Let the work end at its next step."""
        self._stop = Refusal("stopped", 409)

    def run(self) -> BaseException | None:
        """Do the work, and send its result or its error; return the error, if there is one."""
        self._deadline = time.monotonic() + self.limits.seconds
        try:
            self.check()
            self._send("result", self.work(self))
        except BaseException as error:  # whatever it is, whoever waits must hear of it
            error.__traceback__ = None  # it would keep the tensors of the pass
            self._send("error", error)
            return error
        return None

    def _send(self, kind: str, value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, (kind, value))
        except RuntimeError:  # the server has ended meanwhile
            self.stop()

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Yield events, then the result or the error."""
        try:
            while True:
                kind, value = await self._events.get()
                yield kind, value
                if kind != "event":
                    return
        finally:
            self.stop()


#: Told of each job that ran: how long it waited and worked, in seconds, and its error, if any.
JobWatcher = Callable[[float, float, BaseException | None], None]


def _unwatched(_waited: float, _worked: float, _error: BaseException | None) -> None:
    """Watch no job."""


class WorkQueue:
    """Runs jobs one at a time, in one thread: two at once would only share the cores.

    Clients take turns: whoever has waited longest for a turn of their own is next.
    """

    def __init__(self, limits: Limits, watcher: JobWatcher = _unwatched) -> None:
        """Start the thread.

        Args:
            limits: How many jobs may wait, and how long each may take.
            watcher: Told of each job when it is done, in the thread of the networks.
        """
        self._limits, self._watcher = limits, watcher
        self._since: float | None = None
        self._waiting = dict[str, deque[Job[Any]]]()
        self._current: Job[Any] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="limelight-page", daemon=True)
        self._thread.start()

    @property
    def length(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> bool:
        """Whether jobs are done: the thread is there, and the queue is not closed."""
        return self._thread.is_alive() and not self._closed

    @property
    def seconds_at_work(self) -> float:
        """How long the job in hand has been at work; 0 without one."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def submit(
        self,
        work: Callable[[Job[T]], T],
        client: str,
        replaces: str = "",
        *,
        after: Job[T] | None = None,
    ) -> Job[T]:
        """Let work wait for its turn; it is to be awaited by `Job.events`.

        Args:
            work: What is done.
            client, replaces: As in `Job`.
            after: The job whose work it goes on with, which gave way to others; it ends where a
                later job has taken its place, rather than taking that one's.

        Raises:
            Refusal: Too many jobs wait already, or a later one has taken its place.
        """
        job = Job(work, client, replaces, self._limits, asyncio.get_running_loop())
        with self._changed:
            own = self._waiting.setdefault(client, deque())
            same = [each for each in own if replaces and each.replaces == replaces]
            if after and (same or self._is_current(client, replaces, other_than=after)):
                raise Refusal("stopped", 409)
            for other in same:
                own.remove(other)
                other.stop()
                other.run()  # which only says that it was stopped
            if self._current and self._is_current(client, replaces):
                self._current.stop()
            length = sum(map(len, self._waiting.values()))
            if length >= self._limits.waiting:
                raise Refusal("busy", 503, waiting=length)
            own.append(job)
            self._changed.notify()
        return job

    def _is_current(self, client: str, replaces: str, other_than: Job[Any] | None = None) -> bool:
        """Return whether the job at work is a client's, of this name, and another than one."""
        current = self._current
        if not replaces or current is None or current is other_than:
            return False
        return (current.client, current.replaces) == (client, replaces)

    async def result(self, work: Callable[[Job[T]], T], client: str, replaces: str = "") -> T:
        """Return the result of work when its turn has come and gone; raise its error."""
        job = self.submit(work, client, replaces)
        async for kind, value in job.events():
            if kind == "error":
                raise value
            if kind == "result":
                break
        result: T = value
        return result

    def close(self) -> None:
        """End the work in hand and the thread; what waits is refused."""
        with self._changed:
            self._closed = True
            for job in [job for own in self._waiting.values() for job in own]:
                job.stop()
                job.run()
            self._waiting.clear()
            if self._current:
                self._current.stop()
            self._changed.notify()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            waited, self._since = job.waited, time.monotonic()
            error = job.run()
            self._watcher(waited, self.seconds_at_work, error)
            with self._changed:
                self._current, self._since = None, None
            del job, error  # it may hold a photo, and the next may be long in coming

    def _next(self) -> Job[Any] | None:
        """Return the next job, when there is one; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                for client in list(self._waiting):
                    own = self._waiting.pop(client)
                    if own:
                        job = own.popleft()
                        if own:
                            self._waiting[client] = own  # the last in turn now
                        self._current = job
                        return job
                self._changed.wait()
            return None
