"""The wheel and the source distribution: what is in them, and that the wheel works elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest

import limelight
from conftest import ROOT

SOURCE = ROOT / "src" / "limelight"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it."""
    for needed in ("build", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install '.[test]'")
    folder = tmp_path_factory.mktemp("dist")
    # Without a wheel asked for, the wheel is built from the source distribution.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def files_of_the_tree() -> list[str]:
    """Return the files that belong to the tree, whether they are committed yet or not."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no checkout, so what belongs to it is not known")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(
        listed, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True
    )
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    version = PROJECT["version"]
    meta = {name for name in names if name.startswith(f"limelight-{version}.dist-info/")}
    expected = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names - meta == expected
    assert f"limelight-{version}.dist-info/licenses/LICENSE" in meta
    for part in ("py.typed", "web/static/index.html", "web/texts/zh.toml", "translations/zh.toml"):
        assert f"limelight/{part}" in names


def test_the_source_distribution_holds_the_tree(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert names == {*files_of_the_tree(), "PKG-INFO"}


def test_the_metadata_are_whole(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        text = wheel.read(f"limelight-{PROJECT['version']}.dist-info/METADATA").decode()
    told = HeaderParser().parsestr(text)
    assert (told["Name"], told["License-Expression"]) == ("limelight", "Apache-2.0")
    assert told["Version"] == PROJECT["version"]
    assert told["Summary"] == PROJECT["description"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["Requires-Python"] == ">=3.11"
    assert sorted(told["Keywords"].split(",")) == sorted(PROJECT["keywords"])
    extras = [name.replace("_", "-") for name in PROJECT["optional-dependencies"]]
    assert sorted(told.get_all("Provides-Extra", [])) == sorted(extras)
    core = [each for each in told.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(core) == sorted(PROJECT["dependencies"])
    assert "file://" not in text  # nothing of the machine that built it
    assert str(ROOT) not in text


def test_the_version_is_written_once() -> None:
    assert limelight.__version__ == PROJECT["version"]
    assert "dynamic" not in PROJECT
    for path in SOURCE.rglob("*.py"):
        found = re.search(r"^__version__\s*=\s*[\"']", path.read_text(encoding="utf-8"), re.M)
        assert found is None, path


def test_the_wheel_works_outside_of_the_tree(built: tuple[Path, Path]) -> None:
    smoke = ROOT / "scripts" / "smoke.py"
    command = [sys.executable, str(smoke), "--here", str(built[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("works outside of its source.\n")
