"""The page that explains photos in a browser, with onnxruntime-web."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.deployed_files import described, map_of, save_file
from helpers.tolerances import assert_agrees, of_heatmaps
from limelight import deployed, render
from limelight.deployed.description import FORM
from limelight.deployed.scores import answers

PAGE = Path(__file__).parent.parent / "examples" / "browser"
FILES = ("index.html", "page.css", "page.js", "explain.js")
RUNTIME = PAGE / "node_modules" / "onnxruntime-web"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

#: Opens the page, has it explain a photo, then another class, and sends what it shows.
CHECK = """<!doctype html><iframe src="index.html" width="1200" height="900"></iframe>
<script type="module">
const page = document.querySelector("iframe"), errors = [];
const until = async (done) => { while (!done()) await new Promise((r) => setTimeout(r, 20)); };
await until(() => page.contentDocument?.querySelector("main[aria-busy]"));
const get = (name) => page.contentDocument.querySelector(name);
for (const kind of ["error", "unhandledrejection"]) {
  page.contentWindow.addEventListener(kind, (event) => errors.push(String(event.message)));
}
const idle = () => until(() => get("main").getAttribute("aria-busy") === "false");
const shown = () => {
  const { shown: { index }, crop, classes, maps } = page.contentWindow.explained;
  return {
    index, crop, label: get("#label").textContent, status: get("#status").textContent,
    classes: classes.map((each) => [each.index, each.probability]),
    maps: maps.map(({ heatmap, raw, status, message }) => (
      { heatmap: Array.from(heatmap), raw: Array.from(raw), status, message }
    )),
  };
};
const answer = { errors };
try {
  await idle();
  answer.before = get("#status").textContent;
  get('[data-photo="chelsea.png"]').click();
  await until(() => page.contentWindow.explained);
  await idle();
  answer.predicted = shown();
  get("#classes label:nth-of-type(2) input").click();
  await until(() => page.contentWindow.explained.shown.index !== answer.predicted.index);
  await idle();
  answer.second = shown();
} catch (error) { errors.push(String(error)); }
await fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and puts what is sent to it into a queue."""

    def __init__(self, *args: Any, answers: Queue[Any], **options: Any) -> None:
        self.answers = answers
        super().__init__(*args, **options)

    def do_POST(self) -> None:
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page, a file of two maps, and a photo."""
    folder = tmp_path_factory.mktemp("site")
    for name in FILES:
        shutil.copy(PAGE / name, folder)
    (folder / "node_modules").symlink_to(RUNTIME.parent)
    (folder / "check.html").write_text(CHECK)
    maps, parity = (map_of(), map_of(1)), {"raw": 3e-6}
    save_file(
        folder / "network.onnx", described(maps=maps, parity=parity, preprocessing_inside=True)
    )
    noise = np.random.default_rng(0).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((300, 200)).save(folder / "chelsea.png")
    return folder


@pytest.fixture(scope="module")
def answer(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what the page shows in a browser without a window."""
    if not RUNTIME.exists() or BROWSER is None:
        pytest.skip(f"needs Chromium, and npm install in {PAGE.relative_to(PAGE.parents[1])}")
    sent: Queue[Any] = Queue()
    handler = partial(_Handler, answers=sent, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    profile = tmp_path_factory.mktemp("profile")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    address = f"http://127.0.0.1:{server.server_port}/check.html"
    browser = subprocess.Popen(
        [BROWSER, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield sent.get(timeout=60)
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()


def test_the_page_shows_what_python_does(answer: dict[str, Any], site: Path) -> None:
    assert answer["errors"] == []
    assert answer["before"] == "Ready: choose a photo."
    network = deployed.load(site / "network.onnx")
    for shown in (answer["predicted"], answer["second"]):
        expected = network.explain(site / "chelsea.png", shown["index"])
        assert shown["label"] == expected.label[0]
        assert shown["status"].startswith("Explained in ")
        assert expected.crops is not None
        assert shown["crop"] == pytest.approx(expected.crops[0].box)
        for map_, each in zip(shown["maps"], expected.maps, strict=True):
            status = each.status[0]
            assert (map_["status"], map_["message"]) == (status.name, status.message)
            assert_agrees(np.float32(map_["raw"]), each.raw.ravel())
            condition = of_heatmaps(torch.from_numpy(each.raw))
            heat, expected_heat = np.float32(map_["heatmap"]), each.heatmap.ravel()
            assert_agrees(heat, expected_heat, scale=1.0, condition=condition)


def test_the_page_ranks_classes_as_python_does(answer: dict[str, Any], site: Path) -> None:
    network = deployed.load(site / "network.onnx")
    result = network.explain(site / "chelsea.png")
    assert answer["predicted"]["index"] == int(result.index[0])
    expected = answers(result.logits, network.description)
    for shown, pair in zip(answer["predicted"]["classes"], expected, strict=True):
        assert shown[0] == pair[0]
        assert_agrees(shown[1], pair[1], scale=1.0, dtype=torch.float32)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for name in FILES:
        assert not re.search(r"https?:|['\"(]//", (PAGE / name).read_text())


def test_the_page_knows_every_status_and_the_form_of_the_description() -> None:
    script = (PAGE / "explain.js").read_text()
    names = re.search(r"STATUSES = (\[.*?\])", script, re.DOTALL)
    assert names is not None
    assert tuple(json.loads(names[1])) == deployed.STATUS_NAMES
    assert f"FORM = {FORM};" in script


def test_what_the_script_looks_for_is_on_the_page() -> None:
    names = set(re.findall(r'get\("(\w+)"\)', (PAGE / "page.js").read_text()))
    assert names <= set(re.findall(r'id="(\w+)"', (PAGE / "index.html").read_text()))


def test_the_colours_are_those_of_python() -> None:
    colours = re.findall(r"#[0-9a-f]{6}", (PAGE / "page.js").read_text())
    shown = [tuple(bytes.fromhex(colour[1:])) for colour in colours]
    expected = np.asarray(render.colourise(np.linspace(0, 1, len(colours))[None]))[0]
    np.testing.assert_allclose(shown, expected, atol=1)
