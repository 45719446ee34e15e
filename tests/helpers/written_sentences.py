"""The sentences that the library writes, read from its source: those of errors and statuses."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
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


class Written(NamedTuple):
    """A sentence in the source, with `{}` for what is filled in; or a part of one.

    Attributes:
        text: The sentence.
        where: Its file and line.
    """

    text: str
    where: str


class _Module:
    """A module of the library: its source, and its constants."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.syntax = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.constants = vars(importlib.import_module(f"limelight.{name}"))

    def texts(self, node: ast.expr, local: dict[str, list[ast.expr]]) -> list[str]:
        """Return what an expression of text may be; [] if it is none that is written here."""
        found = list[str]()
        match node:
            case ast.Constant(value=str() as text):
                found = [text]
            case ast.Name(id=name) if isinstance(self.constants.get(name), str):
                found = [self.constants[name]]
            case ast.IfExp():
                found = self.texts(node.body, local) + self.texts(node.orelse, local)
            case ast.BoolOp():
                found = [text for value in node.values for text in self.texts(value, local)]
            case ast.JoinedStr():
                found = [self._joined(node)]
            case ast.Name(id=name):
                found = [text for value in local.get(name, []) for text in self.texts(value, {})]
        return found

    def _joined(self, node: ast.JoinedStr) -> str:
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                text += self._constant(part.value) or "{}"
        return text.replace("{}{}", "{}")

    def _constant(self, node: ast.expr) -> str:
        value = self.constants.get(node.id) if isinstance(node, ast.Name) else None
        return value if isinstance(value, str) else ""

    def written(self) -> Iterator[Written]:
        """Yield the sentences of errors, and the parts that are put into them."""
        for function in ast.walk(self.syntax):
            if isinstance(function, ast.FunctionDef):
                yield from self._written_in(function)

    def _written_in(self, function: ast.FunctionDef) -> Iterator[Written]:
        local = dict[str, list[ast.expr]]()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    _note(local, target, node.value)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or _name(node.func) not in MAKERS:
                continue
            where = f"{self.path}:{node.lineno}"
            texts = [node.args[0], *node.args[3:]] if _name(node.func) == "unknown" else node.args
            for argument in texts:
                for text in self.texts(argument, local):
                    yield Written(text, where)
                for part in ast.walk(argument):
                    if isinstance(part, ast.FormattedValue) and not self._constant(part.value):
                        for text in self.texts(part.value, local):
                            yield Written(text, where)


def _note(local: dict[str, list[ast.expr]], target: Any, value: ast.expr) -> None:
    """Note what is given to a name; of pairs, to each of them."""
    if isinstance(target, ast.Name):
        local.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=False):
            _note(local, each, part)


def _name(node: ast.expr) -> str:
    return getattr(node, "id", "") or getattr(node, "attr", "")


def written_in(path: str) -> list[Written]:
    """Return all sentences of errors in a file of the library, and their parts of several words."""
    found = {each.text.strip(): each for each in _Module(path).written()}
    return [each for text, each in found.items() if text.replace("{}", "").strip().count(" ")]
