"""What a network answers about a photo, and the maps of it."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from limelight.errors import LimelightError
from limelight.web.answers.looks import look_as_dict, unasked_as_dict
from limelight.web.answers.maps import map_as_dict
from limelight.web.replies import LookReply, json_reply, line_replies
from limelight.web.requests import LookRequest, MapsRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.refusals import Refusal, refused
from limelight.web.serving.streams import streamed
from limelight.web.serving.work_queue import Job

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/photos/{photo_id}", tags=["maps"])

#: Refusals of the whole request; others are of one map, and the others follow.
_END_ALL = ("stopped", "out-of-time", "out-of-memory")


@router.post("/look", responses=json_reply(LookReply))
async def look(
    photo_id: str, asked: LookRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """What the network answers, and which part of the photo it saw.

    `measure` says what the numbers of the answers are: each has a `probability` (a `share` of the
    pixels; none where the network has a single output) and a `score`. Of a detector there are
    `objects` too, each with its box in pixels of the photo.
    """
    stored = state.photos.get(photo_id)

    def work(_job: Job[dict[str, Any]]) -> dict[str, Any]:
        if state.networks.answers_questions(asked.network):
            model = state.networks.vision_language(asked.network)
            return unasked_as_dict(model, stored.size)
        served = state.networks.get(asked.network, asked.texts)
        return look_as_dict(state.looks.get(stored, served), language)

    return await state.queue.result(work, client, goes_first=True)  # maps are drawn in its box


@router.post(
    "/maps",
    response_class=StreamingResponse,
    responses=line_replies(
        {"number": 0, "map": {"label": "tabby", "score": 9.4, "method": "gradcam"}}, {"done": 1}
    ),
)
async def maps(
    photo_id: str, asked: MapsRequest, state: State, client: Client, language: AskedLanguage
) -> StreamingResponse:
    """Maps, one line of JSON for each as it is made: `{"map": {...}, "number": n}`.

    One that cannot be made is `{"number": n, "error": {...}}`, and the others follow. Between them
    come lines `{"progress": {"task", "done", "total"}}`; the last line is `{"done": n}`.
    """
    stored = state.photos.get(photo_id)

    def work(job: Job[dict[str, Any]]) -> dict[str, Any]:
        for number, one in enumerate(asked.maps):
            job.check()
            try:
                found = state.looks.get(stored, state.networks.get(one.network, one.texts))
                made = map_as_dict(found.explain(one, job.progress), asked.longest, language)
            except LimelightError as error:
                if isinstance(error, Refusal) and error.code in _END_ALL:
                    raise
                job.tell({"number": number, **refused(error, language)[1]})
            except RuntimeError as error:  # of the network or of torch: of this map alone
                _log.error("A map failed", exc_info=error)
                job.tell({"number": number, **refused(error, language)[1]})
            else:
                job.tell({"number": number, "map": made})
        return {"done": len(asked.maps)}

    job = state.queue.submit(work, client, asked.replaces, goes_first=asked.first)
    return streamed(job, language)
