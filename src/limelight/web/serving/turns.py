"""Long work in the queue, in slices: between two of them, what else waits has its turn."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

from starlette.responses import StreamingResponse

from limelight.plain import as_json
from limelight.progress import ProgressCallback
from limelight.translations.languages import Language
from limelight.web.serving.refusals import Refusal, refused
from limelight.web.serving.streams import LINES
from limelight.web.serving.work_queue import Job, WorkQueue
from limelight.web.settings import Limits

#: How long one slice is, in seconds; a run of the network is not cut in two.
_SLICE_SECONDS = 0.05

Event = dict[str, Any]


class Turns:
    """Long work that gives way to others at every step.

    It runs in a thread of its own, which goes on only while a job of the queue waits for it: so
    the networks are still used by one thread at a time. At its steps it calls `check`.
    """

    def __init__(self, work: Callable[[Turns], Event], limits: Limits) -> None:
        """Prepare; the work begins with its first turn.

        Args:
            work: What is done; it returns the last event.
            limits: How long it may take in all, others' turns not counted.
        """
        self._work, self._limits = work, limits
        self._go_on, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="limelight-turns", daemon=True)
        self._job: Job[Event | None] | None = None
        self._until, self._taken = 0.0, 0.0
        self._result: Event | None = None
        self._error: BaseException | None = None
        self._stopped = False

    def take(self, job: Job[Event | None]) -> Event | None:
        """Go on for one slice, in the queue's turn; return the last event, or None before it.

        Raises:
            BaseException: What the work raised.
        """
        if self._taken > self._limits.seconds:
            raise Refusal("out-of-time", 503, seconds=round(self._limits.seconds))
        begun = time.monotonic()
        self._job, self._until = job, begun + _SLICE_SECONDS
        if not self._thread.ident:
            self._thread.start()
        self._go_on.release()
        self._paused.acquire()
        self._taken += time.monotonic() - begun
        if self._error is not None:
            raise self._error
        return self._result

    def check(self) -> None:
        """Give way if the slice is over, and end the work if nobody waits for it any more.

        Raises:
            Refusal: Nobody does.
        """
        assert self._job is not None  # the work runs in its turns alone
        self._job.check()
        if time.monotonic() >= self._until and not self._stopped:
            self._paused.release()
            self._go_on.acquire()
        if self._stopped:
            raise Refusal("stopped", 409)

    def tell(self, event: Event) -> None:
        """Send an event to whoever waits."""
        assert self._job is not None
        self._job.tell(event)

    @property
    def progress(self) -> ProgressCallback:
        """What `explain` and its like report to."""
        return self._progress

    def _progress(self, task: str, done: int, total: int) -> None:
        assert self._job is not None
        self._job.progress(task, done, total)
        self.check()

    def stop(self) -> None:
        """Let the work end where it gave way."""
        self._stopped = True
        self._go_on.release()

    def _run(self) -> None:
        self._go_on.acquire()
        try:
            if not self._stopped:
                self._result = self._work(self)
        except BaseException as error:  # whatever it is, whoever waits must hear of it
            error.__traceback__ = None  # it would keep the tensors of the pass
            self._error = error
        self._paused.release()


async def told_in_turns(
    queue: WorkQueue,
    turns: Turns,
    client: str,
    replaces: str,
    first: Job[Event | None] | None = None,
) -> AsyncIterator[Event]:
    """Yield what long work tells, and its last event; raise its error.

    `first` is the job of its first turn, if it waits already.
    """
    try:
        job = first or queue.submit(turns.take, client, replaces)
        while True:
            async for kind, value in job.events():
                if kind == "error":
                    raise value
                if value is not None:
                    yield value
            if kind == "result" and value is not None:
                return
            job = queue.submit(turns.take, client, replaces, after=job)
    finally:
        turns.stop()


def streamed_in_turns(
    queue: WorkQueue,
    turns: Turns,
    client: str,
    replaces: str,
    language: Language,
    alone: asyncio.Lock | None = None,
) -> StreamingResponse:
    """Answer with what long work tells, line by line, as `streamed`, and let others in between.

    Args:
        queue: The queue.
        turns: The work.
        client, replaces: As in `WorkQueue.submit`.
        language: The language of errors.
        alone: What work of this kind holds from its beginning to its end; None for any at a time.

    Raises:
        Refusal: Too many jobs wait already.
    """
    first = None if alone else queue.submit(turns.take, client, replaces)

    async def lines() -> AsyncIterator[str]:
        try:
            async with alone or nullcontext():
                async for event in told_in_turns(queue, turns, client, replaces, first):
                    yield as_json(event) + "\n"
        except Exception as error:
            yield as_json(refused(error, language)[1]) + "\n"

    return StreamingResponse(lines(), media_type=LINES)


async def result_in_turns(queue: WorkQueue, turns: Turns, client: str, replaces: str) -> Event:
    """Return the last event of long work, and let others in between.

    Raises:
        Exception: What the work raised.
    """
    first = queue.submit(turns.take, client, replaces)
    events = [event async for event in told_in_turns(queue, turns, client, replaces, first)]
    return events[-1]
