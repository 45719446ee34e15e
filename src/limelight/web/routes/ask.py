"""Questions about a photo, to models that answer in words; every word has a map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from limelight.photos.raster import Photo
from limelight.vision_language.explained_answer import ExplainedAnswer
from limelight.vision_language.pipeline import ask as ask_about
from limelight.vision_language.pipeline import caption
from limelight.web.answers.sentences import answer_as_dict
from limelight.web.replies import line_replies
from limelight.web.requests import AskRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.streams import streamed
from limelight.web.serving.work_queue import Job
from limelight.web.subjects.networks import ServedNetworks

router = APIRouter(prefix="/api/photos/{photo_id}", tags=["words"])


@router.post(
    "/ask",
    response_class=StreamingResponse,
    responses=line_replies(
        {"progress": {"task": "token-activation", "done": 1, "total": 4}},
        {"answer": "a cat", "words": [{"text": "cat"}], "document": "/documents/5Jm0wq3hVf2kQy8Z"},
    ),
)
async def ask(
    photo_id: str, asked: AskRequest, state: State, client: Client, language: AskedLanguage
) -> StreamingResponse:
    """Ask a model about the photo; without a question it describes the photo.

    Lines of JSON come: `{"progress": {"task", "done", "total"}}`, and last the `answer` with its
    `words`, each with its text, its probability with the picture and without, and its `map` over
    the whole photo; `document` is the address of the answer as a page of its own.
    """
    stored = state.photos.get(photo_id)

    def work(job: Job[dict[str, Any]]) -> dict[str, Any]:
        explained = replace(
            _asked(state.networks, stored.photo, asked, job), photo_names=(stored.name,)
        )
        return {
            **answer_as_dict(explained, asked.longest, language),
            "document": f"/documents/{state.documents.add(explained.html(language=language))}",
        }

    return streamed(state.queue.submit(work, client, asked.replaces), language)


def _asked(
    networks: ServedNetworks, photo: Photo, asked: AskRequest, job: Job[dict[str, Any]]
) -> ExplainedAnswer:
    """Ask the model that a request names."""
    job.check()
    model = networks.vision_language(asked.network)
    options: dict[str, Any] = {
        "model": model,
        "answer": asked.answer,
        "method": asked.method,
        "layer": asked.layer,
        "max_new_tokens": asked.most_tokens,
        "progress": job.progress,
    }
    question = asked.question.strip()
    return ask_about(photo, question, **options) if question else caption(photo, **options)
