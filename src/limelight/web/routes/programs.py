"""The API for programs: photos in, JSON or a picture out; and what supervisors ask."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import JSONResponse

from limelight.errors import LimelightError
from limelight.plain import as_json
from limelight.web.answers.programs import SentPhoto, explain_sent, outcome_as_dict, picture_of
from limelight.web.replies import ExplainReply, HealthReply, form_of, json_reply
from limelight.web.requests import ExplainFields
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.routes.photos import sent_photos
from limelight.web.serving.counters import Figures
from limelight.web.serving.work_queue import Job
from limelight.web.subjects.uploads import shown_name

router = APIRouter(tags=["programs"])

#: The network is stuck when one request has kept it for so many times as long as it may.
_STUCK = 2

_PNG: dict[str, Any] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/api/explain",
    response_class=Response,
    responses={200: {**json_reply(ExplainReply)[200], "content": _PNG}},
    openapi_extra=form_of(ExplainFields, several=True),
)
async def explain(
    request: Request, state: State, client: Client, language: AskedLanguage
) -> Response:
    """Explain photos, sent as the files `photo` of a form, which go through the network together.

    The answer is JSON with all photos in their order; one that cannot be read or explained has an
    `error`, and the others go on. With `format=png`, or `Accept: image/png`, it is the picture of
    one photo.
    """
    limits = state.settings.limits
    async with request.form(max_files=limits.files + 1, max_fields=50) as form:
        fields = _fields(form, request.headers.get("accept", ""))
        as_png = fields.format == "png"
        enough = limits.upload_bytes + 1  # to be told that one is too large
        sent = [
            SentPhoto(shown_name(each.filename or ""), partial(each.file.read, enough))
            for each in sent_photos(form, most=1 if as_png else limits.files)
        ]

        def work(job: Job[bytes]) -> bytes:
            served = state.networks.get(fields.network, fields.texts)
            outcomes = explain_sent(sent, served, fields, limits, job.progress)
            if as_png:
                (outcome,) = outcomes
                if isinstance(outcome, LimelightError):
                    raise outcome
                return picture_of(outcome, fields)
            photos = []
            for each, outcome in zip(sent, outcomes, strict=True):
                job.check()
                photos.append(outcome_as_dict(each.name, outcome, served, fields, language))
            return as_json({"network": served.network.name, "photos": photos}).encode()

        answer = await state.queue.result(work, client)
    return Response(answer, media_type="image/png" if as_png else "application/json")


@router.get("/health", responses=json_reply(HealthReply) | {503: {"model": HealthReply}})
async def health(state: State) -> JSONResponse:
    """Whether the page can do its work, for supervisors; no password is asked for."""
    queue = state.queue
    seconds = queue.seconds_at_work
    is_stuck = seconds > _STUCK * state.settings.limits.seconds
    status = "stopped" if not queue.running else "stuck" if is_stuck else "ok"
    facts = {
        "status": status,
        "waiting": queue.length,
        "seconds": round(seconds, 3),
        "networks": len(state.networks.names),
    }
    return JSONResponse(facts, 200 if status == "ok" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(state: State) -> Response:
    """Requests, refusals, time in the queue and at work, and what is held, for Prometheus."""
    figures: Figures = {
        "queue_length": ("Requests that wait for the networks.", lambda: state.queue.length),
        "photos": ("Photos that are held.", lambda: len(state.photos)),
        "photo_bytes": ("Bytes of the photos that are held.", lambda: state.photos.taken),
        "look_bytes": ("Bytes of passes of networks that are held.", lambda: state.looks.taken),
        "documents": ("Documents that are held.", lambda: len(state.documents)),
        "networks_loaded": ("Networks in memory.", lambda: len(state.networks.names)),
    }
    text = await run_in_threadpool(state.counters.text, figures)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _fields(form: FormData, accepted: str) -> ExplainFields:
    """Return the fields of a form.

    Raises:
        RequestValidationError: One is not known, or has a value that it cannot have.
    """
    given: dict[str, Any] = {name: text for name, text in form.items() if isinstance(text, str)}
    if "texts" in form:
        given["texts"] = form.getlist("texts")
    if "image/png" in accepted:
        given.setdefault("format", "png")
    try:
        return ExplainFields.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
