"""The page in a container: an ordinary user, nothing written outside the temporary folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

#: Runs the page, asks for what it offers, and prints what was written, and to where.
WATCHED = """
import json, os, sys

writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
changing = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink")
written = []

def watch(event, values):
    if event == "open" and isinstance(values[0], str | bytes) and values[2] & writing:
        written.append(os.fsdecode(values[0]))
    elif event in changing and isinstance(values[0], str | bytes | os.PathLike):
        written.append(os.fsdecode(values[0]))

sys.addaudithook(watch)

import httpx, limelight

asked = []
with limelight.page() as page, httpx.Client(base_url=page.url, timeout=120) as client:
    def ask(address, **how):
        came = client.request("POST" if how else "GET", address, **how)
        assert came.status_code == 200, (address, came.text)
        asked.append(address)
        return came
    ask("/")
    photo = ask("/api/photos/sample/chelsea", json={}).json()["id"]
    picture = ask(f"/api/photos/{photo}/picture").content
    ask("/api/photos", files={"photo": ("../../a.webp", picture)})
    ask("/api/explain", files={"photo": ("a.webp", picture)})
    ask(f"/api/photos/{photo}/look", json={})
    assert '"map"' in ask(f"/api/photos/{photo}/maps", json={"maps": [{}]}).text
    for kind in ("picture", "arrays", "table", "regions", "page"):
        ask(f"/api/photos/{photo}/files", json={"kind": kind})
    ask("/metrics")
print(json.dumps({"asked": len(asked), "written": written}))
"""


def test_nothing_is_written_outside_the_temporary_folder_and_no_upload_stays_there(
    tmp_path: Path,
) -> None:
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    setting = {
        **kept,
        "TMPDIR": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=setting,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["asked"] == 13
    written = [(tmp_path / path).resolve() for path in told["written"]]  # it runs in this folder
    allowed = (tmp_path.resolve(), Path("/dev"))
    outside = [path for path in written if not any(path.is_relative_to(one) for one in allowed)]
    assert outside == []
    assert any("limelight-" in path for path in told["written"])  # uploads went through it
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("limelight-")]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_the_image_runs_as_an_ordinary_user_and_is_watched(dockerfile: str) -> None:
    last_user = re.findall(r"^USER (\S+)", dockerfile, re.M)[-1]
    assert int(last_user) >= 1000
    assert f"--uid {last_user} " in dockerfile
    assert "EXPOSE 7860" in dockerfile
    assert re.search(r"^HEALTHCHECK .*\n +CMD .*http://127\.0\.0\.1:7860/health", dockerfile, re.M)
    assert '"--host", "0.0.0.0"' in dockerfile


def test_the_image_holds_no_password_and_nothing_but_the_package(dockerfile: str) -> None:
    without_comments = re.sub(r"^#.*$", "", dockerfile, flags=re.M)
    assert "AUTH" not in without_comments
    copied = re.findall(r"^COPY (.+) \S+$", without_comments, re.M)
    names = {name for line in copied for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert names == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in names)


def test_the_page_does_not_start_for_other_machines_without_a_password() -> None:
    command = [sys.executable, "-c", "from limelight.cli import main; main()"]
    setting = {name: text for name, text in os.environ.items() if name != "LIMELIGHT_AUTH"}
    done = subprocess.run(
        [*command, "page", "--host", "0.0.0.0", "--port", "0"],
        env=setting,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "no password is set" in re.sub(r"\s+", " ", done.stderr + done.stdout)
