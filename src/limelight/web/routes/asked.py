"""What every route takes from a request: the state of the page, the language, the client."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from limelight.translations.languages import Language
from limelight.web import wording
from limelight.web.serving.page_state import PageState

#: The header in which a page names itself, so that two pages of one machine are two clients.
CLIENT_HEADER = "x-limelight-client"

#: The most letters of that name.
_MOST_LETTERS = 40


def _state(request: Request) -> PageState:
    state: PageState = request.app.state.page
    return state


def asked_language(request: Request) -> Language:
    """Return the language that a request asks for: by `?lang=`, or else by its header."""
    named, accepted = (
        request.query_params.get("lang", ""),
        request.headers.get("accept-language", ""),
    )
    return wording.asked_language(named, accepted, _state(request).settings.language)


def _client(request: Request) -> str:
    """Return who asks: the address, and after a space the name that a page gives itself."""
    address = request.client.host if request.client else ""
    return f"{address} {request.headers.get(CLIENT_HEADER, '')[:_MOST_LETTERS]}"


State = Annotated[PageState, Depends(_state)]
AskedLanguage = Annotated[Language, Depends(asked_language)]
Client = Annotated[str, Depends(_client)]
