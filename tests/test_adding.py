"""What docs/adding.md adds to limelight works in a copy of the tree, and its tests can fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
#: By the title of a section: what is right in its code, and what looks right.
MISTAKES = {
    "A method": ("evidence.gradients.norm(dim=1) *", "evidence.gradients.sum(dim=1) *"),
    "A metric": ("1 / shares.norm(dim=1)", "shares.norm(dim=1)"),
    "A target": ("softmax(-1)).sum(-1)", "sigmoid()).sum(-1)"),
}
#: Finds the words that the pages of the site need.
WORDS = """
from limelight.methods import METHODS
from limelight.metrics import METRICS
from site_pages import method_pages, metric_pages, row_words, rows
for row in METHODS.values():
    rows.check_words(row, method_pages.WORDS)
    rows.formula_part(row, row_words.METHOD_WORDS, row_words.METHOD_SIGNS)
for row in METRICS.values():
    rows.check_words(row, metric_pages.WORDS)
    rows.formula_part(row, row_words.METRIC_WORDS, row_words.METRIC_SIGNS)
"""
BLOCK = re.compile(
    r"^\*\*(?:A new file `(?P<new>[^`]+)`|In `(?P<old>[^`]+)`, "
    r"(?:at the end|after the (?P<first>first )?line `(?P<line>[^`]+)`)):\*\*\n\n"
    r"```py\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def apply(title: str, tree: Path) -> list[Path]:
    """Write the blocks of a section into a tree, and return the files."""
    files = []
    for block in BLOCK.finditer(section(title)):
        path = tree / (block["new"] or block["old"])
        files.append(path)
        if block["new"]:
            assert not path.exists()
            path.write_text(block["code"], encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.strip() == block["line"]]
        if block["line"] is None:
            places = [len(lines) - 1]
        assert len(places) == 1 or (block["first"] and places), (path, block["line"])
        lines.insert(places[0] + 1, block["code"])
        path.write_text("".join(lines), encoding="utf-8")
    return files


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folders = [str(tree / name) for name in ("src", "scripts")]
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )


def command(title: str) -> list[str]:
    """Return the arguments of pytest that a section ends with."""
    found: list[str] = re.findall(r"`scripts/check ([^`]+)`", section(title))
    assert len(found) == 1
    return found[0].split()


@pytest.mark.parametrize("title", MISTAKES)
def test_what_the_page_adds_works(title: str, tmp_path: Path) -> None:
    for name in ("src", "tests", "scripts"):
        without = shutil.ignore_patterns("__pycache__", "scripts" if name == "tests" else "")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=without)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    files = apply(title, tmp_path)
    for check in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        linted = run(tmp_path, "-m", "ruff", *check, *map(str, files))
        assert linted.returncode == 0, linted.stdout
    if "`python scripts/public_api.py`" in section(title):
        assert run(tmp_path, "scripts/public_api.py").returncode == 0
    worded = run(tmp_path, "-c", WORDS)
    assert worded.returncode == 0, worded.stderr
    tests = ["-m", "pytest", "-x", "-p", "no:cacheprovider", "-n0", *command(title)]
    done = run(tmp_path, *tests)
    assert done.returncode == 0, done.stdout
    right, wrong = MISTAKES[title]
    (spoilt,) = [path for path in files if right in path.read_text(encoding="utf-8")]
    spoilt.write_text(spoilt.read_text(encoding="utf-8").replace(right, wrong), encoding="utf-8")
    done = run(tmp_path, *tests)
    assert done.returncode == 1, f"tests do not notice {wrong!r}: {done.stdout}"


def test_every_block_of_code_has_its_place() -> None:
    assert PAGE.count("```py\n") == len(list(BLOCK.finditer(PAGE)))
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(MISTAKES)
