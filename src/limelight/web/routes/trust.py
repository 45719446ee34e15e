"""How far a map can be trusted: a quick check, a table of metrics, and why a map is blank."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from limelight.web.answers.checks import check_map
from limelight.web.answers.faithfulness import (
    find_metrics,
    measure_faithfulness,
    offered_metrics,
)
from limelight.web.answers.instead import instead
from limelight.web.replies import (
    CheckReply,
    InsteadReply,
    MetricsReply,
    json_reply,
    line_replies,
)
from limelight.web.requests import CheckRequest, FaithfulnessRequest, MapRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.turns import Turns, result_in_turns, streamed_in_turns

router = APIRouter(tags=["trust"])


@router.get("/api/metrics", responses=json_reply(MetricsReply))
async def metrics(language: AskedLanguage) -> dict[str, Any]:
    """The metrics by which a map of one photo can be measured."""
    return {"metrics": offered_metrics(language)}


@router.post("/api/photos/{photo_id}/check", responses=json_reply(CheckReply))
async def quick_check(
    photo_id: str, asked: CheckRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """What is left of the score when the hottest fifth is blurred away, beside chance and centre.

    `own` is null for a map that shows nothing.
    """
    stored = state.photos.get(photo_id)

    def work(turns: Turns) -> dict[str, Any]:
        found = state.look(stored, asked)
        return check_map(found, asked, turns.check, language)

    turns = Turns(work, state.settings.limits)
    return await result_in_turns(state.queue, turns, client, asked.replaces)


@router.post(
    "/api/photos/{photo_id}/faithfulness",
    response_class=StreamingResponse,
    responses=line_replies(
        {"progress": {"task": "insertion", "done": 8, "total": 99, "number": 0, "count": 3}},
        {"row": {"metric": "insertion", "own": 0.6, "random": 0.4, "centre": 0.5}},
        {"done": {"rows": [], "judged": 3, "won": 2}},
    ),
)
async def faithfulness(
    photo_id: str, asked: FaithfulnessRequest, state: State, client: Client, language: AskedLanguage
) -> StreamingResponse:
    """A map measured by metrics, as lines of JSON.

    `{"progress": {...}}` while the network runs, `{"row": {...}}` for each metric, and
    `{"done": {...}}` with all rows. Whoever leaves stops it.
    """
    stored = state.photos.get(photo_id)
    find_metrics(asked.metrics)  # an unknown one is refused before anything is sent

    def work(turns: Turns) -> dict[str, Any]:
        found = state.look(stored, asked)
        return measure_faithfulness(found, asked, turns, language)

    turns = Turns(work, state.settings.limits)
    return streamed_in_turns(state.queue, turns, client, asked.replaces, language)


@router.post("/api/photos/{photo_id}/instead", responses=json_reply(InsteadReply))
async def next_steps(
    photo_id: str, asked: MapRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """The next steps for a map that shows nothing; each of them leads to a map that does."""
    stored = state.photos.get(photo_id)

    def work(turns: Turns) -> dict[str, Any]:
        found = state.look(stored, asked)
        return instead(found, asked, turns.check, language)

    turns = Turns(work, state.settings.limits)
    return await result_in_turns(state.queue, turns, client, "instead")
