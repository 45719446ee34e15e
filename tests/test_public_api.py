"""What limelight offers: named, typed, explained, and changed only by decision."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import limelight
from public_api import (
    OFFERING,
    PINNED,
    ROOT,
    SOURCE,
    Definition,
    Function,
    Package,
    all_arguments,
    is_property,
    public_api,
)

LIMELIGHT = Package(SOURCE, OFFERING)

#: Types without a public name that public signatures mention all the same, and why.
EXPLAINED = {
    "limelight.ahead.Room": "the command shares its bytes, as it draws while photos are decoded",
    "limelight.compat.runs.LayerEvidence": "the drop-in's own classes hand it to each other",
    "limelight.compat.runs.PeerRun": "the drop-in's own classes hand it to each other",
    "limelight.metrics.case.Remake": "a metric calls MapCase.remade, which calls it",
    "limelight.packing.KnownOrder": "what ModelInputs knows of patches, for the passes",
    "limelight.packing.Packing": "what ModelInputs knows of patches, for the passes",
    "limelight.photos.memory.Sized": "anything that has a width and a height",
    "limelight.render.rankings.MetricRanking": "texts that Measurement.rankings hands to drawings",
    "limelight.tables.explanations.Tabulated": "an explanation, or one of an exported file",
}


class Part(NamedTuple):
    """An offered name, or a member of an offered class."""

    path: str
    definition: Definition


def parts(package: Package) -> Iterator[Part]:
    """Go through what is offered, under the name that users write first, with its methods."""
    for name, found in package.offered.items():
        if package.homes[found.path] == name:
            yield Part(name, found)
            if isinstance(found.node, ast.ClassDef):
                for member, method in package.members(found).methods.items():
                    yield Part(f"{name}.{member}", method)


def all_types(package: Package) -> Iterator[tuple[str, str, ast.expr | None]]:
    """Go through all types: where they stand, in which module, and what is written."""
    for path, (module, node) in ((part.path, _fields(part.definition)) for part in parts(package)):
        if isinstance(node, Function):
            is_method = path.rpartition(".")[0] in package.offered
            skipped = 1 if is_method and "staticmethod" not in _marks(node) else 0
            for argument in all_arguments(node)[skipped:]:
                yield f"{path}({argument.arg})", module, argument.annotation
            yield f"{path} ->", module, node.returns
        elif isinstance(node, ast.ClassDef):
            members = package.members(package.offered[path])
            for name, field in members.fields.items():
                if isinstance(field.node, ast.AnnAssign):
                    yield f"{path}.{name}", field.module, field.node.annotation
            for name, told in members.made.items():
                yield f"{path}.{name}", module, told
        elif isinstance(node, ast.AnnAssign):
            yield path, module, node.annotation


def _fields(definition: Definition) -> tuple[str, ast.stmt]:
    return definition.module, definition.node


def _marks(node: Function) -> list[str]:
    return [ast.unparse(mark) for mark in node.decorator_list]


def untyped(package: Package) -> list[str]:
    """Return parameters, returns and attributes without a type."""
    return [where for where, _, annotation in all_types(package) if annotation is None]


def leaks(package: Package) -> dict[str, list[str]]:
    """Return classes without a public name, and `_private` aliases, with who mentions them."""
    found = dict[str, list[str]]()
    for where, module, annotation in all_types(package):
        for path in _unnamed(package, module, annotation, set()):
            found.setdefault(path, []).append(where)
    return found


def _unnamed(
    package: Package, module: str, annotation: ast.expr | None, seen: set[str]
) -> Iterator[str]:
    """Go through what a type mentions that has no public name; aliases are read in turn."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    for node in ast.walk(annotation) if annotation else ():
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        meant = package.find(module, ast.unparse(node))
        if meant is None or meant.path in package.homes or meant.path in seen:
            continue
        seen.add(meant.path)
        if isinstance(meant.node, ast.ClassDef):
            yield meant.path
        elif isinstance(meant.node, ast.Assign) and "TypeVar" not in ast.unparse(meant.node):
            if meant.name.startswith("_"):
                yield meant.path
            yield from _unnamed(package, meant.module, meant.node.value, seen)


def undocumented(package: Package) -> list[str]:
    """Return what has no docstring, none that begins with a sentence, or one that keeps silent."""
    return [fault for part in parts(package) for fault in _faults(package, part)]


def _faults(package: Package, part: Part) -> Iterator[str]:
    node = part.definition.node
    if not isinstance(node, Function | ast.ClassDef):
        return
    text = ast.get_docstring(node) or ""
    if not text.partition("\n\n")[0].rstrip().endswith((".", ":")):
        yield f"{part.path} has no docstring that begins with a sentence"
    if isinstance(node, ast.ClassDef):
        members = package.members(part.definition)
        typed = [
            name for name, one in members.fields.items() if isinstance(one.node, ast.AnnAssign)
        ]
        named = _explained_attributes(package, part.definition)
        for name in [*typed, *members.made]:
            if name not in named:
                yield f"{part.path}.{name} is not among the docstring's Attributes"
    elif not is_property(node):
        section = text.partition("Raises:")[2]
        for error in _raised(node):
            is_protocol = (node.name, error) == ("__getitem__", "IndexError")  # as of any sequence
            if error not in section and not is_protocol:
                yield f"{part.path} raises {error}, and its docstring has no such Raises"


def _explained_attributes(package: Package, definition: Definition) -> set[str]:
    """Return the attributes that a class explains, or a base of it that is not public itself.

    An attribute of the name of a parameter of `__init__` is explained there.
    """
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    names = _names_under("Attributes", ast.get_docstring(node) or "")
    for method in node.body:
        if isinstance(method, Function) and method.name == "__init__":
            names |= {argument.arg for argument in all_arguments(method)}
    for base in package.bases(definition):
        if base.path not in package.homes:
            names |= _explained_attributes(package, base)
    return names


def _names_under(title: str, text: str) -> set[str]:
    section = text.partition(f"{title}:\n")[2].partition("\n\n")[0]
    heads = re.findall(r"^    (\w[\w, ]*?)(?: \(.*?\))?:", section, re.MULTILINE)
    return {name.strip() for head in heads for name in head.split(",")}


def _raised(node: ast.AST) -> Iterator[str]:
    """Go through the errors that a function raises itself, but for what it catches again."""
    caught = node.body if isinstance(node, ast.Try) and node.handlers else []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef) or child in caught:
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = ast.unparse(error)
            if name[0].isupper() and name != "NotImplementedError":
                yield name
        yield from _raised(child)


def test_signatures_are_as_they_were_decided() -> None:
    assert PINNED.read_text(encoding="utf-8") == public_api(LIMELIGHT), (
        "what users call has changed. If that is meant: run `python scripts/public_api.py`, commit "
        "tests/public_api.txt with the change, and say in CHANGELOG.md what users have to do"
    )


def test_everything_has_a_type() -> None:
    assert untyped(LIMELIGHT) == []


def test_nothing_is_mentioned_that_has_no_public_name() -> None:
    found = leaks(LIMELIGHT)
    assert {path: by for path, by in found.items() if path not in EXPLAINED} == {}
    assert EXPLAINED.keys() <= found.keys(), "what is no longer mentioned needs no explanation"


def test_everything_is_explained() -> None:
    assert undocumented(LIMELIGHT) == []


@pytest.mark.parametrize("home", OFFERING)
def test_names_are_sorted_and_exist(home: str) -> None:
    module, names = importlib.import_module(home), LIMELIGHT.names_of(home)
    kinds = [(not name.isupper(), not name[0].isupper(), name) for name in names]
    assert [name for *_, name in sorted(kinds)] == names or home == "limelight"
    assert all(hasattr(module, name) for name in names)
    assert getattr(module, "__all__", names) == names


def test_limelight_shows_public_names_only() -> None:
    shown = dir(limelight)
    assert not [name for name in shown if name.startswith("_") and name != "__version__"]
    modules = {home.split(".")[1] for home in OFFERING if "." in home}
    assert set(shown) == {*limelight.__all__, *modules}
    assert all(hasattr(limelight, name) for name in shown)


@pytest.mark.parametrize("home", ["limelight.audits", "limelight.targets", "limelight.training"])
def test_a_package_shows_names_before_they_are_loaded(home: str) -> None:
    code = f"import {home} as home; print(dir(home) == sorted(home.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_star_import_takes_the_public_names() -> None:
    taken = dict[str, Any]()
    exec("from limelight import *", taken)
    del taken["__builtins__"]
    assert sorted(taken) == sorted(limelight.__all__)


def test_the_types_of_signatures_can_be_read_by_programs() -> None:
    # With what the module imports for type checkers, as they are read by type checkers.
    for part in parts(LIMELIGHT):
        node = part.definition.node
        home, _, name = part.path.rpartition(".")
        if home in LIMELIGHT.offered:
            package, _, owner = home.rpartition(".")
            value = inspect.getattr_static(getattr(importlib.import_module(package), owner), name)
            value = getattr(value, "fget", None) or getattr(value, "func", None) or value
            value = getattr(value, "__func__", value)
        else:
            value = getattr(importlib.import_module(home), name)
        if isinstance(node, Function | ast.ClassDef):
            modules = {base.__module__ for base in getattr(value, "__mro__", (value,))}
            known = {key: meant for module in modules for key, meant in _shown(module).items()}
            assert typing.get_type_hints(value, localns=known) is not None


def _shown(module: str) -> dict[str, Any]:
    """Return what a module imports for type checkers only."""
    names = dict[str, Any]()
    read = LIMELIGHT.modules.get(module)
    conditions = [node for node in read.syntax.body if isinstance(node, ast.If)] if read else []
    for node in [inner for condition in conditions for inner in condition.body]:
        if isinstance(node, ast.ImportFrom | ast.Import):
            exec(ast.unparse(node), names)
    return names


def test_the_docs_read_no_private_attribute() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for block in re.findall(
            r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            for node in ast.walk(ast.parse(block)):
                private = isinstance(node, ast.Attribute) and node.attr.startswith("_")
                assert not private or ast.unparse(node).endswith("__"), f"{page}: {block}"


def offering(folder: Path, text: str) -> Package:
    """Return a package `demo` that offers `thing`, which a module defines beside `Hidden`."""
    package = folder / "demo"
    package.mkdir()
    (package / "__init__.py").write_text('from demo.inner import thing\n\n__all__ = ["thing"]\n')
    (package / "inner.py").write_text(f"class Hidden: ...\n{text}")
    return Package(package, ("demo",))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("def thing(a) -> int: ...", ["demo.thing(a)"]),
        ("def thing(*a, b: int) -> int: ...", ["demo.thing(a)"]),
        ("def thing(a: int): ...", ["demo.thing ->"]),
        ("class thing:\n    def run(self, a) -> int: ...", ["demo.thing.run(a)"]),
        ("class thing:\n    def __init__(self, a: int) -> None: self.b = a + 1", ["demo.thing.b"]),
        ("class thing:\n    def __init__(self, a: int) -> None: self.b = a", []),
        ("class thing:\n    def _run(self, a): ...", []),
        ("class Base:\n    def run(self) : ...\nclass thing(Base): ...", ["demo.thing.run ->"]),
        (
            "class thing:\n    def __init__(self, a: int) -> None: self.b, self.c = a, 1",
            ["demo.thing.c"],
        ),
    ],
)
def test_a_missing_type_is_found(tmp_path: Path, text: str, missing: list[str]) -> None:
    assert untyped(offering(tmp_path, text)) == missing


@pytest.mark.parametrize(
    ("text", "leaking"),
    [
        ("def thing(a: Hidden) -> int: ...", ["demo.inner.Hidden"]),
        ("def thing(a: 'list[Hidden]') -> int: ...", ["demo.inner.Hidden"]),
        ("Alias = dict[str, Hidden]\ndef thing(a: Alias) -> int: ...", ["demo.inner.Hidden"]),
        ("_Alias = int | str\ndef thing(a: _Alias) -> int: ...", ["demo.inner._Alias"]),
        ("from demo import inner\ndef thing() -> inner.Hidden: ...", ["demo.inner.Hidden"]),
        ("class thing:\n    a: Hidden | None = None", ["demo.inner.Hidden"]),
        ("class thing:\n    def a(self) -> list[Hidden]: ...", ["demo.inner.Hidden"]),
        ("class thing:\n    _a: Hidden\n    def _b(self) -> Hidden: ...", []),
        ("_T = TypeVar('_T')\ndef thing(a: _T) -> _T: ...", []),
    ],
)
def test_a_leak_is_found(tmp_path: Path, text: str, leaking: list[str]) -> None:
    assert list(leaks(offering(tmp_path, text))) == leaking


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("def thing() -> None: ...", "has no docstring"),
        ('def thing() -> None:\n    """Do"""', "has no docstring that begins with a sentence"),
        ('class thing:\n    """A thing."""\n    a: int', "a is not among"),
        (
            'class thing:\n    """A thing."""\n    def run(self) -> None: ...',
            "run has no docstring",
        ),
        ('def thing() -> None:\n    """Do."""\n    raise ValueError("no")', "raises ValueError"),
    ],
)
def test_a_missing_explanation_is_found(tmp_path: Path, text: str, fault: str) -> None:
    (found,) = undocumented(offering(tmp_path, text))
    assert fault in found


@pytest.mark.parametrize(
    "text",
    [
        'class thing:\n    """A.\n\n    Attributes:\n        a, b: Both.\n    """\n'
        "    a: int\n    b: int",
        'class Base:\n    """A.\n\n    Attributes:\n        a: One.\n    """\n    a: int\n'
        'class thing(Base):\n    """B."""',
        'class thing:\n    """A."""\n    def __init__(self, a: int) -> None:\n'
        '        """Do."""\n        self.a = a',
        'def thing() -> None:\n    """D.\n\n    Raises:\n        KeyError: No.\n    """\n'
        "    raise KeyError",
        'def thing() -> None:\n    """D."""\n    def inner() -> None:\n        raise ValueError',
        'def thing() -> None:\n    """D."""\n    try:\n        raise KeyError\n'
        "    except KeyError:\n        pass",
    ],
)
def test_an_explanation_is_seen(tmp_path: Path, text: str) -> None:
    assert undocumented(offering(tmp_path, text)) == []


def test_the_text_tells_what_is_offered(tmp_path: Path) -> None:
    text = """
from dataclasses import dataclass
class _Base:
    def inherited(self, a: int, /, *, b: 'str' = "x") -> None: ...
@dataclass(frozen=True)
class thing(_Base, Hidden):
    size: float = 1e-6
    _hidden: int = 0
    @property
    def area(self) -> float: ...
    def long(self, first: dict[str, tuple[int, ...]], second: dict[str, tuple[int, ...]],
        **rest: int) -> int: ...
    def _own(self) -> None: ...
"""
    assert (
        public_api(offering(tmp_path, text)).partition("# demo\n\n")[2]
        == """\
class demo.thing
    @dataclass(frozen=True)
    size: float = 1e-06
    area: float  (property)
    def inherited(a: int, /, *, b: str = 'x') -> None
    def long(
        first: dict[str, tuple[int, ...]],
        second: dict[str, tuple[int, ...]],
        **rest: int,
    ) -> int
"""
    )
