"""Over 200 hostile uploads: each is refused in words, or becomes pixels; none comes back."""

from __future__ import annotations

import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from helpers.hostile_uploads import MARK, Upload, form, photo, saved, uploads
from helpers.page_attacks import Attacked, attacked
from limelight.web.settings import Limits, PageSettings
from limelight.web.subjects.uploads import read_upload, shown_name

#: How many there are, in tens: they are made when the tests run, not when they are collected.
TENS = 23

#: The file of a form that is cut short is closed, and so deleted, when nothing refers to it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
)

#: What a refusal may be called: the sentence that belongs to it is in both languages.
CODES = {
    "not-a-picture",
    "bomb",
    "damaged",
    "too-many-pixels",
    "too-many-bytes",
    "too-many-scans",
    "too-many-files",
    "no-file",
    "unreadable",
    "invalid",
    "photo-error",
}

#: What no answer may tell: where files of this machine are, and what code is there.
OF_THE_MACHINE = re.compile(
    r"/tmp/|limelight-|\.picture|/src/|site-packages|/home/|/root/|Traceback|root:|line \d+", re.I
)


#: What is said of a form that `form` returns.
FORM = Upload("", b"").headers


@pytest.fixture(scope="module")
def hostile() -> list[Upload]:
    return list(uploads())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the page puts files for a moment."""
    before, made = tempfile.tempdir, tmp_path_factory.mktemp("uploads")
    tempfile.tempdir = str(made)
    yield made
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Attacked]:
    limits = Limits(upload_bytes=1_000_000, pixels=4_000_000)
    with attacked(PageSettings(port=0, limits=limits)) as running:
        yield running


@pytest.fixture(scope="module")
def client(page: Attacked) -> Iterator[httpx.Client]:
    with page.client(headers={"accept-language": "zh-CN"}) as client:
        client.post("/api/photos", files={"photo": ("good.png", saved("PNG"))})  # starts threads
        yield client


def send(client: httpx.Client, upload: Upload) -> httpx.Response:
    headers = [(n.encode("latin-1"), t.encode("latin-1")) for n, t in upload.headers.items()]
    if not upload.parts:
        return client.post("/api/photos", content=upload.body, headers=headers)
    size = -(-len(upload.body) // upload.parts)
    chunks = (upload.body[at : at + size] for at in range(0, len(upload.body), size))
    return client.post("/api/photos", content=chunks, headers=headers)


def check(client: httpx.Client, upload: Upload, folder: Path) -> str:
    """Check the answer to an upload; return its code, "" where its pixels were taken."""
    came = send(client, upload)
    told = came.text
    assert not OF_THE_MACHINE.search(told), (upload.about, told)
    assert str(folder) not in told
    assert came.headers["content-type"] == "application/json"
    assert "set-cookie" not in came.headers
    assert os.listdir(folder) == [], upload.about
    if came.status_code == 200:
        assert not upload.refused, upload.about
        check_taken(client, came.json())
        return ""
    error = came.json()["error"]
    assert came.status_code < 500, (upload.about, error)
    assert error["code"] in CODES, (upload.about, error)
    assert re.search("[一-鿿]", error["message"]), error
    assert len(told) < 5000
    return str(error["code"])


def check_taken(client: httpx.Client, facts: dict[str, str]) -> None:
    """Check that nothing comes back of a file but its pixels, drawn anew."""
    assert facts["name"].isprintable()
    assert not re.search(r"[/\\]", facts["name"])
    assert 0 < len(facts["name"]) <= 80
    came = client.get(f"/api/photos/{facts['id']}/picture")
    assert came.headers["content-type"] == "image/webp"
    assert came.headers["x-content-type-options"] == "nosniff"
    assert came.content[:4] + came.content[8:12] == b"RIFFWEBP"
    assert MARK not in came.content
    assert b"alert" not in came.content
    with Image.open(io.BytesIO(came.content)) as picture:
        picture.load()
        assert set(picture.info) <= {"background", "loop", "timestamp", "duration"}
    client.delete(f"/api/photos/{facts['id']}")


def test_there_are_over_200_and_no_two_are_the_same(hostile: list[Upload]) -> None:
    assert 200 < 10 * (TENS - 1) < len(hostile) <= 10 * TENS
    assert len({(each.body, str(each.headers), each.parts) for each in hostile}) == len(hostile)


@pytest.mark.parametrize("ten", range(TENS))
def test_ten_hostile_uploads_are_refused_or_made_harmless_and_the_next_is_answered(
    page: Attacked, client: httpx.Client, folder: Path, hostile: list[Upload], ten: int
) -> None:
    threads = threading.active_count()
    for upload in hostile[10 * ten : 10 * ten + 10]:
        check(client, upload, folder)
    came = client.post("/api/photos", content=form(saved("PNG")), headers=FORM)
    came = client.get(f"/api/photos/{came.json()['id']}/picture?longest=2048")
    with Image.open(io.BytesIO(came.content)) as picture:
        seen = np.asarray(picture.convert("L"), dtype=np.float64)
    expected = np.asarray(photo().convert("L"), dtype=np.float64)
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.9
    assert page.is_well()
    assert threading.active_count() <= threads + 4  # those of the photos, which are never more


def test_no_upload_is_held_or_left_behind(page: Attacked, folder: Path) -> None:
    assert os.listdir(folder) == []
    assert page.state.photos.taken < 10_000_000


def test_the_sentence_is_in_the_readers_language(client: httpx.Client) -> None:
    document = form(b"%PDF-1.7")
    for language, words in (
        ("en", "'a.png' is not a picture that can be read"),
        ("zh", "不是可读取的图片"),
    ):
        came = client.post(f"/api/photos?lang={language}", content=document, headers=FORM)
        assert words in came.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("cat\r\nSet-Cookie: a=b.jpg", "catSet-Cookie: a=b.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("照片 1.png", "照片 1.png"),
        ("", "photo"),
        ("/", "photo"),
        ("\0\0", "photo"),
        ("a" * 200, "a" * 80),
    ],
)
def test_a_name_is_shown_in_plain_letters(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_nothing_is_kept_of_a_file_but_its_pixels() -> None:
    big = saved("PNG", photo(), icc_profile=b"x" * 500_000)
    for data in (big, saved("JPEG", photo(), comment=MARK), saved("GIF")):
        kept = read_upload(data, "a.png", Limits())
        assert isinstance(kept, Image.Image)
        assert type(kept) is Image.Image
        assert not kept.info
        assert not hasattr(kept, "filename")
        assert kept.size == photo().size


def test_a_file_is_read_by_its_content_whatever_it_is_called() -> None:
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        for name in ("a.npy", "a.nii.gz", "a.dcm", "a.mp4", "a", "a.jpg"):
            kept = read_upload(saved(kind), name, Limits())
            assert (kept.width, kept.height) == photo().size
