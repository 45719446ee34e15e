"""The guard: who may ask, how much may arrive, and what a browser may do with the answer.

It stands before everything else, as a plain ASGI application around the page.
"""

from __future__ import annotations

import asyncio
import logging
import re
from urllib.parse import parse_qs

from limelight.plain import visible
from limelight.web.serving.arrivals import Arrival, Arrivals
from limelight.web.serving.asgi import (
    Application,
    Message,
    Receive,
    Scope,
    Send,
    text_of,
    texts_of,
)
from limelight.web.serving.passwords import Passwords
from limelight.web.serving.refusals import ERROR_HEADER, Refusal, refused
from limelight.web.settings import PageSettings
from limelight.web.wording import asked_language

_log = logging.getLogger(__name__)

#: A host as a browser names it: a name or an address, and perhaps a port.
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)

#: The most letters of what is told of a header.
_MOST_TOLD = 80

#: What programs ask for without a password, so that a supervisor can.
_OPEN_TO_ALL = ("/health",)

#: Where answers for the page's own scripts and for programs are: nobody follows a link to them.
_FOR_PROGRAMS = "/api/"


class Guard:
    """Lets requests through to the page, or refuses them, and sets the headers of all answers."""

    def __init__(self, page: Application, settings: PageSettings) -> None:
        """Stand before a page."""
        self._page, self._settings = page, settings
        self._arrivals = Arrivals(settings.limits)
        self._passwords = Passwords(settings)
        self._headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._page(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer_http(scope, receive, send)
        else:  # the page has no web sockets
            await send({"type": "websocket.close", "code": 1008})

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, self._headers)
        arrival: Arrival | None = None
        try:
            self._check(scope)
            arrival = self._arrivals.begin(scope, receive)
            arrival.check_length()
            await self._ask_page(scope, arrival, answer)
        except Refusal as refusal:
            await answer.refuse(refusal, scope, arrival, self._settings)
        except Exception as error:  # whatever it is, the next request is to be answered
            if not answer.complete:
                _log.error("A request failed", exc_info=error)
                await answer.refuse(error, scope, arrival, self._settings)
        finally:
            if arrival is not None:
                arrival.end()

    async def _ask_page(self, scope: Scope, arrival: Arrival, answer: _Answer) -> None:
        """Let the page answer, until the client leaves."""
        page = asyncio.ensure_future(self._page(scope, arrival.receive, answer.send))
        leaving = asyncio.ensure_future(arrival.leaving())
        try:
            await asyncio.wait((page, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not (page.done() or answer.complete):
                page.cancel()  # which stops its work
            await asyncio.wait((page,))
        finally:
            leaving.cancel()
            page.cancel()
        if not page.cancelled():
            page.result()

    def _check(self, scope: Scope) -> None:
        """Refuse what is not meant for this page, or comes from another one, or from nobody known.

        Raises:
            Refusal: It is refused.
        """
        host = self._check_host(texts_of(scope, "host"))
        self._check_origin(scope, host)
        if scope["path"] not in _OPEN_TO_ALL:
            address = (scope.get("client") or ("",))[0]
            self._passwords.check(text_of(scope, "authorization"), address)

    def _check_host(self, hosts: list[str]) -> str:
        """Return the one host that a request is meant for, which is this page.

        Raises:
            Refusal: It is another.
        """
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or not self._settings.knows_host(found["name"].lower()):
            told = found["name"] if found else ", ".join(hosts)
            raise Refusal("host", 421, name=visible(told)[:_MOST_TOLD] or "''")
        return hosts[0].lower()

    def _check_origin(self, scope: Scope, host: str) -> None:
        """Refuse what another page asks for: a browser says which page asks.

        Raises:
            Refusal: Another page asks.
        """
        origins = [each.lower() for each in texts_of(scope, "origin")]
        own = {f"http://{host}", f"https://{host}"}
        if names := self._settings.names:  # behind a proxy that changes the host
            own |= {f"{kind}://{name.lower()}" for kind in ("http", "https") for name in names}
        for origin in origins:
            if origin not in own:
                raise Refusal("origin", 403, origin=visible(origin)[:_MOST_TOLD])
        # A link to the page may be followed, and a notebook holds the page in a frame.
        to_open = (
            scope["method"] in ("GET", "HEAD")
            and text_of(scope, "sec-fetch-mode") == "navigate"
            and not scope["path"].startswith(_FOR_PROGRAMS)
        )
        if text_of(scope, "sec-fetch-site") not in ("", "none", "same-origin") and not to_open:
            raise Refusal("origin", 403, origin="another site")


class _Answer:
    """What a request is answered with, as it is sent.

    Attributes:
        begun: Whether its first line was sent.
        complete: Whether all of it was sent.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        """Nothing is sent yet."""
        self._send, self._headers = send, headers
        self.begun = self.complete = False

    async def send(self, message: Message) -> None:
        """Send a part, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.begun = True
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            added = [pair for pair in self._headers if pair[0] not in names]
            message = {**message, "headers": [*given, *added]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    async def refuse(
        self, error: Exception, scope: Scope, arrival: Arrival | None, settings: PageSettings
    ) -> None:
        """Answer a request that is refused, or whose work failed.

        Raises:
            Exception: The error, if an answer has begun: the server then ends the connection.
        """
        from starlette.responses import JSONResponse

        if self.begun:
            raise error
        if arrival is not None:
            await arrival.read_on()
        named = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [""])[-1]
        language = asked_language(named, text_of(scope, "accept-language"), settings.language)
        status, body = refused(error, language)
        # What else the client sends is not read, so the connection cannot be used again.
        headers = {"connection": "close", ERROR_HEADER: body["error"]["code"]}
        if status == 401:
            headers["www-authenticate"] = 'Basic realm="limelight", charset="UTF-8"'
        elif status in (408, 429, 503):
            headers["retry-after"] = "10"

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await JSONResponse(body, status, headers)(scope, nothing, self.send)


def _headers(settings: PageSettings) -> list[tuple[bytes, bytes]]:
    """Return what every answer says about itself, unless it says otherwise."""
    framed_by = " ".join(("'self'", *settings.framed_by))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; frame-src 'self'; manifest-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {framed_by}"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "cache-control": "no-store",
    }
    return [(name.encode(), text.encode()) for name, text in headers.items()]
