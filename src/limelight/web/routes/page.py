"""The page itself, its words, and what it needs to know before anything is asked."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from limelight.photos.samples import SAMPLES, samples_are_installed
from limelight.version import __version__
from limelight.web.answers.colours import colormaps
from limelight.web.replies import NetworkReply, PageReply, TextsReply, json_reply
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.work_queue import Job
from limelight.web.subjects.networks import method_facts
from limelight.web.wording import library_words, words

STATIC = str(files("limelight.web") / "static")

router = APIRouter(tags=["page"])


def static_files() -> StaticFiles:
    """Return what serves the files of the page, and nothing else."""
    return StaticFiles(directory=STATIC)


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """The page."""
    return FileResponse(f"{STATIC}/index.html", headers={"cache-control": "no-cache"})


@router.get("/api/texts", responses=json_reply(TextsReply))
async def texts(language: AskedLanguage) -> dict[str, Any]:
    """The words of the page in the language of the request."""
    return {"language": language, "texts": words(language)["page"]}


@router.get("/api/page", responses=json_reply(PageReply))
async def page(state: State, language: AskedLanguage) -> dict[str, Any]:
    """What the page offers: networks, methods, colours, samples and limits."""
    limits = state.settings.limits
    return {
        "version": __version__,
        "networks": list(state.networks.names),
        "methods": method_facts(language),
        "colormaps": await run_in_threadpool(colormaps),
        "samples": [
            {"name": name, "words": library_words(about, language)}
            for name, about in SAMPLES.items()
            if samples_are_installed()
        ],
        "audit": state.settings.audit is not None,
        "limits": {
            "bytes": limits.upload_bytes,
            "pixels": limits.pixels,
            "files": limits.files,
            "seconds": limits.seconds,
        },
    }


@router.get("/api/networks/{name:path}", responses=json_reply(NetworkReply))
async def network(
    name: str, state: State, client: Client, language: AskedLanguage, layers: bool = True
) -> dict[str, Any]:
    """What one network answers, its classes and layers.

    To find all layers takes seconds the first time; `layers=false` answers at once, with those
    that are known.
    """

    def work(_job: Job[dict[str, Any]]) -> dict[str, Any]:
        return state.networks.facts(name, language, layers=layers)

    return await state.queue.result(work, client)
