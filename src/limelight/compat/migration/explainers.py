"""The objects of a script that explain something, and all that is done with each."""

from __future__ import annotations

from dataclasses import dataclass, field

import libcst as cst

from limelight.compat.migration.peers import PEERS, Explainer
from limelight.compat.migration.remarks import NotRewrittenError
from limelight.compat.migration.script import Script


@dataclass(slots=True)
class Handle:
    """An object that explains: where it is made, and all its uses.

    Attributes:
        made: The call that makes it.
        explainer: What it is.
        statement: The statement that holds the call, if that only makes the object; it goes away.
        calls: The calls that explain.
        outputs: Where its attribute for the output is read.
        dropped: The statements on it that go away.
    """

    made: cst.Call
    explainer: Explainer
    statement: cst.CSTNode | None = None
    calls: list[cst.Call] = field(default_factory=list)
    outputs: list[cst.Attribute] = field(default_factory=list)
    dropped: list[cst.CSTNode] = field(default_factory=list)


def explainer_class(script: Script, call: cst.Call) -> tuple[str, str]:
    """Return package and name of the class that a call makes an object of; empty for others."""
    if not isinstance(call.func, cst.Name | cst.Attribute):
        return "", ""
    home, _, name = script.imported(call.func).rpartition(".")
    peer = PEERS.get(home.partition(".")[0])
    return (peer.package, name) if peer is not None and name in peer.classes else ("", "")


def read_handle(script: Script, call: cst.Call) -> Handle:
    """Read the call that makes an object, and find all that is done with the object.

    Raises:
        NotRewrittenError: Something about it has no counterpart.
    """
    package, name = explainer_class(script, call)
    handle = Handle(call, PEERS[package].read(name, call))
    variable = _variable(script, handle)
    if variable is None:
        _add_use(script, handle, call)
        return handle
    for use in script.references(variable):
        defined = script.definition(use)
        if defined is variable:
            _add_use(script, handle, use)
        elif defined is None:
            raise NotRewrittenError(
                f"{use.value!r} in line {script.line(use)} may be this object or another one"
            )
    if not handle.calls:
        raise NotRewrittenError("it is not called in this script")
    return handle


def _variable(script: Script, handle: Handle) -> cst.Name | None:
    """Return the variable that the object is assigned to; None if it is used right away.

    Raises:
        NotRewrittenError: It goes elsewhere.
    """
    parent = script.parent(handle.made)
    if isinstance(parent, cst.WithItem):
        outer = script.parent(parent)
        assert isinstance(outer, cst.With)
        name = parent.asname.name if parent.asname else None
        single = len(outer.items) == 1 and isinstance(outer.body, cst.IndentedBlock)
        if isinstance(name, cst.Name) and single:
            handle.statement = outer
            return name
        raise NotRewrittenError("its with statement is not of the form 'with ... as name:'")
    if isinstance(parent, cst.Assign):
        statement = script.parent(parent)
        target = parent.targets[0].target
        assert isinstance(statement, cst.SimpleStatementLine | cst.SimpleStatementSuite)
        if isinstance(target, cst.Name) and len(parent.targets) == len(statement.body) == 1:
            handle.statement = statement
            return target
    if continues(parent, handle.made):
        return None
    raise NotRewrittenError("it goes into something else than a variable")


def continues(parent: cst.CSTNode, node: cst.CSTNode) -> bool:
    """Return whether an expression begins with a node: calls it, or takes a part of it."""
    if isinstance(parent, cst.Call):
        return parent.func is node
    return isinstance(parent, cst.Attribute | cst.Subscript) and parent.value is node


def _add_use(script: Script, handle: Handle, used: cst.CSTNode) -> None:
    """Note what is done with the object where it is read.

    Raises:
        NotRewrittenError: It has no counterpart.
    """
    explainer, parent = handle.explainer, script.parent(used)
    path = list[str]()
    while isinstance(parent, cst.Attribute) and parent.value is used:
        path.append(parent.attr.value)
        used, parent = parent, script.parent(parent)
    attribute = ".".join(path)
    is_called = isinstance(parent, cst.Call) and parent.func is used
    if is_called and attribute == explainer.called:
        assert isinstance(parent, cst.Call)
        handle.calls.append(parent)
    elif is_called and attribute in explainer.dropped_calls and _is_whole(script, parent):
        handle.dropped.append(script.statement(parent))
    elif attribute and attribute == explainer.output_attribute and len(path) == 1:
        assert isinstance(used, cst.Attribute)
        handle.outputs.append(used)
    elif isinstance(parent, cst.Del) and not attribute:
        handle.dropped.append(script.statement(parent))
    elif attribute == "batch_size" and isinstance(parent, cst.AssignTarget):
        assign = script.parent(parent)
        assert isinstance(assign, cst.Assign)
        explainer.batch_size = script.code(assign.value)
        handle.dropped.append(script.statement(assign))
    else:
        shown = f".{attribute}" if attribute else ""
        raise NotRewrittenError(
            f"limelight has no counterpart for what line {script.line(used)} does with the object"
            f"{f', {shown!r}' if shown else ''}"
        )


def _is_whole(script: Script, call: cst.CSTNode) -> bool:
    """Return whether a call is a whole statement."""
    return isinstance(script.parent(call), cst.Expr)
