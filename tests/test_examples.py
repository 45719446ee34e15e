"""The ten examples run, say where their picture is, and have one in the gallery."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PICTURES = ROOT / "docs" / "images" / "examples"
GALLERY = (ROOT / "docs" / "examples.md").read_text()

#: What each prints of what it found, beside where its picture is.
FOUND = {
    "photo": r"espresso: score [\d.]+, map ok\ntiger cat: ",
    "layers": r"limelight takes bn2: the last .*\nbn1: 112 x 112 cells\n(.*\n)+bn2: 7 x 7 cells",
    "own_network": r"The answer is -?[\d.]+, and -?\d is right\.",
    "detector": r"hirescam: ([5-9]\d|100)% of its .*\n(.*\n)*gradcam: [1-7]\d% of its heat",
    "heartbeat": r"(9\d|100)% of 200 new signals are right\.",
    "transformer": r"(9\d|100)% of 200 .*\n.* is 25%\.\nAt norm: disconnected\. .* layer='blocks",
    "volume": r"\d\d\d voxels are called nodule",
    "trust": r"energy-pointing .* beats chance\.\n.* beats chance\.\n.*\nWith random weights: ",
    "mend": r"biased: [2-8]\d% of 400 .*\nmended: ([89]\d|100)% of 400 are right, 1?\d% of",
    "deploy": r"differ by \de-0[5-9] from .*\n(ring|cross), ok; torch is imported: False",
}


@pytest.mark.parametrize("name", FOUND)
def test_it_runs_and_writes_its_picture(name: str, tmp_path: Path) -> None:
    # Warnings of limelight and of the script are errors; what exporting warns of is torch's own.
    strict = [] if name == "deploy" else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *strict, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(FOUND[name], done.stdout), done.stdout
    (said,) = re.findall(r"^The picture is (.*)$", done.stdout, re.MULTILINE)
    picture = Path(said)
    assert picture == (tmp_path / f"{name}.jpg").resolve()
    with Image.open(picture) as drawn, Image.open(PICTURES / picture.name) as shown:
        assert drawn.size == pytest.approx(shown.size, rel=0.15)  # fonts differ in height


def test_there_are_ten_and_each_is_tested() -> None:
    written = {path.stem for path in EXAMPLES.glob("*.py")} - {"article", "gradient_by_hand"}
    assert written - {"drawn"} == set(FOUND)
    assert len(FOUND) == 10


@pytest.mark.parametrize("name", FOUND)
def test_it_says_what_it_shows_on_one_screen(name: str) -> None:
    script = (EXAMPLES / f"{name}.py").read_text()
    about = ast.get_docstring(ast.parse(script)) or ""
    question, command, *_ = about.split("\n\n")
    assert question.endswith("?")
    assert f"python examples/{name}.py" in command
    assert len(script.splitlines()) <= 75


@pytest.mark.parametrize("name", FOUND)
def test_the_gallery_shows_it(name: str) -> None:
    picture = PICTURES / f"{name}.jpg"
    assert picture.stat().st_size <= 80_000
    assert f"(images/examples/{name}.jpg)" in GALLERY
    assert f"(../examples/{name}.py)" in GALLERY
    assert f"python examples/{name}.py" in GALLERY
    about = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text())) or ""
    assert f"## {about.splitlines()[0]}" in GALLERY, "the question is the heading"


def test_the_gallery_has_a_picture_for_each_example_and_no_other() -> None:
    assert {path.stem for path in PICTURES.iterdir()} == set(FOUND)
