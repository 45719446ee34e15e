"""The queue in front of the networks: one request at a time, a bound, a time limit, and an end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from limelight.web.serving.jobs import Job, Unread
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.waiting import Waiting
from limelight.web.settings import Limits

__all__ = ["Job", "WorkQueue"]

T = TypeVar("T")

#: How long the end waits for the work in hand, in seconds.
_END_SECONDS = 5.0

#: Told of each job that ran: how long it waited and worked, in seconds, and its error, if any.
JobWatcher = Callable[[float, float, BaseException | None], None]


def _unwatched(_waited: float, _worked: float, _error: BaseException | None) -> None:
    """Watch no job."""


class WorkQueue:
    """Runs jobs one at a time, in one thread: two at once would only share the cores.

    Clients take turns, see `Waiting`. When as many wait as may, one more takes the place of another
    only if that one's address or page has more waiting.
    """

    def __init__(self, limits: Limits, watcher: JobWatcher = _unwatched) -> None:
        """Start the thread.

        Args:
            limits: How many jobs may wait, and how long each may take.
            watcher: Told of each job when it is done, in the thread of the networks.
        """
        self._limits, self._watcher = limits, watcher
        self._since: float | None = None
        self._waiting = Waiting[Job[Any]]()
        self._unread = Unread()
        self._current: Job[Any] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="limelight-page", daemon=True)
        self._thread.start()

    @property
    def length(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return len(self._waiting)

    @property
    def is_stuck(self) -> bool:
        """Whether a job at work is long over its time, and cannot be stopped."""
        current = self._current
        return current is not None and current.is_overdue

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
        goes_first: bool = False,
    ) -> Job[T]:
        """Let work wait for its turn; it is to be awaited by `Job.events`.

        Args:
            work: What is to be done.
            client: Whose it is: an address, and after a space the name that a page gave itself.
            replaces: As in `Job`.
            after: The job whose work it goes on with, which gave way to others; it ends where a
                later job has taken its place, rather than taking that one's.
            goes_first: As in `Job`.

        Raises:
            Refusal: Too many jobs wait already, a later one has taken its place, the one at work
                cannot be stopped, or the page ends.
        """
        loop = asyncio.get_running_loop()
        job = Job(work, client, replaces, goes_first, self._limits, loop, self._unread)
        with self._changed:
            if self._closed:
                raise Refusal("stopped", 503)
            if self.is_stuck:
                raise Refusal("stuck", 503)
            if replaces:
                self._stop_replaced(client, replaces, after)
            if len(self._waiting) >= self._limits.waiting:
                self._make_room(client)
            self._waiting.add(job)
            self._changed.notify()
        return job

    async def result(
        self,
        work: Callable[[Job[T]], T],
        client: str,
        replaces: str = "",
        *,
        goes_first: bool = False,
    ) -> T:
        """Return the result of work when its turn has come and gone; raise its error."""
        job = self.submit(work, client, replaces, goes_first=goes_first)
        events = job.events()
        try:
            async for kind, value in events:
                if kind == "error":
                    raise value
                if kind == "result":
                    break
        finally:
            await events.aclose()
        result: T = value
        return result

    def end(self) -> None:
        """Stop the work in hand, and refuse what waits and what comes."""
        with self._changed:
            self._closed = True
            for job in list(self._waiting):
                self._waiting.remove(job)
                job.refuse(Refusal("stopped", 503))
            if self._current:
                self._current.stop()
            self._changed.notify()

    def close(self) -> None:
        """End the work, and wait for the thread, unless its work cannot be stopped."""
        self.end()
        self._thread.join(_END_SECONDS)

    def _stop_replaced(self, client: str, replaces: str, after: Job[Any] | None) -> None:
        """Stop the jobs of a client that have a name.

        Raises:
            Refusal: The one that comes goes on with the work of one that was replaced.
        """
        same = [each for each in self._waiting.of(client) if each.replaces == replaces]
        current = self._current
        if current and (current.client, current.replaces) != (client, replaces):
            current = None
        if after and (same or current not in (None, after)):
            raise Refusal("stopped", 409)
        for other in same:
            self._waiting.remove(other)
            other.refuse(Refusal("stopped", 409))
        if current:
            current.stop()

    def _make_room(self, client: str) -> None:
        """Refuse a job of whoever has most waiting.

        Raises:
            Refusal: It is the one that comes.
        """
        busy = Refusal("busy", 503, waiting=len(self._waiting))
        other = self._waiting.makes_room_for(client)
        if other is None:
            raise busy
        self._waiting.remove(other)
        other.refuse(busy)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            waited = job.waited
            error = job.run()
            self._watcher(waited, self.seconds_at_work, error)
            with self._changed:
                self._current, self._since = None, None
            del job, error  # it may hold a photo, and the next may be long in coming

    def _next(self) -> Job[Any] | None:
        """Return the next job, when there is one; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                self._current = self._waiting.next()
                if self._current is not None:
                    self._since = time.monotonic()
                    return self._current
                self._changed.wait()
            return None
