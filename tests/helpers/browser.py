"""Pages in a headless Chromium, looked into by a script."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.pages import Reader


@dataclass(frozen=True)
class Browsed:
    """What a browser made of pages: what the script reports, its complaints, what was asked for."""

    report: list[dict[str, Any]]
    console: list[str]
    asked: set[str]


def frame(page: str, width: int) -> str:
    """Return a page in a frame, into which a script outside may look."""
    return f'<iframe srcdoc="{html.escape(page)}" style="width: {width}px; height: 800px"></iframe>'


def browse(folder: Path, frames: Sequence[str], probe: str, *options: str) -> Browsed:
    """Open frames, and run a script that leaves its report as JSON in `<pre id="report">`."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium on the PATH")
    (folder / "frames.html").write_text(
        f"<!doctype html><meta charset=utf-8><body>{''.join(frames)}{probe}", encoding="utf-8"
    )
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder / 'profile'}", "--window-size=900,900"),
            *("--enable-logging=stderr", "--v=0", f"--log-net-log={folder / 'net.json'}"),
            *("--net-log-capture-mode=Everything", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--virtual-time-budget=20000", "--dump-dom", *options),
            (folder / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    log = (folder / "net.json").read_text(encoding="utf-8", errors="replace")
    # The browser asks for updates of itself, of no page's accord.
    lines = [line for line in log.splitlines() if '"initiator":' in line]
    asked = {line for line in lines if '"initiator":"not an origin"' not in line}
    reader = Reader()
    told = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    reader.feed(told[0])
    return Browsed(json.loads(reader.open[0].one("pre").text), console, asked)
