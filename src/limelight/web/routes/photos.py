"""Photos: sent, shown, and dropped."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from limelight.photos.samples import find_sample
from limelight.web.routes.asked import State
from limelight.web.serving.page_state import PageState
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits
from limelight.web.subjects.photo_store import StoredPhoto
from limelight.web.subjects.uploads import read_upload, shown_name

router = APIRouter(prefix="/api/photos", tags=["photos"])

#: The longer side of the picture that stands for a sample, in pixels.
_SAMPLE_LONGEST = 320


@router.post("")
async def upload(request: Request, state: State) -> dict[str, Any]:
    """Hold a photo, sent as the file `photo` of a form, and return its id."""
    (sent,) = await uploads(request, state, most=1)
    return _facts(await stored_photo(sent, state))


@router.post("/sample/{name}")
async def sample(name: str, state: State) -> dict[str, Any]:
    """Hold a sample photo."""
    data = await run_in_threadpool(find_sample(name).read_bytes)
    photo = await run_in_threadpool(read_upload, data, name, state.settings.limits)
    return _facts(state.photos.add(photo, name))


@router.get("/sample/{name}/picture")
async def sample_picture(name: str, state: State) -> Response:
    """A sample photo, small, before anybody takes it."""
    data = await run_in_threadpool(_sample_picture, name, state.settings.limits)
    return Response(data, media_type="image/webp", headers={"cache-control": "max-age=3600"})


@router.get("/{photo_id}/picture")
async def picture(photo_id: str, state: State, longest: int = 1024) -> Response:
    """The photo, upright, drawn anew as WebP."""
    stored = state.photos.get(photo_id)
    data = await run_in_threadpool(stored.picture, max(16, min(longest, 2048)))
    return Response(data, media_type="image/webp")


@router.delete("/{photo_id}", status_code=204)
async def drop(photo_id: str, state: State) -> Response:
    """Hold a photo no longer."""
    state.photos.drop(photo_id)
    state.looks.drop(photo_id)
    return Response(status_code=204)


class Upload(NamedTuple):
    """A file that was sent: its name, to be shown, and its bytes."""

    name: str
    data: bytes


async def uploads(request: Request, state: PageState, most: int) -> list[Upload]:
    """Return the files of a form's field `photo`.

    Raises:
        Refusal: There is none, or there are too many.
    """
    async with request.form(max_files=most + 1, max_fields=50) as form:
        files = [each for each in form.getlist("photo") if isinstance(each, UploadFile)]
        if not files:
            raise Refusal("no-file", 422, field="photo")
        if len(files) > most:
            raise Refusal("too-many-files", 413, given=len(files), most=most)
        enough = state.settings.limits.upload_bytes + 1  # to be told that it is too large
        return [Upload(shown_name(each.filename or ""), await each.read(enough)) for each in files]


async def stored_photo(upload: Upload, state: PageState) -> StoredPhoto:
    """Decode a file that was sent, and hold the photo.

    Raises:
        Refusal, PhotoError: As `read_upload`.
    """
    limits = state.settings.limits
    photo = await run_in_threadpool(read_upload, upload.data, upload.name, limits)
    return state.photos.add(photo, upload.name)


@cache
def _sample_picture(name: str, limits: Limits) -> bytes:
    """Return a sample photo as a WebP picture."""
    photo = read_upload(find_sample(name).read_bytes(), name, limits)
    return StoredPhoto("", name, photo).picture(_SAMPLE_LONGEST)


def _facts(stored: StoredPhoto) -> dict[str, Any]:
    width, height = stored.size
    return {"id": stored.id, "name": stored.name, "width": width, "height": height}
