"""The web application: routes, errors and the guard around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from limelight.errors import LimelightError
from limelight.plain import visible
from limelight.version import __version__
from limelight.web.replies import ERRORS
from limelight.web.routes import (
    ask,
    documents,
    maps,
    out,
    page,
    photos,
    probes,
    programs,
    trust,
)
from limelight.web.routes.asked import asked_language
from limelight.web.serving.asgi import Application
from limelight.web.serving.counters import Counted
from limelight.web.serving.guard import Guard
from limelight.web.serving.page_state import PageState
from limelight.web.serving.refusals import ERROR_HEADER, Refusal, refused

_log = logging.getLogger(__name__)

#: The most letters that are told of what was wrong in a request: it may name fields of its own.
_MOST_TOLD = 400


def build_application(
    state: PageState, when_ready: Callable[[], None] | None = None
) -> Application:
    """Return the page and its API as an ASGI application, behind its guard.

    Args:
        state: What all requests share.
        when_ready: Called once requests can be answered.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_page: FastAPI) -> AsyncIterator[None]:
        dropping = asyncio.create_task(state.drop_idle())
        if when_ready:
            when_ready()
        yield
        dropping.cancel()
        state.close()

    application = FastAPI(
        title="limelight",
        version=__version__,
        summary="See what a neural network looked at.",
        lifespan=lifespan,
        docs_url=None,  # it would ask for scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.page = state
    of_photos = (photos, maps, probes, trust, ask, out)
    for room in (page, *of_photos, documents, programs):
        application.include_router(room.router, responses=ERRORS)
    application.mount("/static", page.static_files(), name="static")
    for kind in (LimelightError, HTTPException, RequestValidationError, Exception):
        application.add_exception_handler(kind, _answer_error)
    return Counted(Guard(application, state.settings), state.counters)


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an error by its code and a sentence in the reader's language."""
    headers = None
    if isinstance(error, RequestValidationError):
        error = Refusal("invalid", 422, problem=_problems(error.errors()))
    elif isinstance(error, HTTPException):
        headers = error.headers
        error = _refusal(error)
    elif not isinstance(error, LimelightError | ClientDisconnect):
        _log.error("A request failed", exc_info=error)
    status, body = refused(error, asked_language(request))
    code = {ERROR_HEADER: body["error"]["code"]}
    return JSONResponse(body, status, {**(headers or {}), **code})


def _refusal(error: HTTPException) -> Refusal:
    """Return what the framework refuses, as the page says it."""
    if isinstance(error.__cause__, Refusal):  # as one that came while the request arrived
        return error.__cause__
    code = {404: "no-such-address", 405: "no-such-method"}.get(error.status_code, "unreadable")
    return Refusal(code, error.status_code)


def _problems(found: Sequence[dict[str, Any]]) -> str:
    """Return what pydantic found wrong, each field with its problem."""
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:3])
    return visible(told)[:_MOST_TOLD]
