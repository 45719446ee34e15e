"""Photos: sent, shown, and dropped."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData, UploadFile

from limelight.photos.raster import Photo
from limelight.photos.samples import find_sample
from limelight.web.replies import PhotoReply, file_replies, form_of, json_reply
from limelight.web.routes.asked import Client, State
from limelight.web.serving.arrivals import expect_files
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.waiting import address_of
from limelight.web.settings import Limits
from limelight.web.subjects.photo_store import StoredPhoto
from limelight.web.subjects.uploads import read_upload, shown_name

router = APIRouter(prefix="/api/photos", tags=["photos"])

#: The longer side of the picture that stands for a sample, in pixels.
_SAMPLE_LONGEST = 320


@router.post("", responses=json_reply(PhotoReply), openapi_extra=form_of(None, several=False))
async def upload(request: Request, state: State, client: Client) -> dict[str, Any]:
    """Hold a photo, sent as the file `photo` of a form, and return its id."""
    expect_files(request.scope, 1)
    async with request.form(max_files=2, max_fields=50) as form:
        (sent,) = sent_photos(form, most=1)
        name, limits = shown_name(sent.filename or ""), state.settings.limits
        # Its bytes are read when its turn has come.
        photo = await state.threads.run(lambda: read_upload(_bytes_of(sent, limits), name, limits))
    return _facts(state.photos.add(photo, name, address_of(client)))


@router.post("/sample/{name}", responses=json_reply(PhotoReply))
async def sample(name: str, state: State, client: Client) -> dict[str, Any]:
    """Hold a sample photo."""
    photo = await state.threads.run(_sample, name)
    return _facts(state.photos.add(photo, name, address_of(client)))


@router.get("/sample/{name}/picture", response_class=Response, responses=file_replies("image/webp"))
async def sample_picture(name: str, state: State) -> Response:
    """A sample photo, small, before anybody takes it."""
    data = await state.threads.run(_sample_picture, name)
    return Response(data, media_type="image/webp", headers={"cache-control": "max-age=3600"})


@router.get("/{photo_id}/picture", response_class=Response, responses=file_replies("image/webp"))
async def picture(photo_id: str, state: State, longest: int = 1024) -> Response:
    """The photo, upright, drawn anew as WebP."""
    stored = state.photos.get(photo_id)
    data = await state.threads.run(stored.picture, max(16, min(longest, 2048)))
    return Response(data, media_type="image/webp")


@router.delete("/{photo_id}", status_code=204)
async def drop(photo_id: str, state: State) -> Response:
    """Hold a photo no longer."""
    state.photos.drop(photo_id)
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


def _bytes_of(sent: UploadFile, limits: Limits) -> bytes:
    """Return the bytes of a file, or enough of them to be told that it is too large."""
    return sent.file.read(limits.upload_bytes + 1)


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
