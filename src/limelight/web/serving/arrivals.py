"""Requests as they arrive: how large, how fast, how many bytes at once, and whether one leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from limelight.web.serving.asgi import Message, Receive, Scope, text_of
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits

#: How long a request may take to arrive, in seconds, and one more for each of these bytes.
_PATIENCE, _BYTES_A_SECOND = 30.0, 50_000

#: Fields and boundaries around the files of a request, in bytes.
_AROUND_FILES = 200_000

#: The most bytes of a request that sends no file, such as JSON.
_MOST_WITHOUT_FILES = 2_000_000

#: How many of the largest requests may be arriving or in work at the same time.
_LARGEST_AT_ONCE = 2

#: How much of a request that is refused is read for the sender to hear the answer, in bytes and
#: seconds: who still sends does not listen.
_READ_ON, _READ_ON_SECONDS = 64_000_000, 10.0

#: Where a request's scope holds its arrival.
_KEY = "limelight.arrival"


class Arrivals:
    """All requests that arrive, or are being answered."""

    def __init__(self, limits: Limits) -> None:
        """Begin without any."""
        self.limits = limits
        self.bytes = 0
        self.most = _LARGEST_AT_ONCE * _most_bytes(limits, limits.files)

    def begin(self, scope: Scope, receive: Receive) -> Arrival:
        """Return a request that begins to arrive."""
        scope[_KEY] = arrival = Arrival(self, scope, receive)
        return arrival


class Arrival:
    """One request that arrives.

    Attributes:
        most: How many bytes it may have.
    """

    def __init__(self, arrivals: Arrivals, scope: Scope, receive: Receive) -> None:
        """Bound it by what it says that it holds."""
        self._all, self._receive = arrivals, receive
        self.most = _most_for(text_of(scope, "content-type"), arrivals.limits)
        self._bytes = 0
        self._left = asyncio.Event()
        self._complete = asyncio.Event()
        self._waits_to_send = text_of(scope, "expect") != ""
        self._first: Message | None = None
        self._begun = asyncio.get_running_loop().time()
        self._has_body = bool(
            text_of(scope, "content-length").strip("0 ") or text_of(scope, "transfer-encoding")
        )
        self._length = text_of(scope, "content-length")

    def check_length(self) -> None:
        """Refuse a request that says itself that it is too large.

        Raises:
            Refusal: It does.
        """
        if self._length.isascii() and self._length.isdigit():  # else the server has refused it
            self._check(int(self._length[:20]))

    def expect_files(self, count: int) -> None:
        """Let it hold so many files at the most.

        Raises:
            Refusal: It says itself that it is larger.
        """
        self.most = min(self.most, _most_bytes(self._all.limits, count))
        self.check_length()

    async def receive(self) -> Message:
        """Receive the next part of the request, or that the client has left.

        Raises:
            Refusal: It is too large or too slow, or too much arrives at once.
        """
        if not self._has_body:  # `leaving` receives its only part
            await self._complete.wait()
            if self._first is not None:
                first, self._first = self._first, None
                return first
        if self._complete.is_set():
            await self._left.wait()
            return {"type": "http.disconnect"}
        loop = asyncio.get_running_loop()
        end = self._begun + _PATIENCE + self._bytes / _BYTES_A_SECOND
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, end - loop.time()))
        except TimeoutError:
            seconds = round(end - self._begun)
            raise Refusal("too-slow", 408, seconds=seconds) from None
        arrived = len(message.get("body", b""))
        self._bytes += arrived
        self._all.bytes += arrived
        if not message.get("more_body", False):
            self._complete.set()
        self._check(self._bytes)
        if self._all.bytes > self._all.most:
            raise Refusal("too-much-at-once", 503)
        return message

    async def leaving(self) -> None:
        """Return once the client has left, without waiting for the answer."""
        if self._has_body:
            await self._complete.wait()
        else:  # it is complete, and this is told first
            self._first = await self._receive()
            self._complete.set()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()

    async def read_on(self) -> None:
        """Read what still comes of a request that is refused, so that its sender hears the answer.

        Nothing of it is kept. Who sends more than a little is not waited for.
        """
        if self._waits_to_send or self._complete.is_set() or not self._has_body:
            return
        read = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_READ_ON_SECONDS):
                while read < _READ_ON:
                    message = await self._receive()
                    read += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        self._complete.set()
                        return

    def end(self) -> None:
        """Count its bytes no longer."""
        self._all.bytes -= self._bytes
        self._bytes = 0

    def _check(self, count: int) -> None:
        if count > self.most:
            most = min(self.most, self._all.limits.upload_bytes)
            raise Refusal("too-many-bytes", 413, most=f"{most / 1e6:.0f} MB")


def expect_files(scope: Scope, count: int) -> None:
    """Let a request hold so many files at the most, in place of as many as any may hold.

    Raises:
        Refusal: It says itself that it is larger.
    """
    arrival: Arrival | None = scope.get(_KEY)
    if arrival is not None:
        arrival.expect_files(count)


def _most_for(content_type: str, limits: Limits) -> int:
    """Return how many bytes a request of a type may have."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _most_bytes(limits, limits.files)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _most_bytes(limits, 1)
    return min(_MOST_WITHOUT_FILES, _most_bytes(limits, 1))


def _most_bytes(limits: Limits, files: int) -> int:
    return limits.upload_bytes * files + _AROUND_FILES
