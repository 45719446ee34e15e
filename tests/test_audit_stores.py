"""Photos and results of an audit: on this machine, and at URLs through fsspec."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from helpers.audited import only_rows, rows_in, tiny_network
from limelight.audits.data.folders import LocalFolder, OutputFolder, open_folder
from limelight.audits.data.stores import PhotoStore
from limelight.audits.data.urls import filesystem_of, without_secrets
from limelight.errors import MissingPhotoError, OptionError, OutputError, PhotoError
from limelight.photos.preprocess import Preprocess

fsspec: Any = pytest.importorskip("fsspec")

COLOURS = {"a2.png": (255, 0, 0), "a10.png": (0, 255, 0), "b/c.png": (0, 0, 255)}


def encoded(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


def filled(folder: Path) -> Path:
    for name, colour in COLOURS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(colour))
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def in_memory() -> Iterator[str]:
    """Return the URL of a folder of photos in fsspec's file system in memory."""
    files, name = fsspec.filesystem("memory"), uuid4().hex
    for file, colour in COLOURS.items():
        files.pipe_file(f"/{name}/{file}", encoded(colour))
    files.pipe_file(f"/{name}/notes.txt", b"no photo")
    yield f"memory://{name}"
    files.rm(f"/{name}", recursive=True)


def colours(store: PhotoStore) -> dict[str, tuple[int, ...]]:
    """Return the colour of each photo, by the end of its name."""
    found = {}
    for photo in store.photos():
        pixel = np.asarray(store.load(photo, Preprocess()))[0, 0]
        found[photo] = tuple(map(int, pixel))
    return found


# Photos


def test_photos_of_this_machine_are_listed_in_natural_order(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    expected = {str(folder / name): colour for name, colour in COLOURS.items()}
    assert list(colours(PhotoStore([str(folder)])).items()) == list(expected.items())
    assert PhotoStore([f"file://{folder}"]).photos() == list(expected)
    assert PhotoStore([str(folder / "a*.png")]).photos() == list(expected)[:2]
    assert PhotoStore([str(folder / "**" / "*.png")]).photos() == list(expected)
    twice = PhotoStore([str(folder / "a2.png"), str(folder)])
    assert twice.photos() == list(expected)


def test_photos_at_urls_are_the_same_photos(in_memory: str) -> None:
    expected = {f"{in_memory}/{name}": colour for name, colour in COLOURS.items()}
    assert list(colours(PhotoStore([in_memory])).items()) == list(expected.items())
    assert PhotoStore([f"{in_memory}/"]).photos() == list(expected)
    assert colours(PhotoStore([f"{in_memory}/a*.png"])) == dict(list(expected.items())[:2])
    assert list(colours(PhotoStore([f"{in_memory}/b/c.png"]))) == [f"{in_memory}/b/c.png"]


def test_photos_in_an_archive_have_a_url_of_two_steps(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, colour in COLOURS.items():
            file.writestr(name, encoded(colour))
    expected = {f"zip://{name}::{archive}": colour for name, colour in COLOURS.items()}
    assert list(colours(PhotoStore([f"zip://::{archive}"])).items()) == list(expected.items())
    assert list(colours(PhotoStore([f"zip://b::{archive}"]))) == [f"zip://b/c.png::{archive}"]
    assert len(colours(PhotoStore([f"zip://a*.png::{archive}"]))) == 2


def test_a_photo_of_a_url_is_a_file_until_it_is_done_with(in_memory: str) -> None:
    store = PhotoStore([in_memory])
    photo = f"{in_memory}/a2.png"
    file = store.local(photo)
    assert (file.suffix, file.read_bytes()) == (".png", encoded(COLOURS["a2.png"]))
    store.done_with(photo)
    assert not file.exists()
    store.close()
    assert not file.parent.exists()


def test_photos_that_cannot_be_read_are_named_by_their_urls(in_memory: str) -> None:
    fsspec.filesystem("memory").pipe_file(f"{in_memory}/broken.png", b"no picture")
    store = PhotoStore([in_memory])
    with pytest.raises(PhotoError, match=rf"'{in_memory}/broken.png' is not a picture"):
        store.load(f"{in_memory}/broken.png", Preprocess())
    with pytest.raises(MissingPhotoError, match=rf"no file '{in_memory}/gone.png'"):
        store.local(f"{in_memory}/gone.png")


def test_a_photo_that_is_too_large_is_not_fetched(
    in_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.audits.data.stores.PHOTO_BYTES", 10)
    with pytest.raises(PhotoError, match=r"'memory://.*a2.png' has .* GB; at most"):
        PhotoStore([in_memory]).local(f"{in_memory}/a2.png")


def test_places_without_photos_are_refused(tmp_path: Path, in_memory: str) -> None:
    for place in (str(tmp_path), str(tmp_path / "*.png"), f"{in_memory}/*.gif"):
        with pytest.raises(MissingPhotoError):
            PhotoStore([place]).photos()


def test_a_store_goes_to_another_process(in_memory: str) -> None:
    store = PhotoStore([in_memory])
    store.local(f"{in_memory}/a2.png")
    again = pickle.loads(pickle.dumps(store))
    assert again.photos() == store.photos()


# Errors and secrets


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"'s4://bucket' cannot be opened: Protocol not known"):
        filesystem_of("s4://bucket")

    def missing(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(OptionError, match=r"reads 's3://b/x' is not installed: Install s3fs"):
        filesystem_of("s3://b/x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(OptionError, match="pip install fsspec"):
        filesystem_of("s3://b/x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ftp://me:se%cret@host/a.png", "ftp://me@host/a.png"),
        ("ftp://me:se@cret@host/a.png", "ftp://me@host/a.png"),
        ("cannot open 'sftp://me:secret@host/x'", "cannot open 'sftp://me@host/x'"),
        ("https://host/a.png?signature=secret", "https://host/a.png"),
        (
            "zip://a.png::https://me:secret@host/x.zip?t=secret",
            "zip://a.png::https://me@host/x.zip",
        ),
        ("s3://bucket/a?.png", "s3://bucket/a?.png"),
        ("abfs://container@account/a.png", "abfs://container@account/a.png"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_secrets_are_used_but_are_not_in_names_nor_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/hidden/a.png", encoded((1, 2, 3)))
    asked = list[str]()

    def opened(url: str) -> tuple[Any, str]:
        asked.append(url)
        return files, "/hidden"

    monkeypatch.setattr("fsspec.core.url_to_fs", opened)
    store = PhotoStore(["ftp://me:secret@host/hidden"])
    assert colours(store) == {"ftp://me@host/hidden/a.png": (1, 2, 3)}
    assert asked[-1] == "ftp://me:secret@host/hidden"
    files.rm("/hidden", recursive=True)

    def refused(url: str) -> None:
        raise OSError(f"login refused at {url}")

    monkeypatch.setattr("fsspec.core.url_to_fs", refused)
    with pytest.raises(OptionError) as caught:
        PhotoStore(["ftp://me:secret@host/x"]).photos()
    assert "secret" not in str(caught.value)
    with pytest.raises(OptionError) as caught:
        open_folder("ftp://me:secret@host/x")
    assert "secret" not in str(caught.value)


# Folders


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> OutputFolder:
    return open_folder(tmp_path / "run" if request.param == "local" else f"memory://{uuid4().hex}")


def test_files_are_written_read_listed_and_removed(folder: OutputFolder) -> None:
    assert folder.names() == folder.names("rows/") == []
    assert folder.write("rows/part-2", b"two") == f"{folder}/rows/part-2"
    folder.write("rows/part-1", b"one")
    folder.write("run.json", b"{}")
    folder.write("run.json", b"{1}")
    assert folder.names() == folder.names("run") == ["run.json"]
    assert folder.names("rows/") == ["rows/part-1", "rows/part-2"]
    assert folder.names("rows/part-2") == ["rows/part-2"]
    assert (folder.read("rows/part-1"), folder.read("run.json")) == (b"one", b"{1}")
    folder.remove("rows/part-1")
    folder.remove("rows/part-1")
    assert folder.names("rows/") == ["rows/part-2"]
    with pytest.raises(OptionError, match=r"rows/part-1' cannot be read"):
        folder.read("rows/part-1")


def test_a_file_at_a_url_that_cannot_be_written_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = open_folder(f"memory://{uuid4().hex}")
    folder.write("part", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space at ftp://me:secret@host")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "mv", full)
    with pytest.raises(OutputError, match=r"Cannot write 'memory://.*part': no space") as caught:
        folder.write("part", b"new")
    assert "secret" not in str(caught.value)
    assert (folder.names(), folder.read("part")) == (["part"], b"old")
    everything = fsspec.filesystem("memory").find(str(folder).removeprefix("memory:/"))
    assert len(everything) == 1


def test_one_run_at_a_time_writes_a_folder(folder: OutputFolder) -> None:
    with folder.only_run():
        with (
            pytest.raises(OutputError, match="is being written by another run"),
            open_folder(str(folder)).only_run(),
        ):
            pass
        folder.write("run.json", b"{}")
    with folder.only_run():
        assert folder.names() == ["run.json"]


def test_a_run_at_a_url_that_gave_no_sign_is_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = open_folder(f"memory://{uuid4().hex}")
    with folder.only_run():
        later = time.time() + 91
        monkeypatch.setattr("limelight.audits.data.folders.time.time", lambda: later)
        with open_folder(str(folder)).only_run():
            pass


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from limelight.audits.data.folders import LocalFolder\n"
        "folder = LocalFolder(Path(sys.argv[1]))\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "with folder.only_run():\n"
        "    folder.write('rows/part', b'x')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=False)
    rows = tmp_path / "run" / "rows"
    assert [name[:11] for name in os.listdir(rows)] == [".limelight-"]
    folder = LocalFolder(tmp_path / "run")
    with folder.only_run():
        assert os.listdir(rows) == []
        folder.write("rows/part", b"x")
    assert folder.names("rows/") == ["rows/part"]


def test_a_photo_that_could_not_be_fetched_is_fetched_by_the_next_run(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    kind = type(fsspec.filesystem("memory"))
    get = kind.get_file

    def broken(self: Any, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("a2.png"):
            raise TimeoutError("no answer")
        return get(self, path, *args, **options)

    with monkeypatch.context() as during:
        during.setattr(kind, "get_file", broken)
        only_rows(tiny_network(), in_memory, tmp_path)
    assert rows_in(tmp_path).error[1] == f"'{in_memory}/a2.png' cannot be fetched: no answer."
    only_rows(tiny_network(), in_memory, tmp_path)
    rows = rows_in(tmp_path)
    assert len(rows) == 3
    assert not rows.error.any()
