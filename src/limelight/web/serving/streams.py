"""Answers that come bit by bit: a line of JSON for each event, the result or the error last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from limelight.plain import as_json
from limelight.translations.languages import Language
from limelight.web.serving.refusals import refused
from limelight.web.serving.work_queue import Job

#: What a stream is: lines of JSON.
LINES = "application/x-ndjson"


def streamed(job: Job[dict[str, Any]], language: Language) -> StreamingResponse:
    """Answer with what a job tells, line by line.

    Each line is an object: `{"progress": ...}` or another event of the job, then its result, or
    `{"error": ...}`. A client that leaves stops the job.
    """

    async def lines() -> AsyncIterator[str]:
        async for kind, value in job.events():
            shown = refused(value, language)[1] if kind == "error" else value
            yield as_json(shown) + "\n"

    return StreamingResponse(lines(), media_type=LINES)
