"""The sentences that the library writes, read from its source: those of its errors.

The tests ask whether each is translated; the page "your error, your answer" shows each.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import limelight
from limelight import errors

ROOT = Path(limelight.__file__).parent

#: What makes an error of a text.
MAKERS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.LimelightError)
} | {"unknown"}

#: A place of a text that is filled in, with the name of what is filled in; "" if it has none.
_HOLE = re.compile("\0([^\0]*)\0")

#: What stands for a value without a name.
HOLE = "\N{HORIZONTAL ELLIPSIS}"

#: What some attributes are called on the page.
_OTHER_NAMES = {"__name__": "type", "__version__": "version", "st_size": "size"}

#: Calls that return one of the texts in an argument, and which argument that is.
_PASSING = {"next": 0, "filter": 1, "str": 0, "list": 0}

#: How many ways to put a text together from its parts are read.
_MOST_WAYS = 12

#: How deep calls and names are followed; and the depth that means: not at all.
_DEEPEST, _HERE = 6, -1


class Written(NamedTuple):
    """A sentence in the source, with `{}` for what is filled in; or a part of one.

    Attributes:
        text: The sentence.
        where: Its file and line.
    """

    text: str
    where: str


class WrittenError(NamedTuple):
    """A place in the source that makes an error.

    Attributes:
        kind: The name of the error's class.
        texts: What it may say, with `{name}` for what is filled in, and an ellipsis (HOLE) where
            that has no name. None if it passes on the text of another error alone.
        where: Its file and line.
    """

    kind: str
    texts: tuple[str, ...]
    where: str


class _Module:
    """A module of the library: its source, and its constants."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.syntax = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        name = path.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")
        self.constants = vars(importlib.import_module(f"limelight.{name}".rstrip(".")))
        self.functions = [
            node for node in ast.walk(self.syntax) if isinstance(node, ast.FunctionDef)
        ]

    def texts(
        self, node: ast.expr | None, local: dict[str, list[ast.expr]], depth: int = 0
    ) -> list[str]:
        """Return what an expression of text may be; [] if it is none that is written here.

        With the depth `_HERE`, what is called is not read.
        """
        if depth > _DEEPEST:
            return []

        deeper = depth + 1 if depth >= 0 else depth

        def of(*parts: ast.expr | None) -> list[str]:
            return [text for part in parts for text in self.texts(part, local, deeper)]

        found = list[str]()
        match node:
            case ast.Constant(value=str() as text):
                found = [text]
            case ast.Name(id=name) if isinstance(self.constants.get(name), str):
                found = [self.constants[name]]
            case ast.IfExp():
                found = of(node.body, node.orelse)
            case ast.BoolOp():
                found = of(*node.values)
            case ast.GeneratorExp() | ast.ListComp():
                found = of(node.elt)
            case ast.JoinedStr():
                found = [self._joined(node)]
            case ast.BinOp(op=ast.Add()):
                lefts, rights = of(node.left), of(node.right)
                found = [left + right for left in lefts for right in rights][:_MOST_WAYS]
            case ast.Name(id=name):
                others = {each: values for each, values in local.items() if each != name}
                found = [
                    text
                    for value in local.get(name, [])
                    for text in self.texts(value, others, deeper)
                ]
            case ast.Call() if depth >= 0:
                found = self._called(node, local, depth)
        return found

    def _called(self, call: ast.Call, local: dict[str, list[ast.expr]], depth: int) -> list[str]:
        """Return what a call may return, if that is text which is written in the library."""
        name = _name(call.func)
        if name in _PASSING and len(call.args) > _PASSING[name]:
            return self.texts(call.args[_PASSING[name]], local, depth + 1)
        if isinstance(call.func, ast.Attribute) and name == "format":
            texts = self.texts(call.func.value, local, depth + 1)
            return [re.sub(r"\{(\w*)[^{}]*\}", "\0\\1\0", text) for text in texts]
        if isinstance(call.func, ast.Attribute) and name == "join":
            match call.args:
                case [ast.List(elts=[first, *_])]:
                    return [f"{text}\n\0\0" for text in self.texts(first, local, depth + 1)]
            return []
        module = _module_of(self.constants.get(name)) or self
        function = next((each for each in module.functions if each.name == name), None)
        if function is None:
            return []
        assigned = _assigned(function)
        returned = [each.value for each in ast.walk(function) if isinstance(each, ast.Return)]
        return [text for value in returned for text in module.texts(value, assigned, depth + 1)]

    def _joined(self, node: ast.JoinedStr) -> str:
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                text += self._constant(part.value) or _hole(part)
        return text

    def _constant(self, node: ast.expr) -> str:
        value = self.constants.get(node.id) if isinstance(node, ast.Name) else None
        return value if isinstance(value, str) else ""

    def written(self) -> Iterator[Written]:
        """Yield the sentences of errors, and the parts that are put into them."""
        for call, local in self._makers():
            where = f"{self.path}:{call.lineno}"
            texts = [call.args[0], *call.args[3:]] if _name(call.func) == "unknown" else call.args
            for argument in texts:
                for text in self.texts(argument, local, _HERE):
                    yield Written(text, where)
                for part in ast.walk(argument):
                    if isinstance(part, ast.FormattedValue) and not self._constant(part.value):
                        for text in self.texts(part.value, local, _HERE):
                            yield Written(text, where)

    def errors(self) -> Iterator[WrittenError]:
        """Yield the places that make errors."""
        for call, local in self._makers():
            kind, where = _name(call.func), f"{self.path}:{call.lineno}"
            if kind == "unknown":
                kinds = self.texts(call.args[0], local) or ["\0\0"]
                others = self.texts(call.args[3], local) if len(call.args) > 3 else []
                beginnings = [f"There is no {each} named '\0name\0'." for each in kinds]
                endings = ["Did you mean '\0name\0'?", *others]
                texts = [f"{first} {last}" for first in beginnings for last in endings]
                kind = "UnknownNameError"
            else:
                texts = self.texts(call.args[0], local) if call.args else []
            named = dict.fromkeys(_named(text) for text in texts if _has_words(text))
            yield WrittenError(kind, tuple(named), where)

    def _makers(self) -> Iterator[tuple[ast.Call, dict[str, list[ast.expr]]]]:
        """Yield the calls that make errors, each with what is given to the names around it."""
        seen = set[ast.Call]()
        for function in self.functions:
            local = _assigned(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _name(node.func) in MAKERS and node not in seen:
                    seen.add(node)
                    yield node, local


def _module_of(function: Any) -> _Module | None:
    """Return the module that a function of the library is written in."""
    home = getattr(function, "__module__", None) or ""
    if not inspect.isfunction(function) or not home.startswith("limelight."):
        return None
    return _module(Path(inspect.getfile(function)).relative_to(ROOT).as_posix())


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    """Return what is given to each name in a function."""
    local = dict[str, list[ast.expr]]()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _note(local, target, node.value)
    return local


def _note(local: dict[str, list[ast.expr]], target: Any, value: ast.expr) -> None:
    """Note what is given to a name; of pairs, to each of them."""
    if isinstance(target, ast.Name):
        local.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=False):
            _note(local, each, part)


def _name(node: ast.expr) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")


def _hole(part: ast.FormattedValue) -> str:
    """Return a hole with the name of what fills it, in quotes if it is written in quotes."""
    value = part.value
    while isinstance(value, ast.Call) and _name(value.func) in ("str", "list", "repr", "tuple"):
        if len(value.args) != 1:
            break
        value = value.args[0]
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    hole = f"\0{_OTHER_NAMES.get(name, name.lstrip('_'))}\0"
    return f"\1{hole}\1" if part.conversion == ord("r") else hole


def _has_words(text: str) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", _HOLE.sub("", text))) > 0


def _named(text: str) -> str:
    """Return a text with `{name}` in its holes, and HOLE in those without a name."""
    named = _HOLE.sub(lambda hole: f"{{{hole[1]}}}" if hole[1] else HOLE, text)
    return " ".join(named.replace("\1", "'").split()).strip()


def _unnamed(text: str) -> str:
    """Return a text with `{}` in its holes."""
    plain = _HOLE.sub("{}", text.replace("\1", ""))
    return plain.replace("{}{}", "{}").strip()


@cache
def _module(path: str) -> _Module:
    return _Module(path)


def written_in(path: str) -> list[Written]:
    """Return all sentences of errors in a file of the library, and their parts of several words."""
    found = {_unnamed(text): where for text, where in _module(path).written()}
    parts = [Written(text, where) for text, where in found.items()]
    return [each for each in parts if each.text.replace("{}", "").strip().count(" ")]


def errors_in(path: str) -> list[WrittenError]:
    """Return all places in a file of the library that make errors."""
    return list(_module(path).errors())


def files_with_errors() -> list[str]:
    """Return the files of the library that make errors, by their paths in it."""
    paths = (path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*.py")))
    return [path for path in paths if errors_in(path)]
