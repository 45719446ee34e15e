"""What is taken away: files of a map, and the lines of code that make the same."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from limelight.explanation import Explanation
from limelight.translations.languages import Language
from limelight.web.answers.code_lines import code_lines
from limelight.web.answers.files import MEDIA_TYPES, MadeFile, make_file
from limelight.web.replies import CodeReply, DocumentReply, file_replies, json_reply
from limelight.web.requests import FileRequest
from limelight.web.routes.asked import AskedLanguage, Client, State
from limelight.web.serving.page_state import PageState
from limelight.web.serving.work_queue import Job
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.photo_store import StoredPhoto

router = APIRouter(prefix="/api/photos/{photo_id}", tags=["out"])


@router.post("/files", response_class=Response, responses=file_replies(*MEDIA_TYPES.values()))
async def files(
    photo_id: str, asked: FileRequest, state: State, client: Client, language: AskedLanguage
) -> Response:
    """A file of a map: picture, arrays, table, regions, or a page to send."""
    made = await _made(photo_id, asked, state, client, language)
    # The first name is for those who read no other: curl, for one.
    plain = made.name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    named = f"filename=\"{plain}\"; filename*=UTF-8''{quote(made.name, safe='')}"
    headers = {"content-disposition": f"attachment; {named}"}
    return Response(made.data, media_type=made.media_type, headers=headers)


@router.post("/preview", responses=json_reply(DocumentReply))
async def preview(
    photo_id: str, asked: FileRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """The page to send as a document that is held for a while, to be looked at before."""
    asked = asked.model_copy(update={"kind": "page"})
    made = await _made(photo_id, asked, state, client, language)
    return {"document": f"/documents/{state.documents.add(made.data.decode())}"}


async def _made(
    photo_id: str, asked: FileRequest, state: PageState, client: str, language: Language
) -> MadeFile:
    """Return a file when the network has made its maps."""
    stored = state.photos.get(photo_id)

    def work(job: Job[MadeFile]) -> MadeFile:
        found = state.look(stored, asked)
        explanation = found.explain(asked, job.progress)

        def beside() -> list[Explanation]:
            others = list[Explanation]()
            for other in asked.beside:
                job.check()
                others.append(state.look(stored, other).explain(other, job.progress))
            return others

        code = _code(asked, stored, found.served, state, language)
        served = found.served
        return make_file(explanation, asked, served, beside=beside, code=code, language=language)

    return await state.queue.result(work, client, asked.replaces)


@router.post("/code", responses=json_reply(CodeReply))
async def code(
    photo_id: str, asked: FileRequest, state: State, client: Client, language: AskedLanguage
) -> dict[str, Any]:
    """The lines of Python and of the command that write the same file."""
    stored = state.photos.get(photo_id)

    def work(_job: Job[dict[str, Any]]) -> dict[str, Any]:
        served = state.networks.get(asked.network, asked.texts)
        return _code(asked, stored, served, state, language)

    return await state.queue.result(work, client)


def _code(
    asked: FileRequest,
    stored: StoredPhoto,
    served: ServedNetwork,
    state: PageState,
    language: Language,
) -> dict[str, Any]:
    """Return the lines that write the same file, with the network as it was loaded here."""
    loading = state.settings.loading.get(served.network.name, {})
    return code_lines(asked, served, stored.name, language, loading)
