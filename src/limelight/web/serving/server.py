"""The server: how many may connect, how long they may take, and how it ends with work in hand."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from limelight.web.serving.asgi import Application
from limelight.web.serving.work_queue import WorkQueue
from limelight.web.settings import PageSettings

#: How many connections may be open, and how many may wait to be.
_MOST_CONNECTIONS, _MOST_WAITING = 256, 128

#: The most bytes of the first line and the headers of a request.
_MOST_HEADER_BYTES = 16_384

#: How long a connection stays open between requests; how long the headers of one may take to
#: arrive; how long an answer may go unread; and how long answers have at the end; in seconds.
_IDLE_SECONDS, _HEADER_SECONDS, _UNREAD_SECONDS, _END_SECONDS = 15, 20.0, 60.0, 3


def uvicorn_config(application: Application, settings: PageSettings) -> uvicorn.Config:
    """Return how the page is served: bounded, in one process, telling nothing of itself.

    Headers in which a proxy says for whom it asks are not believed: anybody can write them.
    """
    return uvicorn.Config(
        application,  # uvicorn's types name each message
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http=PatientProtocol,
        ws="none",
        interface="asgi3",
        lifespan="on",
        workers=1,
        log_level="warning",
        access_log=False,  # it would tell the ids of photos, by which anybody can ask for them
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=_MOST_WAITING,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
    )


class EndingServer(uvicorn.Server):
    """A server that stops the work in hand when it ends, so that no answer is waited for."""

    def __init__(self, config: uvicorn.Config, queue: WorkQueue) -> None:
        """Serve what stands before a queue."""
        super().__init__(config)
        self._queue = queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: whoever waits is told, then connections are closed."""
        self._queue.end()
        await super().shutdown(sockets)


class PatientProtocol(H11Protocol):
    """A connection that is cut when its requests do not arrive, or its answers are not read.

    uvicorn itself waits for both as long as it takes, and so a few hundred silent connections would
    keep all others out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nothing yet."""
        super().__init__(*args, **kwargs)
        self._until_request: asyncio.TimerHandle | None = None
        self._until_read: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        super().data_received(data)
        self._wait_for_request()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        for waiting in (self._until_request, self._until_read):
            if waiting is not None:
                waiting.cancel()

    def pause_writing(self) -> None:
        """Wait for the answer to be read."""
        super().pause_writing()
        self._until_read = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait for that no longer."""
        super().resume_writing()
        if self._until_read is not None:
            self._until_read.cancel()
            self._until_read = None

    def _wait_for_request(self) -> None:
        """Cut the connection in a while if no request is there by then.

        What arrives in bits does not prolong it, nor does what is left of a request that was
        answered before it was complete.
        """
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.is_closing():
            if self._until_request is not None:
                self._until_request.cancel()
                self._until_request = None
        elif self._until_request is None:
            self._until_request = self.loop.call_later(_HEADER_SECONDS, self.transport.abort)
