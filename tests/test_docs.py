"""Every example in the documentation runs.

Pages are found, not listed: a block of Python or a command on any page is run, or is listed here
with the reason why it is not.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
import threading
import tomllib
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from PIL import Image
from torch import nn

import limelight
import limelight.cli
from helpers.docs_pages import (
    PAGES,
    PROGRAMS,
    ROOT,
    SHELLS,
    blocks,
    commands,
    lines_of,
    name_of,
    python_of,
    sections,
)
from helpers.docs_scenes import (
    asked,
    audit_folder,
    brief,
    folder,
    many_photos,
    small_network,
)

__all__ = ["asked", "audit_folder", "brief", "folder", "many_photos", "small_network"]

TEXTS = {name_of(page): page.read_text() for page in PAGES}

# Python

#: Pages whose Python other tests run, which check more of it.
RUN_ELSEWHERE = {
    "docs/bias.md": "tests/test_bias.py",
    "docs/training.md": "tests/test_training_monitor.py",
}
#: Blocks of `py`, which are not run.
NOT_RUN = {
    "docs/adding.md": "applied to a copy of the tree: tests/test_adding.py",
    "docs/deploy.md": "a file of pt2, in a process that has torch alone: tests/test_export.py",
    "docs/migrate.md": "lines of other libraries",
    "docs/page-api.md": "a client of a server that runs: tests/test_page_programs.py",
    "docs/tasks.md": "networks of ultralytics, effdet and the hub",
    "docs/training.md": "the folders of an audit, and trainers of other libraries",
}
#: Pages whose sections do not continue each other.
BY_SECTION = {"docs/tasks.md"}
#: Pages whose Python reads what the commands between its blocks have written.
WITH_COMMANDS = {"docs/manifest.md"}
#: What a page needs beside the folder with the files.
SCENES = {
    "docs/audit.md": "audit_folder",
    "docs/deploy.md": "small_network",
}


def own_networks() -> dict[str, Any]:
    """What the page about the page takes for granted."""
    network = limelight.load_model()
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return {"limelight": limelight, "network": network, "other": network, "model": model}


#: The names that the examples of a page begin with.
SPACES: dict[str, Callable[[], dict[str, Any]]] = {"docs/page.md": own_networks}


def check_answer(folder: Path, space: dict[str, Any]) -> None:
    names = sorted(path.name for path in (folder / "answer").iterdir())
    assert names == ["answer.html", "maps.npz", "words.png"]
    assert space["against"]["cat"].contrast is not None
    assert len(space["both"]["cat"].heatmaps) == 2


def check_audit(folder: Path, space: dict[str, Any]) -> None:
    assert space["again"].accuracy == space["found"].accuracy
    table = TEXTS["docs/audit.md"].partition("## What it writes")[2].partition("A row has")[0]
    written = re.findall(r"^\| `([\w./*-]+)` \| ", table, re.MULTILINE)
    assert len(written) == 5
    for name in written:
        assert list(folder.glob(f"audit/{name.rstrip('/')}")), name


def check_blank_map(folder: Path, space: dict[str, Any]) -> None:
    status = space["blank"].status[0]
    assert status.name == "disconnected"
    assert f"Take layer='{space['last']}.ln_1'." in status.message


def check_choice(folder: Path, space: dict[str, Any]) -> None:
    found = space["found"]
    assert (found.best, found.arguments) == (None, {})
    for words in found.sentence.partition(":")[0].split(". "):
        assert words in TEXTS["docs/choose.md"]
    assert (folder / "choice.json").is_file()


def check_server(folder: Path, space: dict[str, Any]) -> None:
    assert (folder / "laid-over.png").is_file()
    server = ThreadingHTTPServer(("127.0.0.1", 0), space["Explainer"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    photo, address = Path("cat.jpg").read_bytes(), f"http://127.0.0.1:{server.server_port}"
    with urlopen(address, data=photo) as answer:
        assert json.load(answer)["class"] == space["result"].label[0]
    with urlopen(f"{address}/overlay", data=photo) as answer:
        assert Image.open(answer).size == (90, 80)
    server.shutdown()
    server.server_close()


def check_tokens(folder: Path, space: dict[str, Any]) -> None:
    assert str(space["cut"].layout) == "tokens, 1 prefix"
    assert tuple(space["cut"].activations.shape) == (1, 32, 8, 8)


def writes(*names: str) -> Callable[[Path, dict[str, Any]], None]:
    """Return a check that files were written."""

    def check(folder: Path, space: dict[str, Any]) -> None:
        assert set(names) <= {path.name for path in folder.iterdir()}

    return check


#: What has to hold after the examples of a page.
CHECKS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "README.md": writes("cat.png"),
    "docs/ask.md": check_answer,
    "docs/audit.md": check_audit,
    "docs/cells.md": check_tokens,
    "docs/choose.md": check_choice,
    "docs/deploy.md": check_server,
    "docs/index.md": writes("cat.png"),
    "docs/measure.md": writes("measured.csv", "shard-1.json"),
    "docs/own-network.md": writes("maps.png"),
    "docs/start.md": writes("map.png", "sheet.png"),
    "docs/trust.md": check_blank_map,
    "docs/walkthrough.md": writes("page.html", "trace.npz", "trace.png"),
}


def programs() -> list[tuple[str, str]]:
    """Return what is run as one program: a page, or a section of it."""
    found = []
    for page in TEXTS.keys() - RUN_ELSEWHERE.keys():
        parts = sections(TEXTS[page]) if page in BY_SECTION else {"": TEXTS[page]}
        found += [(page, title) for title, part in parts.items() if python_of(part)]
    return sorted(found)


def call(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command in this process; what it prints is shown where it fails."""
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        limelight.cli.main()
    assert done.value.code in (0, None)


@pytest.mark.parametrize(("page", "section"), programs())
def test_the_python_of_a_page_runs(
    request: pytest.FixtureRequest,
    folder: Path,
    page: str,
    section: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if page in SCENES:
        request.getfixturevalue(SCENES[page])
    if page == "docs/audit.md":
        shutil.rmtree("audit")  # the example makes it
    torch.manual_seed(0)
    text = sections(TEXTS[page])[section] if page in BY_SECTION else TEXTS[page]
    space: dict[str, Any] = {"__name__": Path(page).stem, **SPACES.get(page, dict)()}
    for block in blocks(text):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), space)
        elif block.language in SHELLS and page in WITH_COMMANDS:
            for line in lines_of(block):
                call(shlex.split(line), monkeypatch)
    if page in CHECKS:
        CHECKS[page](folder, space)


def test_blocks_of_python_that_are_not_run_are_listed() -> None:
    not_run = {page for page, text in TEXTS.items() if blocks(text, "py")}
    assert not_run == NOT_RUN.keys()
    for page, tests in RUN_ELSEWHERE.items():
        assert page.removeprefix("docs/") in (ROOT / tests).read_text()
        assert python_of(TEXTS[page])


@pytest.mark.parametrize("page", TEXTS)
def test_no_python_hides_in_blocks_without_a_language(page: str) -> None:
    for block in blocks(TEXTS[page], ""):
        assert not re.search(r"^(import|from \S+ import) ", block.text, re.MULTILINE), block.text


# Commands

COMMANDS = [command for page in PAGES for command in commands(page)]
#: Commands of limelight that are not run, by how they begin or what is in them.
NOT_CALLED = {
    "coco128/": "hours, on photos that are not part of the repository",
    "--compile": "minutes of compiling; tests/test_compile.py does it",
    "--engine ray": "tests/test_audit_ray.py starts Ray, once",
    "yolo:": "weights and a package that nobody has to have; tests/test_detectors.py has the form",
    "fasterrcnn_resnet50_fpn": "with random weights it proposes no box; tests/test_cli.py has one",
    "deeplabv3_resnet50": "a download; tests/test_cli.py has a segmenter",
}
#: What a command needs beside the folder with the files.
COMMAND_SCENES = {
    "audit": "audit_folder",
    "choose": "many_photos",
    "export": "small_network",
    "page": "brief",
}


def called(line: str) -> bool:
    return line.startswith("limelight ") and not any(part in line for part in NOT_CALLED)


@pytest.mark.parametrize("line", dict.fromkeys(c.line for c in COMMANDS if called(c.line)))
def test_a_command_runs(
    request: pytest.FixtureRequest,
    folder: Path,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = shlex.split(line)
    scene = COMMAND_SCENES.get(words[1])
    opened = request.getfixturevalue(scene) if scene else None
    if words[1] == "explain" and "--model" in words and "--weights" not in words:
        words += ["--weights", "none"]  # the real ones are a download
    call(words, monkeypatch)
    if scene == "brief":
        assert bool(opened) == ("--open" in line)


@pytest.mark.parametrize("part", NOT_CALLED)
def test_commands_that_are_not_run_are_there(part: str) -> None:
    assert any(
        command.line.startswith("limelight") and part in command.line for command in COMMANDS
    )


@pytest.mark.parametrize("line", dict.fromkeys(c.line for c in COMMANDS))
def test_what_other_commands_name_is_there(line: str) -> None:
    """They install, build, serve or measure for hours. They name nothing that is gone."""
    program, *arguments = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"(?:\.|limelight)\[([\w,]+)\]", line):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    elif line.startswith("python -m "):
        assert importlib.util.find_spec(arguments[1])
    elif program == "python":
        assert any((ROOT / where / arguments[0]).exists() for where in ("", "examples/browser"))
    elif program.startswith("scripts/"):
        assert (ROOT / program).is_file()
    elif program == "cd":
        assert (ROOT / arguments[0]).is_dir()
    else:
        assert program in {"limelight", "docker", "curl", "npm", "git", "conda"}


@pytest.mark.parametrize("page", TEXTS)
def test_blocks_for_a_shell_hold_commands_that_are_known(page: str) -> None:
    for block in blocks(TEXTS[page]):
        if block.language in SHELLS - {""}:
            assert {line.split()[0] for line in lines_of(block)} <= PROGRAMS
