"""The guard: who may ask, how much may arrive, and what a browser may do with the answer.

It stands before everything else, as a plain ASGI application around the page.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from limelight.web.serving.refusals import ERROR_HEADER, Refusal, refused
from limelight.web.settings import PageSettings
from limelight.web.wording import language_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: How long the next part of a request may take to arrive, in seconds.
_ARRIVAL_SECONDS = 30


#: How long an answer to a wrong password is held back, in seconds.
_WRONG_PASSWORD_SECONDS = 0.5


#: Fields and boundaries around the files of a request, in bytes.
_AROUND_FILES = 200_000

#: What programs ask for without a password, so that a supervisor can.
_OPEN_TO_ALL = ("/health",)


class Guard:
    """Lets requests through to the page, or refuses them, and sets the headers of all answers."""

    def __init__(self, page: Application, settings: PageSettings) -> None:
        """Stand before a page."""
        self._page, self._settings = page, settings
        limits = settings.limits
        self._most_bytes = limits.upload_bytes * limits.files + _AROUND_FILES
        self._headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._page(scope, receive, send)
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message.get("headers", ())}
                added = [pair for pair in self._headers if pair[0] not in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            await self._check(scope)
            await self._page(scope, self._counted(receive), send_on)
        except Refusal as refusal:
            if started:
                raise
            await _answer(refusal, scope, send_on, self._settings)

    async def _check(self, scope: Scope) -> None:
        """Refuse what is not meant for this page, or comes from another one, or from nobody known.

        Raises:
            Refusal: It is refused.
        """
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if not self._settings.knows_host(name):
            raise Refusal("host", 421, name=name or "''")
        origin = headers.get("origin")
        if origin is not None and origin != "null" and urlsplit(origin).netloc != host:
            raise Refusal("origin", 403, origin=origin)
        to_open = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        if origin == "null" or (headers.get("sec-fetch-site") == "cross-site" and not to_open):
            raise Refusal("origin", 403, origin=origin or "another site")
        authorization = headers.get("authorization", "")
        if not (scope["path"] in _OPEN_TO_ALL or self._knows(authorization)):
            if authorization:
                await asyncio.sleep(_WRONG_PASSWORD_SECONDS)
            raise Refusal("password", 401)
        if headers.get("content-length", "0").isdigit():
            self._check_bytes(int(headers.get("content-length", "0")))

    def _knows(self, authorization: str) -> bool:
        """Return whether a header of HTTP Basic authentication holds user and password, if any."""
        if self._settings.password is None:
            return True
        scheme, _, code = authorization.partition(" ")
        try:
            given = base64.b64decode(code, validate=True)
        except (binascii.Error, ValueError):
            return False
        expected = f"{self._settings.user}:{self._settings.password}".encode()
        return scheme.lower() == "basic" and secrets.compare_digest(given, expected)

    def _check_bytes(self, count: int) -> None:
        if count > self._most_bytes:
            most = self._settings.limits.upload_bytes
            raise Refusal("too-many-bytes", 413, most=f"{most / 1e6:.0f} MB")

    def _counted(self, receive: Receive) -> Receive:
        """Return what receives a request, as long as it is not too large and not too slow."""
        arrived, complete = 0, False

        async def receive_on() -> Message:
            nonlocal arrived, complete
            if complete:  # what comes now is that the client leaves, which may take long
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), _ARRIVAL_SECONDS)
            except TimeoutError:
                raise Refusal("too-slow", 408, seconds=_ARRIVAL_SECONDS) from None
            arrived += len(message.get("body", b""))
            self._check_bytes(arrived)
            complete = not message.get("more_body", False)
            return message

        return receive_on


async def _answer(refusal: Refusal, scope: Scope, send: Send, settings: PageSettings) -> None:
    """Answer a request that is refused."""
    from starlette.responses import JSONResponse

    accepted = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1")
    status, body = refused(refusal, language_of(accepted, settings.language))
    headers = {"www-authenticate": 'Basic realm="limelight"'} if status == 401 else {}
    # What else the client sends is not read, so the connection cannot be used again.
    headers |= {"connection": "close", ERROR_HEADER: body["error"]["code"]}

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await JSONResponse(body, status, headers)(scope, nothing, send)


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
