"""The types of ASGI, by which server, guard and page speak to each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def texts_of(scope: Scope, name: str) -> list[str]:
    """Return the texts of a header of a request; none if it is not there."""
    wanted = name.encode()
    return [text.decode("latin-1") for key, text in scope["headers"] if key == wanted]


def text_of(scope: Scope, name: str) -> str:
    """Return the text of a header of a request, the last if it is there twice; "" for none."""
    return (texts_of(scope, name) or [""])[-1]
