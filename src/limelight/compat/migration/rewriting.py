"""A script, rewritten: its calls of other libraries become calls of limelight."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from limelight.compat.migration.advice import advice_on
from limelight.compat.migration.edits import Edits
from limelight.compat.migration.explainers import (
    Handle,
    continues,
    explainer_class,
    read_handle,
)
from limelight.compat.migration.grad_cam import OTHER_MAPS
from limelight.compat.migration.imports import renew_imports
from limelight.compat.migration.peers import PEERS
from limelight.compat.migration.remarks import NotRewrittenError, Remark
from limelight.compat.migration.script import Script
from limelight.compat.migration.site import CallSite
from limelight.errors import ScriptError


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A script, rewritten.

    Attributes:
        script: The new script.
        remarks: What a person should know about it, by line of the old script.
    """

    script: str
    remarks: tuple[Remark, ...]


def rewrite(source: str) -> Rewriting:
    """Rewrite a script for limelight's own API.

    1. Find the objects that explain, and rewrite all uses of each, or none.
    2. Take out variables that nothing reads any more.
    3. Say what stays as it was, and why.
    4. Make the changes, and renew the imports.

    Raises:
        ScriptError: It is not Python, or imports none of the libraries that are known.
    """
    script = Script(source)
    if not any(name.split(".")[0] in PEERS for name in _imported(script)):
        raise ScriptError(
            "The script imports none of pytorch_grad_cam, torchcam and captum, so there is nothing "
            "to rewrite. Pass a script that calls one of them."
        )
    # 1. The objects.
    edits, remarks = Edits(), list[Remark]()
    inlined, imports = list[cst.Name](), set[str]()
    handles = list[Handle]()
    result = _Result(script)
    for call in script.nodes(cst.Call):
        if not explainer_class(script, call)[0]:
            continue
        try:
            handle = read_handle(script, call)
            written, sites = _rewrite_handle(script, handle, result.next(handle))
        except NotRewrittenError as error:
            remarks.append(Remark(script.line(call), f"{_name(script, call)}: {error}", kept=True))
            comment = f"# limelight migrate: kept, as {error}"
            edits.comments.setdefault(script.statement(call), []).append(comment)
            continue
        handles.append(handle)
        edits.add(written)
        for site in sites:
            remarks += site.remarks
            inlined += site.inlined
            imports |= site.imports
    # 2. The variables.
    _remove_unread(script, edits, inlined)
    # 3. What stays.
    remarks += _left(script, edits)
    # 4. The new script.
    module = renew_imports(edits.apply(script.module))
    if handles:
        imports.add("limelight")
    context = CodemodContext()
    for name in sorted(imports):
        AddImportsVisitor.add_needed_import(context, name)
    module = AddImportsVisitor(context).transform_module(module)
    return Rewriting(module.code, tuple(sorted(dict.fromkeys(remarks))))


class _Result:
    """Names for results: `result`, or others where the script has that name already."""

    def __init__(self, script: Script) -> None:
        self._words, self._number = script.words, 0

    def next(self, handle: Handle) -> str:
        """Return the name of the results of an object.

        Objects whose output is not read later share a name.
        """
        name = "result" if "result" not in self._words else "explanation"
        if handle.outputs and self._number:
            name = f"{name}_{self._number + 1}"
        self._number += 1
        return name


def _imported(script: Script) -> set[str]:
    """Return the full names of the modules that a script imports from."""
    found = set[str]()
    for node in script.nodes(cst.Import):
        found |= {script.code(alias.name) for alias in node.names}
    for taken in script.nodes(cst.ImportFrom):
        if taken.module is not None:
            found.add(script.code(taken.module))
    return {name.removeprefix("limelight.compat.") for name in found}


def _name(script: Script, call: cst.Call) -> str:
    return script.imported(call.func).rpartition(".")[2]


def _rewrite_handle(script: Script, handle: Handle, result: str) -> tuple[Edits, list[CallSite]]:
    """Rewrite all uses of an object.

    Raises:
        NotRewrittenError: One of them has no counterpart.
    """
    edits, sites, named = Edits(), list[CallSite](), list[cst.Call]()
    for call in handle.calls:
        if any(isinstance(outer, cst.FormattedString) for outer in script.ancestors(call)):
            raise NotRewrittenError(f"line {script.line(call)} calls it inside a text")
        site = CallSite(script, call)
        try:
            rewritten = handle.explainer.rewrite(site)
        except NotRewrittenError as error:
            where = script.line(call)
            raise NotRewrittenError(
                f"{error}" if where == script.line(handle.made) else f"{error} (line {where})"
            ) from error
        sites.append(site)
        value = rewritten.value
        if rewritten.call is not None:
            statement = script.statement(call)
            column = script.start(statement)[1]
            if _gets_name(script, call, statement):
                code = rewritten.call.code(column + len(f"{result} = "))
                edits.before.setdefault(statement, []).append(f"{result} = {code}")
                value = value.format(result)
                named.append(call)
            else:
                value = value.format(rewritten.call.code(script.start(call)[1] + len(value)))
        edits.expressions[call] = _expression(value, script.parent(call))
    for output in handle.outputs:
        if not any(_comes_before(script, call, output) for call in named):
            raise NotRewrittenError(
                f"it is not certain which call line {script.line(output)} reads the output of"
            )
        edits.expressions[output] = cst.parse_expression(f"{result}.output")
    if isinstance(handle.statement, cst.With):
        edits.dissolved.add(handle.statement)
    elif handle.statement is not None:
        edits.removed.add(handle.statement)
    edits.removed |= set(handle.dropped)
    return edits, sites


def _expression(code: str, parent: cst.CSTNode) -> cst.BaseExpression:
    """Return an expression, in parentheses where it is a product inside another expression."""
    expression = cst.parse_expression(code)
    alone = isinstance(parent, cst.Assign | cst.AnnAssign | cst.Return | cst.Expr | cst.Arg)
    if isinstance(expression, cst.BinaryOperation) and not alone:
        return expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return expression


def _gets_name(script: Script, call: cst.Call, statement: cst.CSTNode) -> bool:
    """Return whether the result can get a name, in a statement before this one.

    It can where the call is the first thing that the statement computes.
    """
    node: cst.CSTNode = call
    parent = script.parent(node)
    while continues(parent, node):
        node, parent = parent, script.parent(parent)
    plain = isinstance(parent, cst.Assign | cst.AnnAssign | cst.Expr | cst.Return)
    return plain and script.parent(parent) is statement and len(statement.body) == 1  # type: ignore[attr-defined]


def _comes_before(script: Script, call: cst.Call, output: cst.CSTNode) -> bool:
    """Return whether a call has run whenever the output is read."""
    block = script.parent(script.statement(call))
    return script.start(call) < script.start(output) and block in set(script.ancestors(output))


def _remove_unread(script: Script, edits: Edits, inlined: list[cst.Name]) -> None:
    """Take out the assignments of variables that are written into the calls that read them."""
    for name in inlined:
        defined = script.definition(name)
        if defined is None:
            continue
        reads = {read for read in script.references(name) if script.definition(read) is defined}
        uncertain = [read for read in script.references(name) if script.definition(read) is None]
        statement = script.statement(defined)
        only = isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1
        if only and not uncertain and reads <= set(inlined):
            edits.removed.add(statement)


def _left(script: Script, edits: Edits) -> list[Remark]:
    """Return a remark on each name of a peer's that is still used, where it is used first."""
    gone = {*edits.expressions, *edits.removed}
    heads = {item for node in edits.dissolved if isinstance(node, cst.With) for item in node.items}
    remarks, told, passed_on = list[Remark](), set[str](), dict[str, int]()
    for node in sorted((*script.nodes(cst.Name), *script.nodes(cst.Attribute)), key=script.start):
        name = script.imported(node)
        outer = list(script.ancestors(node))
        if name in told or gone & set(outer) or heads & set(outer) or not _is_known(name):
            continue
        if any(isinstance(each, cst.Import | cst.ImportFrom) for each in outer):
            continue
        last = name.rpartition(".")[2]
        if last in PEERS[name.partition(".")[0]].classes:
            calls = [each for each in outer if isinstance(each, cst.Call)]
            if not any(explainer_class(script, call)[0] for call in calls):
                passed_on.setdefault(last, script.line(node))
        elif text := advice_on(name):
            told.add(name)
            remarks.append(Remark(script.line(node), text, kept=True))
    if passed_on:
        text = (
            f"{', '.join(passed_on)}: passed on as a class, not called; limelight takes the name "
            "of a method, as in method='gradcam'"
        )
        if others := [last for last in passed_on if last in OTHER_MAPS]:
            text += (
                f"; the maps of {', '.join(others)} differ from grad-cam's, as docs/migrate.md says"
            )
        remarks.append(Remark(min(passed_on.values()), text, kept=True))
    return remarks


def _is_known(name: str) -> bool:
    return name.partition(".")[0] in PEERS
