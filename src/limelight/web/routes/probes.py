"""Probes of a photo: a part painted over and the score read again; a cell and what it holds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from limelight.web.answers.cells import cell, looks_at
from limelight.web.answers.probes import probe
from limelight.web.replies import ProbeReply, json_reply, line_replies
from limelight.web.requests import CellRequest, ProbeRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.turns import Turns, streamed_in_turns
from limelight.web.serving.work_queue import Job

router = APIRouter(prefix="/api/photos/{photo_id}", tags=["probes"])


@router.post("/probe", responses=json_reply(ProbeReply))
async def probe_photo(
    photo_id: str, asked: ProbeRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """Score, probability and first answers before and after a part of the photo is painted over.

    `picture` is what the network sees then, WebP as base64; `share` is how much of it is painted.
    """
    stored = state.photos.get(photo_id)
    other = None if asked.other is None else state.photos.get(asked.other)

    def work(_job: Job[dict[str, Any]]) -> dict[str, Any]:
        found = state.look(stored, asked)
        return probe(found, asked, language, other)

    return await state.queue.result(work, client, asked.replaces)


@router.post(
    "/cell",
    response_class=StreamingResponse,
    responses=line_replies(
        {"cell": {"cell": [3, 2], "layer": "bn2", "value": 0.25, "channels": [{"channel": 977}]}},
        {"looks": {"centre": [188.3, 152.2], "spread": [50.9, 56.7], "energy": 0.2}, "why": None},
    ),
)
async def look_into_cell(
    photo_id: str, asked: CellRequest, state: State, client: Client, language: AskedLanguage
) -> StreamingResponse:
    """What the cell of a map under a point of the photo holds, as lines of JSON.

    The first, `{"cell": {...}}`, comes at once: its place, the map's value, its channels. The last,
    `{"looks": {...}, "why": null}`, says where the cell looks; it takes some twenty runs for the
    first cell of a layer. Where that is not known `looks` is null, and `why` says why.
    """
    stored = state.photos.get(photo_id)

    def work(turns: Turns) -> dict[str, Any]:
        found = state.look(stored, asked)
        turns.tell({"cell": cell(found, asked, turns.progress)})
        return looks_at(found, asked, turns.check)

    turns = Turns(work, state.settings.limits)
    return streamed_in_turns(state.queue, turns, client, asked.replaces, language)
