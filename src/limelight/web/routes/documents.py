"""Documents that the page shows in frames: how a map came to be, and the report of an audit.

limelight makes them with words of others in them, names of files and of classes; so they have an
origin of their own, and no access to the page.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, StreamingResponse

from limelight.web.answers.documents import audit_page, audit_pages, walk_through
from limelight.web.replies import AuditReply, json_reply, line_replies
from limelight.web.requests import WalkthroughRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.page_state import PageState
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.turns import Turns, streamed_in_turns

router = APIRouter(tags=["documents"])

_HTML: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}}
}


@router.post(
    "/api/photos/{photo_id}/walkthrough",
    response_class=StreamingResponse,
    responses=line_replies(
        {"progress": {"task": "gradcam", "done": 0, "total": 0}},
        {"document": "/documents/5Jm0wq3hVf2kQy8ZtB1xN7aE"},
    ),
)
async def walkthrough(
    photo_id: str, asked: WalkthroughRequest, state: State, client: Client, language: AskedLanguage
) -> StreamingResponse:
    """Make a document that shows how a map came to be; the last line has its address.

    The address is `{"document": "/documents/..."}`, at which the document is held for 15 minutes
    after it was last asked for; lines of progress come before it.
    """
    stored = state.photos.get(photo_id)

    def work(turns: Turns) -> dict[str, Any]:
        html = walk_through(state.look(stored, asked), asked, language, turns.progress)
        return {"document": f"/documents/{state.documents.add(html)}"}

    turns = Turns(work, state.settings.limits)
    return streamed_in_turns(state.queue, turns, client, asked.replaces, language)


@router.get("/api/audit", responses=json_reply(AuditReply))
async def audit(state: State) -> dict[str, Any]:
    """The pages of the audit that the page was started with, and their addresses."""
    folder = state.settings.audit
    if folder is None:
        raise Refusal("no-audit", 404)
    names = await run_in_threadpool(audit_pages, folder)
    return {"pages": [{"name": name, "address": f"/documents/audit/{name}"} for name in names]}


@router.get("/documents/audit", response_class=Response, responses=_HTML)
async def audit_report(state: State) -> HTMLResponse:
    """The report of the audit that the page was started with."""
    return await _audit_document(state, "report")


@router.get("/documents/audit/{name}", response_class=Response, responses=_HTML)
async def audit_document(name: Literal["report", "difference"], state: State) -> HTMLResponse:
    """A page of the audit that the page was started with."""
    return await _audit_document(state, name)


@router.get("/documents/{name}", response_class=Response, responses=_HTML)
async def document(name: str, state: State) -> HTMLResponse:
    """A document that was made a short while ago."""
    return _framed(state.documents.get(name), state)


async def _audit_document(state: PageState, name: str) -> HTMLResponse:
    folder = state.settings.audit
    if folder is None:
        raise Refusal("no-audit", 404)
    return _framed(await run_in_threadpool(audit_page, folder, name), state)


def _framed(html: str, state: PageState) -> HTMLResponse:
    """Answer with a document that may run its own script, and neither ask nor read anything."""
    framed_by = " ".join(("'self'", *state.settings.framed_by))
    policy = (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
        f"style-src 'unsafe-inline'; img-src data:; frame-ancestors {framed_by}"
    )
    return HTMLResponse(
        html.encode(errors="backslashreplace"), headers={"content-security-policy": policy}
    )
