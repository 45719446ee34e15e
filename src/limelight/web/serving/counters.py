"""What supervisors watch: requests, refusals, time in the queue and at work, and what is held."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from limelight.web.serving.asgi import Application, Message, Receive, Scope, Send
from limelight.web.serving.refusals import ERROR_HEADER, refused

#: The steps of the times, in seconds: a click is meant to take less than 0.15.
_STEPS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

#: What a figure is called, in words, and what it is now.
Figures = Mapping[str, tuple[str, Callable[[], float]]]


class Counters:
    """The figures of one page, in a registry of its own."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "limelight_requests",
            "Requests, by address and HTTP status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._refusals = Counter(
            "limelight_refusals",
            "Requests that were answered with an error, by its code.",
            ("code",),
            registry=self._registry,
        )
        self._answering = Histogram(
            "limelight_request_seconds",
            "Seconds from a request to the end of its answer, by address.",
            ("route",),
            buckets=_STEPS,
            registry=self._registry,
        )
        self._waiting = Histogram(
            "limelight_queue_seconds",
            "Seconds that work waited for the networks.",
            buckets=_STEPS,
            registry=self._registry,
        )
        self._working = Histogram(
            "limelight_work_seconds",
            "Seconds that work kept the networks, by how it ended: ok, or the code of its error.",
            ("ending",),
            buckets=_STEPS,
            registry=self._registry,
        )

    def count_job(self, waited: float, worked: float, error: BaseException | None) -> None:
        """Count work of the queue: how long it waited and took, and its error, if any."""
        ending = "ok"
        if error is not None:
            known = error if isinstance(error, Exception) else RuntimeError()
            ending = refused(known, "en")[1]["error"]["code"]
        self._waiting.observe(waited)
        self._working.labels(ending).observe(worked)

    def count_request(
        self, method: str, route: str, status: int, code: str, seconds: float
    ) -> None:
        """Count a request: its address, status, the code of its error ("" for none), and time."""
        self._requests.labels(method, route, str(status)).inc()
        self._answering.labels(route).observe(seconds)
        if code:
            self._refusals.labels(code).inc()

    def text(self, figures: Figures) -> bytes:
        """Return all counters as Prometheus reads them, and other figures beside them.

        Args:
            figures: The figures that are not counted but asked for, by their names.
        """
        now = CollectorRegistry()
        now.register(_Figures(figures))
        return generate_latest(self._registry) + generate_latest(now)


class _Figures:
    """Figures as a registry of Prometheus asks for them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures as they are now."""
        for name, (words, read) in self._figures.items():
            yield GaugeMetricFamily(f"limelight_{name}", words, value=read())


class Counted:
    """Counts requests, around the guard and the page."""

    def __init__(self, guarded: Application, counters: Counters) -> None:
        """Stand before the guard."""
        self._guarded, self._counters = guarded, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http":
            await self._guarded(scope, receive, send)
            return
        started, status, code = time.monotonic(), 500, ""

        async def send_on(message: Message) -> None:
            nonlocal status, code
            if message["type"] == "http.response.start":
                status = message["status"]
                code = dict(message.get("headers", ())).get(ERROR_HEADER.encode(), b"").decode()
            await send(message)

        try:
            await self._guarded(scope, receive, send_on)
        finally:
            seconds = time.monotonic() - started
            method, route = _known_method(scope["method"]), _route(scope)
            self._counters.count_request(method, route, status, code, seconds)


def _known_method(method: str) -> str:
    """Return a method of HTTP; "other" for what a client made up, which would fill the counters."""
    return method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT") else "other"


def _route(scope: Scope) -> str:
    """Return the address with its places left open, as in /api/photos/{photo_id}; "" for none."""
    return str(getattr(scope.get("route"), "path", ""))
