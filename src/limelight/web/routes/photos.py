"""Photos: sent, shown, and dropped."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from limelight.photos.raster import Photo
from limelight.photos.samples import find_sample
from limelight.web.replies import PhotoReply, file_replies, form_of, json_reply
from limelight.web.routes.asked import State
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits
from limelight.web.subjects.photo_store import StoredPhoto
from limelight.web.subjects.uploads import read_upload, shown_name

router = APIRouter(prefix="/api/photos", tags=["photos"])

#: The longer side of the picture that stands for a sample, in pixels.
_SAMPLE_LONGEST = 320


@router.post("", responses=json_reply(PhotoReply), openapi_extra=form_of(None, several=False))
async def upload(request: Request, state: State) -> dict[str, Any]:
    """Hold a photo, sent as the file `photo` of a form, and return its id."""
    limits = state.settings.limits
    async with request.form(max_files=2, max_fields=50) as form:
        (sent,) = sent_photos(form, most=1)
        name = shown_name(sent.filename or "")
        data = await sent.read(limits.upload_bytes + 1)  # to be told that it is too large
    return _facts(state.photos.add(await run_in_threadpool(read_upload, data, name, limits), name))


@router.post("/sample/{name}", responses=json_reply(PhotoReply))
async def sample(name: str, state: State) -> dict[str, Any]:
    """Hold a sample photo."""
    return _facts(state.photos.add(await run_in_threadpool(_sample, name), name))


@router.get("/sample/{name}/picture", response_class=Response, responses=file_replies("image/webp"))
async def sample_picture(name: str) -> Response:
    """A sample photo, small, before anybody takes it."""
    data = await run_in_threadpool(_sample_picture, name)
    return Response(data, media_type="image/webp", headers={"cache-control": "max-age=3600"})


@router.get("/{photo_id}/picture", response_class=Response, responses=file_replies("image/webp"))
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


def sent_photos(form: FormData, most: int) -> list[UploadFile]:
    """Return the files of a form's field `photo`.

    Raises:
        Refusal: There is none, or there are too many.
    """
    sent = [each for each in form.getlist("photo") if isinstance(each, UploadFile)]
    if not sent:
        raise Refusal("no-file", 422, field="photo")
    if len(sent) > most:
        raise Refusal("too-many-files", 413, given=len(sent), most=most)
    return sent


def _sample(name: str) -> Photo:
    """Return a sample photo, whatever the limits of uploads are."""
    return read_upload(find_sample(name).read_bytes(), name, Limits())


@cache
def _sample_picture(name: str) -> bytes:
    """Return a sample photo as a WebP picture."""
    return StoredPhoto("", name, _sample(name)).picture(_SAMPLE_LONGEST)


def _facts(stored: StoredPhoto) -> dict[str, Any]:
    width, height = stored.size
    return {"id": stored.id, "name": stored.name, "width": width, "height": height}
