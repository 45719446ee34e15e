"""What the modules of a package define, and how long that is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import TypeGuard

from house_report.imports import Module


def doubled_names(modules: dict[str, Module]) -> dict[str, list[str]]:
    """Return the top-level names that several modules define, and those modules.

    A name is defined by `def`, `class` or an assignment; imports, type variables, and names with
    two underscores, such as `__all__`, do not count.
    """
    homes = defaultdict[str, list[str]](list)
    for module in modules.values():
        for name in sorted({name for node in module.syntax.body for name in _defined(node)}):
            homes[name].append(module.name)
    return {name: homes[name] for name in sorted(homes) if len(homes[name]) > 1}


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines; what stands under an `if` or `try` counts."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.If | ast.Try):
        return [name for child in [*node.body, *node.orelse] for name in _defined(child)]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    value = getattr(node, "value", None)
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith(("TypeVar", "ParamSpec")):
        return []
    leaves = [leaf for target in targets for leaf in ast.walk(target)]
    names = [leaf.id for leaf in leaves if isinstance(leaf, ast.Name)]
    return [name for name in names if not name.startswith("__")]


def long_files(modules: dict[str, Module], limit: int) -> list[str]:
    """Return the files of more lines than the limit, tables aside.

    A table is a file of which more than half of the lines are one top-level assignment.
    """
    return [
        f"{module.name} ({module.lines} lines)"
        for module in modules.values()
        if module.lines > limit and 2 * _longest_assignment(module.syntax) <= module.lines
    ]


def _longest_assignment(syntax: ast.Module) -> int:
    assignments = [node for node in syntax.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return max((len(_lines(node)) for node in assignments), default=0)


def _lines(node: ast.stmt | ast.expr | ast.arg) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def option_lines(modules: dict[str, Module]) -> dict[str, int]:
    """Return how many lines of each module of cli/ declare options of the command line.

    Two things do. A declaration is an assignment or a field whose value or annotation calls
    `typer.Option`, `typer.Argument` or a function of cli/ that returns such a call; all its lines
    count. A command is a function that has a parameter whose annotation or default has such a call
    in it, or is the name of a declaration; all lines of its parameters count.
    """
    inside = {
        name: list(ast.walk(module.syntax))
        for name, module in modules.items()
        if name.split(".")[1:2] == ["cli"]
    }
    makers = _option_makers(chain(*inside.values()))
    options = {
        name
        for node in chain(*inside.values())
        if _declares(node, makers)
        for name in _defined(node)
    }
    counts = {
        name: len({line for node in nodes for line in _option_lines(node, makers, options)})
        for name, nodes in inside.items()
    }
    return {name: count for name, count in counts.items() if count}


def _option_makers(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the functions whose call is an option: typer's, and those that return one of them."""
    makers = {"Option", "Argument"}
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    returned = [
        (function.name, node)
        for function in functions
        for node in function.body
        if isinstance(node, ast.Return)
    ]
    return makers | {name for name, node in returned if _calls(node, makers)}


def _declares(node: ast.AST, makers: set[str]) -> TypeGuard[ast.Assign | ast.AnnAssign]:
    return isinstance(node, ast.Assign | ast.AnnAssign) and _calls(node, makers)


def _option_lines(node: ast.AST, makers: set[str], options: set[str]) -> set[int]:
    """Return the lines on which a declaration or the parameters of a command stand."""
    if _declares(node, makers):
        return {*_lines(node)}
    if not isinstance(node, ast.FunctionDef):
        return set()
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    defaults = [value for value in [*node.args.defaults, *node.args.kw_defaults] if value]
    annotations = [parameter.annotation for parameter in parameters if parameter.annotation]
    words = {ast.unparse(annotation).rpartition(".")[2] for annotation in annotations}
    if words & options or any(_calls(part, makers) for part in [*annotations, *defaults]):
        parts: list[ast.arg | ast.expr] = [*parameters, *defaults]
        return {line for part in parts for line in _lines(part)}
    return set()


def _calls(node: ast.AST, functions: set[str]) -> bool:
    calls = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    return any(ast.unparse(function).rpartition(".")[2] in functions for function in calls)
