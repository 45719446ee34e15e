"""The state of the source that `scripts/house` reports, and that each check can fail."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from house_report.imports import (
    Module,
    circles,
    private_uses,
    read_imports,
    read_modules,
    unplaced_rooms,
    upward_imports,
)
from house_report.live import entered
from house_report.report import SOURCE, main, shadowed_modules
from house_report.sizes import doubled_names, long_files, option_lines

TESTS = Path(__file__).parent
MODULES = read_modules(SOURCE)
IMPORTS = read_imports(MODULES)


def test_no_modules_import_each_other() -> None:
    assert circles(IMPORTS) == []  # those under TYPE_CHECKING included


def test_every_room_has_a_place() -> None:
    assert unplaced_rooms(MODULES) == [], (
        "give it a place in ORDER of scripts/house_report/imports.py"
    )


def test_rooms_import_from_lower_rooms() -> None:
    assert [str(edge) for edge in upward_imports(IMPORTS)] == []


def test_every_module_is_imported_under_its_own_path() -> None:
    # Each as the first of all, too: what it imports must not need another one before it.
    assert shadowed_modules(SOURCE) == {}


def test_no_private_name_of_another_module_is_used() -> None:
    assert private_uses(MODULES, IMPORTS) == []


@pytest.mark.parametrize("path", sorted(TESTS.glob("oracles/*.py")), ids=lambda p: p.stem)
def test_an_oracle_imports_nothing_from_limelight(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.partition(".")[0] == "limelight"]


def test_files_are_short() -> None:
    assert long_files(MODULES, 400) == []
    assert long_files(read_modules(TESTS), 800) == []


def package(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    """Write a package called `demo` and return its modules."""
    for name, text in {"__init__.py": "", **files}.items():
        path = folder / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return read_modules(folder / "demo")


def test_a_circle_is_found(tmp_path: Path) -> None:
    files = {
        "a.py": "from demo import b",
        "b.py": "def later():\n    import demo.c",
        "c.py": "from .a import name",
        "d.py": "from demo.a import name",
    }
    imports = read_imports(package(tmp_path, files))
    assert circles(imports) == [["demo.a", "demo.b", "demo.c"]]


def test_a_circle_for_type_checkers_is_told_apart(tmp_path: Path) -> None:
    shown = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from demo.b import name"
    imports = read_imports(package(tmp_path, {"a.py": shown, "b.py": "import demo.a as a"}))
    assert circles(imports) == [["demo.a", "demo.b"]]
    assert circles(edge for edge in imports if not edge.for_types) == []


def test_a_package_and_a_module_of_it_are_a_circle(tmp_path: Path) -> None:
    files = {"a/__init__.py": "from demo.a.b import name", "a/b.py": "from . import other"}
    imports = read_imports(package(tmp_path, files))
    assert circles(imports) == [["demo.a", "demo.a.b"]]


def test_a_sibling_that_is_taken_from_the_package_makes_a_circle_with_it(tmp_path: Path) -> None:
    files = {
        "a/__init__.py": "from demo.a.b import name",
        "a/b.py": "from demo.a import c",
        "a/c.py": "",
    }
    imports = read_imports(package(tmp_path, files))
    assert circles(imports) == [["demo.a", "demo.a.b"]]
    files["a/b.py"] = "from demo.a.c import name"
    assert circles(read_imports(package(tmp_path, files))) == []


def test_upward_imports_are_found(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from demo.top import name",
        "low.py": "from demo.middle import name",
        "left.py": "def later():\n    from demo.middle.part import name",
        "middle/part.py": "from demo import left, low\nfrom demo.middle import name",
        "top.py": "from demo import something",
    }
    order = (("low",), ("left", "middle"), ("top",))
    modules = package(tmp_path, files)
    upward = upward_imports(read_imports(modules), order)
    assert [str(edge) for edge in upward] == [
        "demo.left:2 imports demo.middle.part name",
        "demo.low:1 imports demo.middle name",
        "demo.top:1 imports demo something",
    ]
    assert unplaced_rooms(modules, order) == []
    assert unplaced_rooms(modules, order[1:]) == ["low"]


@pytest.mark.parametrize(
    "offer",
    [
        "def part(): ...",
        "from demo.part import part",
        "from demo.other import name as part",
        "def __getattr__(name):\n    from demo.other import name\n    return name",
    ],
)
def test_a_shadowed_module_is_found(tmp_path: Path, offer: str) -> None:
    files = {"__init__.py": offer, "part.py": "def part(): ...", "other.py": "def name(): ..."}
    package(tmp_path, files)
    shadowed = shadowed_modules(tmp_path / "demo")
    assert shadowed["demo.part"] == "a function"


def test_a_module_that_needs_another_one_before_is_found(tmp_path: Path) -> None:
    files = {"a.py": "from demo.b import y\nx = 1", "b.py": "from demo.a import x\ny = 1"}
    package(tmp_path, files)
    shadowed = shadowed_modules(tmp_path / "demo")
    assert shadowed.keys() == {"demo.a", "demo.b"}
    assert shadowed["demo.a"].startswith("ImportError: cannot import name 'x'")


def test_modules_that_nothing_shadows_are_fine(tmp_path: Path) -> None:
    package(tmp_path, {"__init__.py": "from demo import part", "part.py": "", "a/b.py": ""})
    assert shadowed_modules(tmp_path / "demo") == {}


def test_doubled_names_are_found(tmp_path: Path) -> None:
    files = {
        "a.py": "T = TypeVar('T')\n__all__ = []\nclass Same: ...\ndef _own(): ...\nx = 1",
        "b.py": "T = TypeVar('T')\n__all__ = []\nif True:\n    Same: int = 1\nfrom demo.a import x",
        "c.py": "def other(Same): _own = 1\n_own, second = 1, 2",
    }
    doubled = doubled_names(package(tmp_path, files))
    assert doubled == {"Same": ["demo.a", "demo.b"], "_own": ["demo.a", "demo.c"]}


def test_private_names_of_other_modules_are_found(tmp_path: Path) -> None:
    files = {
        "a.py": "_x = 1\n_x.real",
        "b.py": "from demo.a import _x",
        "c.py": "import demo.a\nfrom demo import a as other\ndemo.a._x\nother._x\nother.__name__",
        "d.py": "from torch.utils import _pytree\nself._x",
    }
    modules = package(tmp_path, files)
    assert private_uses(modules, read_imports(modules)) == [
        "demo.b:1 imports demo.a _x",
        "demo.c:3 reads demo.a._x",
        "demo.c:4 reads other._x",
    ]


def test_long_files_are_found_and_tables_are_not(tmp_path: Path) -> None:
    files = {
        "code.py": "x = 1\n" * 11,
        "short.py": "x = 1\n" * 10,
        "table.py": "x = 1\n" * 5 + "TABLE = [\n" + "    1,\n" * 6 + "]\n",
    }
    modules = package(tmp_path, files)
    assert long_files(modules, 10) == ["demo.code (11 lines)"]


def test_lines_of_options_are_counted(tmp_path: Path) -> None:
    options = """
import typer
def a_path(name):
    return typer.Option(name)
Size = Annotated[
    int, typer.Option("--size")
]
class Network:
    model: Annotated[str, a_path("--model")]
    name: str
"""
    command = """
from demo.cli import options
def show(
    size: options.Size,
    count: Annotated[
        int, typer.Argument()
    ] = 1,
    other: int = 2,
): ...
def load(
    size: Size): ...
def helper(size: int): ...
"""
    files = {"cli/options.py": options, "cli/show.py": command, "code.py": command}
    counted = option_lines(package(tmp_path, files))
    assert counted == {"demo.cli.options": 4, "demo.cli.show": 6}


def test_calls_into_a_folder_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def inner(x): return x\ndef outer(): return sum(inner(x) for x in (lambda: [1, 2])())"
    (tmp_path / "calls_counted.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    from calls_counted import outer  # type: ignore[import-not-found]

    calls = entered(outer, tmp_path)
    assert calls == ["calls_counted.py:outer", *["calls_counted.py:inner"] * 2]
    assert entered(outer, tmp_path / "elsewhere") == []


def test_the_report_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json"])
    report = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    counts = {name: figure["count"] for name, figure in report.items()}
    assert counts["functions that one explain enters"] > counts["files that one explain enters"] > 1
    assert counts["calls of one explain"] >= counts["functions that one explain enters"]
    made = report["classes that one explain makes instances of"]["details"]
    assert "limelight.explanation.Explanation" in made
    assert counts["lines of options in cli/"] > 1
    assert counts["public names without a docstring"] == counts["public names out of order"] == 0
