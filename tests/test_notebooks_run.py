"""The notebooks of the examples run from top to bottom, and are saved as they run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import notebooks

ORIGINALS = notebooks.originals()
ALL = sorted(notebooks.FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module", params=ORIGINALS, ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a notebook as it is saved, and as it runs now; it asserts its own conclusions."""
    path: Path = request.param
    return notebooks.read(path), notebooks.executed(path, tmp_path_factory.mktemp(path.stem))


def test_it_runs_and_shows_as_much_as_the_saved_one(run: Any) -> None:
    saved, now = (notebooks.code_cells(one) for one in run)
    for before, after in zip(saved, now, strict=True):
        assert [kinds(one) for one in before.outputs] == [kinds(one) for one in after.outputs]


def kinds(output: Any) -> list[str]:
    """Return what an output holds: text that was printed, or a picture."""
    return sorted(output.get("data", {"text": ""}))


def test_there_are_two_and_a_translation() -> None:
    assert [path.name for path in ALL] == [
        "article.ipynb",
        "article.zh.ipynb",
        "own_network.ipynb",
    ]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_it_is_saved_with_its_pictures_small_and_without_paths(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_500_000
    assert text.count('"image/png"') >= 3
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"/(home|root|Users|tmp|work)/|\\\\Users", words)
    cells = notebooks.code_cells(notebooks.read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all("execution" not in cell.metadata for cell in cells)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_its_links_lead_somewhere(path: Path) -> None:
    prose = [cell.source for cell in notebooks.read(path).cells if cell.cell_type == "markdown"]
    headings = {line.lstrip("# ").replace(" ", "-") for cell in prose for line in cell.splitlines()}
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(prose)):
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", ORIGINALS, ids=lambda path: path.stem)
def test_a_translation_has_the_code_and_the_pictures_of_its_original(path: Path) -> None:
    original = notebooks.read(path)
    for other in notebooks.translations(path):
        translated = notebooks.read(other)
        assert [cell.cell_type for cell in translated.cells] == [
            cell.cell_type for cell in original.cells
        ]
        pairs = zip(notebooks.code_cells(original), notebooks.code_cells(translated), strict=True)
        for cell, own in pairs:  # comments may differ
            assert ast.dump(ast.parse(own.source)) == ast.dump(ast.parse(cell.source))
            assert own.outputs == cell.outputs
        prose = [cell.source for cell in translated.cells if cell.cell_type == "markdown"]
        formulas = [re.findall(r"\$\$.*?\$\$", one.source, re.DOTALL) for one in original.cells]
        own_formulas = [
            re.findall(r"\$\$.*?\$\$", one.source, re.DOTALL) for one in translated.cells
        ]
        assert own_formulas == formulas
        assert all(re.search("[\u4e00-\u9fff]", cell) for cell in prose)
